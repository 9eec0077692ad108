"""Production traces: runs that were not made here, with what is known of them, and the Examples they make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeGuard, cast

from textgrad_lg.errors import DataError
from textgrad_lg.evals import example_score
from textgrad_lg.evals.feedback import TOKENS, Feedback, on_scale, scores_from_feedback
from textgrad_lg.evals.splits import GROUP
from textgrad_lg.events import Origin
from textgrad_lg.example import Example, Score
from textgrad_lg.optim.sources import SOURCE
from textgrad_lg.templates import fence
from textgrad_lg.trace import Trace

if TYPE_CHECKING:
    from textgrad_lg.types import JSON

Scales = Mapping[str, tuple[float, float] | None]
"""The worst and the best score by the feedback's key; None for feedback that is no judgement."""
ERROR = "error"
"""The key of the Score that an error of the run makes."""


class Unmade(Protocol):
    """A production trace of which what it is chosen by is known before its Trace is made.

    What `textgrad_lg_tracing.readers.read_traces` gives is of this form; anything else that has these attributes is too.
    """

    @property
    def id(self) -> str:
        """The Trace's id."""
        ...

    @property
    def error(self) -> str | None:
        """What the run ended with; None where it ended well."""
        ...

    @property
    def feedback(self) -> Iterable[object]:
        """What people and evaluators said of it."""
        ...

    @property
    def source(self) -> str:
        """Who made it; empty where that is not known."""
        ...

    @property
    def whole(self) -> bool:
        """Whether what went in and what came out seems to be there; certain only when the Trace is made."""
        ...

    @property
    def trace(self) -> Trace:
        """The Trace, made when it is first asked for; empty where it cannot be made."""
        ...


def is_unmade(item: object) -> TypeGuard[Unmade]:
    """Whether an item is of that form. Its Trace is not asked for: that would make it."""
    names = ("id", "error", "feedback", "source", "whole")
    return not isinstance(item, Trace | ProductionTrace) and all(hasattr(item, name) for name in names)


@dataclass(frozen=True, slots=True)
class ProductionTrace:
    """A run that was not made here, and what is known of it.

    Attributes:
        trace: The run.
        feedback: What people and evaluators said of it, as Scores. Their comments stand between delimiters: strangers wrote
            them.
        source: Who made it: an end user, a thread, a group. Sources have a cap on their share of what is learnt in a step.
            Empty: the trace is a source of its own.
        origin: Where it was read from, where that is known.
    """

    trace: Trace
    feedback: tuple[Score, ...] = ()
    source: str = ""
    origin: Origin | None = None

    @classmethod
    def of(cls, item: object, sources: Mapping[str, str] | None = None, scales: Scales | None = None) -> Self:
        """Read one trace from any of its forms.

        Args:
            item: A ProductionTrace; a Trace; or anything with a `trace`, and `feedback` in any of the forms that
                `scores_from_feedback` reads or as Scores, such as what `textgrad_lg_tracing.readers.read_traces` gives.
                Its `provenance`, if it has one, is the origin.
            sources: Whose trace it is, by its id. What is said here goes before what spans say, and not before what a
                ProductionTrace does.
            scales: The worst and the best score by the feedback's key, where that is not 0 and 1; None for feedback that
                is no judgement. What a ProductionTrace holds goes from 0 to 1 already.

        Raises:
            DataError: It is none of these; or feedback is out of range, or not on its scale.
        """
        if isinstance(item, cls):
            for score in item.feedback:
                if score.value is not None and not 0 <= score.value <= 1:
                    raise DataError(
                        f"the feedback {score.key!r} of a ProductionTrace has the score {score.value:g}, not one from 0 to 1; "
                        "make its Scores with scores_from_feedback(feedback, scales=...)"
                    )
            known = (sources or {}).get(item.trace.id, "")
            return item if item.source or not known else replace(item, source=known)
        trace = item if isinstance(item, Trace) else getattr(item, "trace", None)
        if not isinstance(trace, Trace):
            raise DataError(
                f"a {type(item).__name__} is no trace; wanted is a Trace, a ProductionTrace, or what read_traces() of "
                "textgrad_lg_tracing.readers gives"
            )
        said = cast("Iterable[object]", getattr(item, "feedback", None) or ())
        source = str((sources or {}).get(trace.id, "") or getattr(item, "source", ""))
        return cls(trace, scores_of(said, scales or {}), source, _origin(item))

    @property
    def who(self) -> str:
        """Its source."""
        return self.source or self.trace.id

    @property
    def error(self) -> str | None:
        """What the run as a whole ended with, in words; None where it ended well. What it caught itself does not count."""
        return next((span.error for span in self.trace.spans if span.parent is None and span.error), None)

    @property
    def told(self) -> tuple[Score, ...]:
        """What is known without an evaluator: its error, and what was said of it."""
        error = self.error
        if error is None:
            return self.feedback
        return (Score(ERROR, 0.0, fence("error that ended the run", error, tokens=TOKENS)), *self.feedback)

    def fails(self, pass_at: float) -> bool:
        """Whether that alone says that the run failed."""
        return fails(self.error, self.feedback, pass_at)

    def example(self, known: Known) -> Example | None:
        """The run as an Example; None where the trace does not hold what the run was given.

        The same inputs make an Example of the same id. What was wanted is what the user's own data say of it, or a
        correction that somebody has made.

        Args:
            known: The user's own data.
        """
        inputs = inputs_of(self.trace)
        if inputs is None:
            return None
        own = known.of(self.trace, inputs)
        wanted = _wanted(self.trace, self.feedback)
        metadata: dict[str, JSON] = {SOURCE: self.who, GROUP: self.who, "trace": self.trace.id}
        if own is not None:
            metadata = {key: value for key, value in own.metadata.items() if key != "split"} | metadata
            wanted = own.reference_outputs or wanted
        return Example(f"trace-{digest(inputs)}", inputs, wanted, metadata)


