"""Example and Score, in LangSmith's shapes."""

from __future__ import annotations

from dataclasses import dataclass, field

from textgrad_lg.types import JSON


@dataclass(frozen=True, slots=True)
class Example:
    """One case to run and judge.

    Attributes:
        id: Unique in its data set.
        inputs: What the graph is invoked with.
        reference_outputs: What was wanted, or None where nothing is known.
        metadata: Anything else that came with it; `split` ("train", "validation", "test") is honoured.
    """

    id: str
    inputs: JSON
    reference_outputs: dict[str, JSON] | None = None
    metadata: dict[str, JSON] = field(default_factory=dict[str, JSON])


@dataclass(frozen=True, slots=True)
class Score:
    """What one evaluator said about one run.

    Attributes:
        key: The evaluator's name.
        value: Higher is better, 1.0 is perfect; None where the evaluator could not judge.
        comment: Why, in words: the seed of the gradient.
        fields: The output fields that the evaluator read, in the order it first read them.
        expected: What the evaluator's fields should have been, where a reference says so.
        error: The evaluator's own failure in words; then `value` is None and the Example does not count.
    """

    key: str
    value: float | None
    comment: str | None = None
    fields: tuple[str, ...] = ()
    expected: dict[str, JSON] | None = None
    error: str | None = None
