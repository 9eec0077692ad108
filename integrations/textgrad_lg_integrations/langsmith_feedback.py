"""LangSmith's feedback as gradients: what people said of recorded runs becomes the verdicts that a reverse pass starts from.

Thumbs, comments, notes of an annotation queue and corrections are read with `read_feedback`, and joined to the Traces of the
runs they are about with `join`. Feedback on an inner run (one model call, one tool call, one node) seeds what that run made,
and not the graph's output: it blames only what led there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import UUID

from textgrad_lg.autograd import seed
from textgrad_lg.errors import DataError
from textgrad_lg.evals.feedback import THUMBS, TOKENS, Feedback, scores_from_feedback
from textgrad_lg.example import Example, Score
from textgrad_lg.types import JSON

if TYPE_CHECKING:
    from textgrad_lg.trace import Span, Trace

__all__ = ["Feedback", "Joined", "Reviewed", "join", "read_feedback", "scores_from_feedback"]

_RUNS = 50
"""Run ids in one request: the API takes them in the address, which has to stay short."""


class FeedbackClient(Protocol):
    """The part of `langsmith.Client` that is used."""

    def list_feedback(
        self,
        *,
        run_ids: Sequence[Any] | None = None,
        feedback_key: Sequence[str] | None = None,
        feedback_source_type: Sequence[Any] | None = None,
    ) -> Iterator[Any]:
        """The feedback on some runs."""
        ...


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A run and what was said of it.

    Attributes:
        trace: The Trace with its verdicts, for `backward`.
        scores: The verdicts on the whole run.
        inner: The verdicts on inner runs, by the id of the Span they are about.
        example: The run as an Example: its input, and what was wanted, where a correction of the whole run says so.
    """

    trace: Trace
    scores: tuple[Score, ...]
    inner: Mapping[str, tuple[Score, ...]]
    example: Example


@dataclass(frozen=True, slots=True)
class Joined:
    """What feedback came to.

    Attributes:
        runs: The Traces that something was said of, in the order they were given.
        unmatched: Feedback on runs that no Trace has, in the order it was given.
    """

    runs: tuple[Reviewed, ...]
    unmatched: tuple[Feedback, ...]


def read_feedback(
    client: FeedbackClient | None,
    traces: Iterable[Trace],
    *,
    keys: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
) -> tuple[Feedback, ...]:
    """The feedback that LangSmith has on recorded runs, inner runs included.

    Args:
        client: A `langsmith.Client`; None for one that is made from the environment.
        traces: The runs. They are asked for by the run ids that LangChain gave them, which LangSmith knows them by; a
            Trace without any, by its own id.
        keys: Only feedback with these keys.
        sources: Only from these sources, as in `["app"]` for what people clicked and `["api"]` for what programs sent.

    Returns:
        Each feedback once.

    Raises:
        DataError: LangSmith could not be asked.
    """
    ids = list(dict.fromkeys(name for trace in traces for name in _spans(trace)))
    found: dict[str, Feedback] = {}
    try:
        if client is None:
            from langsmith import Client

            client = cast("FeedbackClient", Client())
        for at in range(0, len(ids), _RUNS):
            for item in client.list_feedback(
                run_ids=ids[at : at + _RUNS], feedback_key=keys, feedback_source_type=sources
            ):
                feedback = Feedback.of(item)
                found.setdefault(feedback.id or str(len(found)), feedback)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"LangSmith's feedback could not be read: {type(error).__name__}: {error}. It needs LANGSMITH_API_KEY, or a "
            "client of yours"
        ) from error
    return tuple(found.values())


