"""trace-opt 0.1.3.8 on the pipeline: `OptoPrime`, one call a step for all prompts, with the minibatch of its tutorial.

Trace runs the program one call after the other, and has no validation: the pool of 8 threads and the taking back are this
script's.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.setting import KEY, Row, comment, each, load, right


def main() -> None:  # noqa: C901  what is traced has to be made after Trace is imported
    setting = load()
    os.environ.update(
        OPENAI_API_KEY=KEY,
        OPENAI_API_BASE=setting.base,
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        TRACE_LITELLM_MODEL="openai/critic",
    )
    from opto import trace
    from opto.optimizers import OptoPrime
    from opto.utils.llm import LiteLLM

    call = setting.worker()
    # The name of a node's variable is the node's, and the description is what OptoPrime is shown of the function.
    prompts = {node.name: trace.node(node.prompt, name=f"prompt_{node.name}", trainable=True) for node in setting.nodes}

    def step_of(node: Any) -> Any:
        @trace.bundle(description=f"[{node.name}] Calls a language model with a system prompt and a text.")
        def step(system_prompt: str, text: str) -> str:
            return call(system_prompt, node.message(text))

        return step

    @trace.bundle(description="[concat] Joins the outputs of a batch.")
    def concat(*items: str) -> str:
        return "\n".join(f"ID {at}: {item}" for at, item in enumerate(items))

    steps = {node.name: step_of(node) for node in setting.nodes}

    def forward(row: Row) -> Any:
        text = row.question
        for name, step in steps.items():
            text = step(prompts[name], text)
        return text

    def texts() -> dict[str, str]:
        return {name: node.data for name, node in prompts.items()}

    def score(of: Mapping[str, str], rows: Sequence[Row]) -> float:
        outputs = each(lambda row: setting.pipeline(call, of, row.question)[-1].reply, rows)
        return sum(right(out, row.answer) for out, row in zip(outputs, rows, strict=True)) / len(rows)

    setting.begin()
    optimizer = OptoPrime(list(prompts.values()), llm=LiteLLM())
    kept = texts()
    best = score(kept, setting.validation)
    for batch in setting.batches():
        outputs = [forward(row) for row in batch]
        feedback = "\n".join(
            f"ID {at}: {comment(out.data, row.answer)}"
            for at, (out, row) in enumerate(zip(outputs, batch, strict=True))
        )
        optimizer.zero_feedback()
        optimizer.backward(concat(*outputs), feedback)
        optimizer.step()
        if texts() == kept:
            continue
        now = score(texts(), setting.validation)
        if now < best:
            for name, node in prompts.items():
                node._data = kept[name]  # noqa: SLF001  the way of Trace's own optimizers to set a parameter
        else:
            best, kept = now, texts()
    setting.finish("trace-opt", "trace-opt", kept, validation=best)


if __name__ == "__main__":
    main()
