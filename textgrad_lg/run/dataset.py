"""A data set that grows from traces: failing ones become Examples, each once, in a file or in LangSmith."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import NAMESPACE_URL, uuid5

from textgrad_lg.errors import DataError
from textgrad_lg.evals import Evals
from textgrad_lg.run.production import Known, ProductionTrace, Scales, digest

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.evals import Evaluator
    from textgrad_lg.example import Example, Score
    from textgrad_lg.types import JSON


class GrowingClient(Protocol):
    """The part of `langsmith.Client` that is used."""

    def has_dataset(self, *, dataset_name: str) -> bool:
        """Whether there is a data set of that name."""
        ...

    def create_dataset(self, dataset_name: str, **options: Any) -> object:
        """Make an empty one."""
        ...

    def list_examples(self, *, dataset_name: str) -> Iterable[Any]:
        """Its examples."""
        ...

    def create_examples(self, *, dataset_name: str, examples: Sequence[dict[str, Any]]) -> object:
        """Add examples."""
        ...


def to_examples(
    traces: Iterable[object],
    evals: Evals | Evaluator | Sequence[Evaluator] | None = None,
    *,
    to: str | Path | None = None,
    client: GrowingClient | None = None,
    model: BaseChatModel | None = None,
    sources: Mapping[str, str] | None = None,
    scales: Scales | None = None,
    pass_at: float | None = None,
    every: bool = False,
) -> tuple[Example, ...]:
    """Make Examples of the traces that failed, and add those that are new to a data set.

    What was wanted is known only where somebody has corrected the run, or the data of `evals` say it; an evaluator that
    needs no reference does without. The metadata say where an Example comes from: "source", "trace", "failed_by", and what
    was said of it in "scores". Data that hold a "source" are never taken for the user's own words.

    Calling it again with the same traces adds nothing: an Example is known by its inputs.

    Args:
        traces: In any of the forms that `learn` reads; `LearnResult.failing` is one.
        evals: What says that a trace failed, beside feedback and errors; see `learn`. What it asks a model is not metered.
        to: A `.jsonl` file, which is made where it is not there; or the name of a LangSmith data set, with `client`.
        client: A `langsmith.Client`.
        model: The model of evaluators that ask for one.
        sources: Whose traces they are, by their ids.
        scales: What the numbers of feedback mean, and
        pass_at: from which mean of them a trace has passed, as for `learn`.
        every: Take those that passed as well.

    Returns:
        The Examples that are new, in the order of their traces; all of them where `to` is None.

    Raises:
        DataError: An item is no trace; the file is damaged, or is none that can be read; LangSmith could not be asked.
    """
    from textgrad_lg.sync import run_sync

    if to is not None and client is None and not str(to).endswith(".jsonl"):
        raise DataError(f"{str(to)!r} is no .jsonl file; for a LangSmith data set of that name, give a client")
    judging = evals if isinstance(evals, Evals) or evals is None else Evals((), evals)
    known = Known(judging.examples if judging is not None and judging.has_data else ())
    told_at = pass_at if pass_at is not None else 1.0 if judging is None else judging.pass_at
    found: dict[str, Example] = {}
    for item in traces:
        trace = ProductionTrace.of(item, sources, scales)
        example = trace.example(known)
        if example is None or example.id in found:
            continue
        scores, by = run_sync(_judged(trace, example, judging, model, told_at))
        if by or every:
            found[example.id] = _with(example, trace, scores, by)
    if to is None:
        return tuple(found.values())
    if client is not None:
        return _into_langsmith(str(to), client, tuple(found.values()))
    return _into_file(Path(to), tuple(found.values()))


async def _judged(
    trace: ProductionTrace, example: Example, evals: Evals | None, model: BaseChatModel | None, told_at: float
) -> tuple[tuple[Score, ...], str]:
    from textgrad_lg.evals import failed

    if trace.error is not None:
        return trace.told, "error"
    scores: tuple[Score, ...] = ()
    if evals is not None and trace.trace.outputs:
        scores = await evals.score(example, trace.trace.output(), trace=trace.trace, model=model)
    by = "feedback" if trace.fails(told_at) else ""
    if not by and evals is not None and failed(scores, evals.pass_at):
        by = "evaluator"
    return (*trace.told, *scores), by


def _with(example: Example, trace: ProductionTrace, scores: Sequence[Score], by: str) -> Example:
    said: list[JSON] = [{"key": score.key, "score": score.value, "comment": score.comment} for score in scores]
    more: dict[str, JSON] = {"failed_by": by or None, "scores": said, "graph": trace.trace.name}
    return replace(example, metadata={**example.metadata, **more})


def _into_file(path: Path, examples: Sequence[Example]) -> tuple[Example, ...]:
    """Append the new ones. A line that was cut off while it was written is an error, and not written behind."""
    from textgrad_lg.evals import load

    there = path.exists() and path.read_text(encoding="utf-8-sig").strip()
    have = {digest(one.inputs) for one in load(path)} if there else set[str]()
    new = tuple(example for example in examples if digest(example.inputs) not in have)
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in new)
        whole = not there or path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write(lines if whole else f"\n{lines}")
            file.flush()
            os.fsync(file.fileno())
    return new


def _into_langsmith(name: str, client: GrowingClient, examples: Sequence[Example]) -> tuple[Example, ...]:
    """Add the new ones; an Example has the same id each time, so that two that add at once add no twin."""
    from langsmith.schemas import ExampleCreate

    # Renamed within 0.14: the one warns of the old name, the other ignores the new one.
    wanted = "reference_outputs" if "reference_outputs" in ExampleCreate.model_fields else "outputs"
    try:
        if not client.has_dataset(dataset_name=name):
            client.create_dataset(name, description="Production traces that failed")
        have = {digest(cast("JSON", one.inputs)) for one in client.list_examples(dataset_name=name)}
        new = tuple(one for one in examples if digest(_mapping(one.inputs)) not in have)
        if new:
            rows = [
                {
                    "id": uuid5(NAMESPACE_URL, f"textgrad_lg:{name}:{one.id}"),
                    "inputs": _mapping(one.inputs),
                    wanted: one.reference_outputs,
                    "metadata": one.metadata,
                }
                for one in new
            ]
            client.create_examples(dataset_name=name, examples=rows)
    except Exception as error:
        raise DataError(f"the LangSmith data set {name!r} could not be added to: {type(error).__name__}") from error
    return new


def _mapping(inputs: JSON) -> dict[str, JSON]:
    return inputs if isinstance(inputs, dict) else {"input": inputs}
