"""Production spans: those that a Trace was read from. They are never written again; what criticises them points to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import SpanContext, TraceFlags

from textgrad_lg_tracing import attributes as at

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from textgrad_lg.events import BackwardFinished

_UUID_DIGITS, _SPAN_ID_DIGITS = 32, 16


def source(event: BackwardFinished) -> dict[str, AttributeValue]:
    """What every span of a reverse pass says of where its Trace came from."""
    backend = event.origin.backend if event.origin else ""
    return {at.SOURCE: "imported", **({at.SOURCE_BACKEND: backend} if backend else {})}


def named(event: BackwardFinished, span: str) -> dict[str, AttributeValue]:
    """The production span that a Span was read from, by the ids that its backend gave it; nothing where they are not known."""
    trace, own = _ids(event, span)
    if event.origin is None or not trace:
        return {}
    return {at.FORWARD_TRACE: trace, **({at.FORWARD_SPAN: own} if own else {})}


def context(event: BackwardFinished, span: str) -> SpanContext | None:
    """The production span that a Span was read from, to link to; None where its ids are not those of OpenTelemetry.

    LangSmith writes the ids of spans that it was sent by OpenTelemetry as UUIDs with zeros in front. Its own do not fit.
    """
    trace, own = (text.replace("-", "") for text in _ids(event, span))
    if len(trace) != _UUID_DIGITS or len(own) not in {_SPAN_ID_DIGITS, _UUID_DIGITS}:
        return None
    try:
        found = SpanContext(int(trace, 16), int(own, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    except ValueError:
        return None
    return found if found.is_valid else None


def _ids(event: BackwardFinished, span: str) -> tuple[str, str]:
    # Where nothing is said of the origin, the Trace and its Spans may have kept the ids that they were read with.
    return (event.origin.trace, event.origin.spans.get(span, "")) if event.origin else (event.trace.id, span)
