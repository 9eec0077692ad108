"""Gradients, attached to the production spans that they criticise.

Who looks at a failed run in LangSmith or Phoenix then finds beside each step of it what was wrong there, in words, and the
ids of the span in which textgrad_lg found that out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from textgrad_lg.autograd import distinct
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg_tracing.content import Content, Redactor, clip

if TYPE_CHECKING:
    from textgrad_lg.gradient import Gradient
    from textgrad_lg.trace import Trace

__all__ = ["KEY", "Annotation", "Annotator", "Place", "annotate", "annotations_of"]

KEY = "textgrad.gradient"
"""The name under which Gradients are attached."""


class Place(Protocol):
    """Where an OpenTelemetry span is: the part of `SpanContext` that is used."""

    @property
    def trace_id(self) -> int:
        """The trace's id."""
        ...

    @property
    def span_id(self) -> int:
        """The span's id."""
        ...


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is attached to one production span.

    Attributes:
        span: The production span: 16 hex digits for OpenTelemetry, a UUID for a LangSmith run.
        trace: The id of the trace it belongs to.
        key: What the annotation is called.
        text: What was said of what the span made, or of the prompts it used; each thing once.
        score: The worst score behind it, higher is better; None where there was none.
        metadata: The ids of the Gradients, the Parameters they are on, and `textgrad.trace_id` and `textgrad.span_id`: the
            span that shows how the criticism came about, where it is known.
    """

    span: str
    trace: str
    key: str
    text: str
    score: float | None
    metadata: Mapping[str, JSON]


class Annotator(Protocol):
    """A place to attach annotations to, as `annotate_langsmith.LangSmith` and `annotate_phoenix.Phoenix` are."""

    def send(self, annotations: Iterable[Annotation]) -> None:
        """Attach them. Attaching the same ones again changes nothing.

        Raises:
            DataError: They were refused, or the backend could not be reached.
        """
        ...


def annotate(
    trace: Trace,
    gradients: Iterable[Gradient],
    to: Annotator,
    *,
    links: Callable[[str, str], Place | None] | None = None,
    redactor: Redactor | None = None,
    key: str = KEY,
    limit: int = 4_000,
) -> tuple[Annotation, ...]:
    """Attach Gradients to the production spans that they criticise.

    A Gradient on something that a span made is attached to that span; one on a prompt, or on the input of the run, to the
    span that used it.

    Args:
        trace: A Trace that was read from where `to` is.
        gradients: The Gradients on it. Those of other Traces are left alone.
        to: Where the production spans are.
        links: Tells the span that shows the criticism of a Span, given the ids of the Trace and the Span:
            `OTelCallback.backward_span`.
        redactor: Applied to the texts. They quote the graph's users, and are sent wherever this is called.
        key: What the annotations are called.
        limit: The longest text, in characters.

    Returns:
        What was attached, in the order of the Trace.

    Raises:
        DataError: The backend refused, or could not be reached.
    """
    found = annotations_of(trace, gradients, links=links, redactor=redactor, key=key, limit=limit)
    if found:
        to.send(found)
    return found


def annotations_of(
    trace: Trace,
    gradients: Iterable[Gradient],
    *,
    links: Callable[[str, str], Place | None] | None = None,
    redactor: Redactor | None = None,
    key: str = KEY,
    limit: int = 4_000,
) -> tuple[Annotation, ...]:
    """What `annotate` would attach; see there."""
    by_span: dict[str, list[Gradient]] = {}
    for gradient in gradients:
        if gradient.trace == trace.id:
            variable = trace.variable_by_id.get(gradient.variable)
            made = variable.span if variable is not None else None
            by_span.setdefault(made or gradient.span, []).append(gradient)
    content = Content(enabled=True, redactor=redactor, limit=limit)
    found: list[Annotation] = []
    for span in trace.spans:
        # What judged the run is no span of the run.
        if span.id not in by_span or span.kind is SpanKind.EVAL:
            continue
        said = by_span[span.id]
        texts = [str(content.fields({key: text})[key]) for text in distinct(said)]
        text = clip("\n".join(texts) if len(texts) == 1 else "\n".join(f"- {text}" for text in texts), limit)
        scores = [gradient.score for gradient in said if gradient.score is not None]
        metadata = {**_about(said), **_link(links and _backward(links, trace, said, span.id))}
        name = str(span.attributes.get("run_id") or span.id)
        found.append(Annotation(name, trace.id, key, text, min(scores, default=None), metadata))
    return tuple(found)


def _backward(
    links: Callable[[str, str], Place | None], trace: Trace, said: Iterable[Gradient], span: str
) -> Place | None:
    """The span in which the criticism was made: that of the consumer it came from."""
    return next((place for gradient in said if (place := links(trace.id, gradient.span))), None) or links(
        trace.id, span
    )


def _link(place: Place | None) -> dict[str, JSON]:
    if place is None:
        return {}
    return {"textgrad.trace_id": f"{place.trace_id:032x}", "textgrad.span_id": f"{place.span_id:016x}"}


def _about(said: Iterable[Gradient]) -> dict[str, JSON]:
    ids: list[JSON] = list(dict.fromkeys(gradient.id for gradient in said))
    sites: list[JSON] = list(dict.fromkeys(str(gradient.site) for gradient in said if gradient.site is not None))
    return {"textgrad.gradient.ids": ids, **({"textgrad.param.names": sites} if sites else {})}
