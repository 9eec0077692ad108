"""dspy 3.4.1 on the pipeline: `dspy.GEPA` and `dspy.MIPROv2`, each with its defaults and 8 threads.

The variant `mipro` is MIPROv2; the variant `all` is GEPA that changes all predictors in each proposal, where the default takes
them by turns. The program is a module of three `dspy.Predict`, one a node. dspy's cache is on, as it is by default, and starts empty.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
import tempfile
from typing import Any

from benchmarks.peers.setting import BATCH, KEY, STEPS, THREADS, Setting, comment, load, right


def main() -> None:
    setting = load()
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(
            DSPY_CACHEDIR=cache, OPENAI_API_KEY=KEY, LITELLM_LOCAL_MODEL_COST_MAP="True", OPENAI_API_BASE=setting.base
        )
        run(setting)


def run(setting: Setting) -> None:
    import dspy
    import litellm  # noqa: F401  dspy would import it in its first call, on the clock

    def model(name: str) -> Any:
        return dspy.LM(f"openai/{name}", api_base=setting.base, api_key=KEY, num_retries=0)

    dspy.configure(lm=model("worker"))

    class Pipeline(dspy.Module):
        """Three predictors, one a node."""

        def __init__(self) -> None:
            super().__init__()
            for node in setting.nodes:
                setattr(self, node.name, dspy.Predict(dspy.Signature("request -> reply", node.prompt)))

        def forward(self, question: str) -> Any:
            text = question
            for node in setting.nodes:
                text = getattr(self, node.name)(request=node.message(text)).reply
            return dspy.Prediction(reply=text)

    def score(example: Any, prediction: Any, *_: Any) -> Any:
        return dspy.Prediction(
            score=float(right(prediction.reply, example.answer)), feedback=comment(prediction.reply, example.answer)
        )

    def examples(rows: Any) -> list[Any]:
        return [dspy.Example(question=it.question, answer=it.answer).with_inputs("question") for it in rows]

    program, train, validation = Pipeline(), examples(setting.train), examples(setting.validation)
    setting.begin()
    if setting.variant != "mipro":
        search = dspy.GEPA(
            metric=score,
            max_metric_calls=10_000,
            reflection_minibatch_size=BATCH,
            reflection_lm=model("critic"),
            component_selector=setting.variant or "round_robin",
            num_threads=THREADS,
            seed=setting.seed,
            gepa_kwargs={"stop_callbacks": lambda state: state.i + 1 >= STEPS},
        )
        best = search.compile(program, trainset=train, valset=validation)
    else:
        search = dspy.MIPROv2(
            metric=lambda example, prediction, *_: float(right(prediction.reply, example.answer)),
            prompt_model=model("critic"),
            task_model=dspy.settings.lm,
            auto=None,
            num_candidates=6,
            num_threads=THREADS,
            seed=setting.seed,
        )
        best = search.compile(program, trainset=train, valset=validation, num_trials=STEPS, minibatch=False)
    predictors = dict(best.named_predictors())
    texts = {node.name: predictors[node.name].signature.instructions for node in setting.nodes}
    demos = {node.name: len(predictors[node.name].demos) for node in setting.nodes}
    setting.finish("dspy", "dspy", texts, demos=demos)


if __name__ == "__main__":
    main()