def fails(error: str | None, feedback: Sequence[Score], pass_at: float) -> bool:
    """Whether what is known without an evaluator says that a run failed."""
    if error is not None:
        return True
    score = example_score(feedback)
    return score is not None and score < pass_at


class Known:
    """The user's own data, as far as they say what a trace should have come to.

    Args:
        examples: The Examples.
    """

    def __init__(self, examples: Sequence[Example] = ()) -> None:
        self._by_id = {example.id: example for example in examples}
        self._by_inputs = {digest(example.inputs): example for example in reversed(examples)}

    def of(self, trace: Trace, inputs: JSON) -> Example | None:
        """The Example that was run, by the id that the trace has, else by its inputs."""
        return self._by_id.get(trace.example or "") or self._by_inputs.get(digest(inputs))


def inputs_of(trace: Trace) -> JSON:
    """What the run was given; None where the trace does not hold it, or not all of it."""
    values = {field: trace.variable_by_id[name].value for field, name in trace.inputs.items()}
    if not values or any(value is None for value in values.values()):
        return None
    return values[""] if list(values) == [""] else values


def digest(value: JSON) -> str:
    """Sixteen hex digits of a value: the same for the same value, whatever the order of its keys."""
    content = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:16]


def _origin(item: object) -> Origin | None:
    """What the readers of the tracing package, which this one does not know, say of where a trace came from."""
    told: Any = getattr(item, "provenance", None)
    if told is None:
        return None
    return Origin(str(told.backend), str(told.producer), str(told.trace), dict(told.spans))


def scores_of(said: Iterable[object], scales: Scales) -> tuple[Score, ...]:
    """Feedback in any form as Scores from 0 to 1, the comments between delimiters.

    Raises:
        DataError: It is out of range, or not on its scale.
    """
    found: list[Score] = []
    known = {key: scale for key, scale in scales.items() if scale is not None}
    for item in said:
        given = item if isinstance(item, Score) else Feedback.of(item)
        if scales.get(given.key, ()) is None:
            continue
        try:
            if isinstance(given, Feedback):
                found += scores_from_feedback([given], scales=known)
                continue
            scaled = on_scale(given, known)
        except DataError as error:
            raise DataError(f"{error}; or scales={{{given.key!r}: None}}, where it is no judgement") from error
        comment = fence("comment on the run", given.comment, tokens=TOKENS) if given.comment else None
        found.append(replace(scaled, comment=comment))
    return tuple(found)


def _wanted(trace: Trace, scores: Iterable[Score]) -> dict[str, JSON] | None:
    """What a correction says that the output should have been."""
    wanted: dict[str, Any] = {}
    for score in scores:
        for field, value in (score.expected or {}).items():
            # A text is what the one field should have been.
            wanted[next(iter(trace.outputs)) if field == "" and len(trace.outputs) == 1 else field] = value
    return wanted or None
