"""Production traces: runs that were not made here, with what is known of them, and the Examples they make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from textgrad_lg.errors import DataError
from textgrad_lg.evals import example_score
from textgrad_lg.evals.feedback import TOKENS, scores_from_feedback
from textgrad_lg.evals.splits import GROUP
from textgrad_lg.example import Example, Score
from textgrad_lg.optim.sources import SOURCE
from textgrad_lg.templates import fence
from textgrad_lg.trace import Trace

if TYPE_CHECKING:
    from textgrad_lg.types import JSON

ERROR = "error"
"""The key of the Score that an error of the run makes."""


@dataclass(frozen=True, slots=True)
class ProductionTrace:
    """A run that was not made here, and what is known of it.

    Attributes:
        trace: The run.
        feedback: What people and evaluators said of it, as Scores. Their comments stand between delimiters: strangers wrote
            them.
        source: Who made it: an end user, a thread, a group. Sources have a cap on their share of what is learnt in a step.
            Empty: the trace is a source of its own.
    """

    trace: Trace
    feedback: tuple[Score, ...] = ()
    source: str = ""

    @classmethod
    def of(cls, item: object, sources: Mapping[str, str] | None = None) -> Self:
        """Read one trace from any of its forms.

        Args:
            item: A ProductionTrace; a Trace; or anything with a `trace`, and `feedback` in any of the forms that
                `scores_from_feedback` reads or as Scores, such as what `textgrad_lg_tracing.readers.read_traces` gives.
            sources: Whose trace it is, by its id, where the item does not say.

        Raises:
            DataError: It is none of these.
        """
        if isinstance(item, cls):
            known = (sources or {}).get(item.trace.id, "")
            return item if item.source or not known else cls(item.trace, item.feedback, known)
        trace = item if isinstance(item, Trace) else getattr(item, "trace", None)
        if not isinstance(trace, Trace):
            raise DataError(
                f"a {type(item).__name__} is no trace; wanted is a Trace, a ProductionTrace, or what read_traces() of "
                "textgrad_lg_tracing.readers gives"
            )
        said = cast("Iterable[object]", getattr(item, "feedback", None) or ())
        source = str(getattr(item, "source", "") or (sources or {}).get(trace.id, ""))
        return cls(trace, _scores(said), source)

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
        score = example_score(self.told)
        return self.error is not None or (score is not None and score < pass_at)

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


def _scores(said: Iterable[object]) -> tuple[Score, ...]:
    found: list[Score] = []
    for item in said:
        if not isinstance(item, Score):
            found += scores_from_feedback([item])
        elif item.comment:
            comment = fence("comment on the run", item.comment, tokens=TOKENS)
            found.append(Score(item.key, item.value, comment, item.fields, item.expected, item.error))
        else:
            found.append(item)
    return tuple(found)


def _wanted(trace: Trace, scores: Iterable[Score]) -> dict[str, JSON] | None:
    """What a correction says that the output should have been."""
    wanted: dict[str, Any] = {}
    for score in scores:
        for field, value in (score.expected or {}).items():
            # A text is what the one field should have been.
            wanted[next(iter(trace.outputs)) if field == "" and len(trace.outputs) == 1 else field] = value
    return wanted or None
