"""textgrad 0.1.8 on the pipeline: the loop of its published prompt-optimisation script, with one system prompt a node.

The loop is that script's: a batch's losses are summed, one backward pass, one step, and a validation that takes back what
scored lower. The scores on the test set that the script computes after every step are left out. Only validation can run in
threads. The disk cache that textgrad switches on is started empty, in a folder of the run's own.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.peers.setting import KEY, Row, each, load, right


def main() -> None:
    setting = load()
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(XDG_CACHE_HOME=cache, OPENAI_API_KEY=KEY, LITELLM_LOCAL_MODEL_COST_MAP="True")
        run(setting)


def run(setting: Any) -> None:
    import textgrad as tg
    from openai import OpenAI
    from textgrad.autograd import FormattedLLMCall, StringBasedFunction
    from textgrad.engine.local_model_openai_api import ChatExternalClient

    client = OpenAI(base_url=setting.base, api_key=KEY, max_retries=0)
    worker = ChatExternalClient(client=client, model_string="worker")
    critic = ChatExternalClient(client=client, model_string="critic")
    tg.set_backward_engine(critic, override=True)
    prompts = {
        node.name: tg.Variable(
            node.prompt, requires_grad=True, role_description=f"system prompt of the step '{node.name}' of a pipeline"
        )
        for node in setting.nodes
    }
    # Braces are the format's own; a marker has none.
    calls = [
        FormattedLLMCall(worker, f"{node.marker}\n{{text}}", {"text": None}, prompts[node.name])
        for node in setting.nodes
    ]
    grade = StringBasedFunction(
        lambda prediction, ground_truth_answer: str(int(right(prediction.value, ground_truth_answer.value))),
        function_purpose="The function checks whether the prediction is the ground truth answer, and returns 1 or 0.",
    )
    optimizer = tg.TextualGradientDescent(engine=critic, parameters=list(prompts.values()))

    def loss(row: Row) -> Any:
        text = tg.Variable(row.question, requires_grad=False, role_description="query to the pipeline")
        answer = tg.Variable(row.answer, requires_grad=False, role_description="correct answer for the query")
        for node, call in zip(setting.nodes, calls, strict=True):
            text = call(inputs={"text": text}, response_role_description=f"output of the step '{node.name}'")
        return grade(inputs={"prediction": text, "ground_truth_answer": answer})

    def score(rows: Sequence[Row]) -> float:
        return sum(each(lambda row: int(loss(row).value), rows)) / len(rows)

    setting.begin()
    best, kept = score(setting.validation), {name: it.value for name, it in prompts.items()}
    for batch in setting.batches():
        optimizer.zero_grad()
        tg.sum([loss(row) for row in batch]).backward()
        optimizer.step()
        now = score(setting.validation)
        if now < best:
            for name, variable in prompts.items():
                variable.set_value(kept[name])
        else:
            best, kept = now, {name: it.value for name, it in prompts.items()}
    setting.finish("textgrad", "textgrad", kept, validation=best)


if __name__ == "__main__":
    main()