def join(
    traces: Iterable[Trace],
    feedback: Iterable[object],
    *,
    examples: Iterable[Example] = (),
    scales: Mapping[str, tuple[float, float]] | None = None,
    words: Mapping[str, float] = THUMBS,
    trusted: bool = False,
    tokens: int = TOKENS,
) -> Joined:
    """Bring feedback to the runs it is about, and mark the verdicts in their Traces.

    Args:
        traces: The runs, with their Parameters marked (`Discovery.label`) where gradients are wanted.
        feedback: In any of the forms that `Feedback.of` reads. It finds its run by the run id, and where it has none by
            the trace id.
        examples: The Examples that were run, where there are any: a Trace names its own.
        scales: As for `scores_from_feedback`, and so are `words`, `trusted` and `tokens`.
        words: See there.
        trusted: See there.
        tokens: See there.

    Raises:
        DataError: Feedback cannot be read, or a score is out of its range.
    """
    known = {example.id: example for example in examples}
    runs = list(traces)
    places = {name: (at, span) for at, trace in enumerate(runs) for name, span in _spans(trace).items()}
    told: dict[int, dict[str, list[Feedback]]] = {}
    unmatched: list[Feedback] = []
    for item in map(Feedback.of, feedback):
        place = places.get(_plain(item.run or item.trace or ""))
        made = None if place is None else _made(runs[place[0]], place[1])
        if place is None or made is None:
            unmatched.append(item)
        else:
            told.setdefault(place[0], {}).setdefault(place[1], []).append(item)

    def read(items: Sequence[Feedback]) -> tuple[Score, ...]:
        return scores_from_feedback(items, scales=scales, words=words, trusted=trusted, tokens=tokens)

    reviewed = [
        _reviewed(runs[at], {span: read(items) for span, items in told[at].items()}, known) for at in sorted(told)
    ]
    return Joined(tuple(reviewed), tuple(unmatched))


def _reviewed(trace: Trace, found: Mapping[str, tuple[Score, ...]], known: Mapping[str, Example]) -> Reviewed:
    whole = _root(trace).id
    seeded = trace
    for span in trace.spans:  # in the order of the run, whatever the order of the feedback was
        if span.id in found:
            # What was judged are the span's own outputs; to `seed` they are those of the run.
            outputs = _made(trace, span.id)
            assert outputs is not None
            seeded = replace(seed(replace(seeded, outputs=outputs), found[span.id]), outputs=trace.outputs)
    scores = found.get(whole, ())
    inner = {span: verdicts for span, verdicts in found.items() if span != whole}
    return Reviewed(seeded, scores, inner, _example(trace, scores, known.get(trace.example or "")))


def _example(trace: Trace, scores: Sequence[Score], known: Example | None) -> Example:
    wanted: dict[str, JSON] = {}
    for score in scores:
        for field, value in (score.expected or {}).items():
            # A text is what the one field should have been.
            wanted[next(iter(trace.outputs)) if field == "" and len(trace.outputs) == 1 else field] = value
    if known is not None:
        return replace(known, reference_outputs=wanted) if wanted else known
    values = {field: trace.variable_by_id[name].value for field, name in trace.inputs.items()}
    inputs: JSON = values[""] if list(values) == [""] else values
    return Example(trace.example or trace.id, inputs, wanted or None, {"trace": trace.id})


def _spans(trace: Trace) -> dict[str, str]:
    """The ids of Spans by the run ids that LangSmith knows them by."""
    found = {_plain(str(run)): span.id for span in trace.spans if (run := span.attributes.get("run_id"))}
    return found if trace.spans and found else {_plain(trace.id): _root(trace).id} if trace.spans else {}


def _root(trace: Trace) -> Span:
    return next(span for span in trace.spans if span.parent is None)


def _made(trace: Trace, span: str) -> dict[str, str] | None:
    """What a Span made, field to Variable id: its own Variables, or else those of the Spans inside it. None for nothing.

    The outermost Span made the run's output; where the run failed there is none, and `seed` judges what was made last.
    """
    if span == _root(trace).id:
        return trace.outputs
    inside, found = [span], dict[str, str]()
    while inside and not found:
        found = {v.id.rpartition(".out.")[2]: v.id for v in trace.variables if v.span in inside}
        inside = [child.id for child in trace.spans if child.parent in inside]
    return found or None


def _plain(name: str) -> str:
    """An id in the one form in which UUIDs are compared."""
    try:
        return str(UUID(name))
    except ValueError:
        return name
