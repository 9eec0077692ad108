"""OTLP as protobuf: one `ResourceSpans` message, which is what `TracesData` and `ExportTraceServiceRequest` repeat."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from textgrad_lg.types import JSON
from textgrad_lg_tracing.readers import values, wire
from textgrad_lg_tracing.readers.extra import needed
from textgrad_lg_tracing.readers.place import Place
from textgrad_lg_tracing.readers.span import SourceEvent, SourceLink, SourceSpan
from textgrad_lg_tracing.readers.values import Malformed

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

_ERROR = 2
# The first field of a span, with its length: so its trace's id begins, and now and then something else.
_TRACE_ID = bytes([0x0A, values.TRACE_BYTES])
_NONE = bytes(values.SPAN_BYTES)
_NO_TRACE = bytes(values.TRACE_BYTES).hex()
_SCOPE_SPANS = 2
_SPANS = 2


def spans(data: bytes, place: Place) -> Iterator[SourceSpan]:
    """The spans of one message; one that is malformed is left out, and said."""
    for message in _messages(data, place):
        resource = _attributes(message.resource.attributes, place, "")
        for group in message.scope_spans:
            scope = group.scope.name
            for raw in group.spans:
                trace = raw.trace_id.hex()
                if place.only is not None and trace not in place.only:
                    continue
                try:
                    yield _span(raw, trace, scope, resource, place)
                except Malformed as error:
                    place.problem(
                        f"a span was left out: {error}", trace if len(trace) == 2 * values.TRACE_BYTES else ""
                    )


def trace_ids(data: bytes) -> set[str]:
    """The traces that a message has spans of, and possibly more, without parsing it."""
    found: set[bytes] = set()
    at = data.find(_TRACE_ID)
    while at >= 0:
        end = at + len(_TRACE_ID) + values.TRACE_BYTES
        found.add(data[end - values.TRACE_BYTES : end])
        at = data.find(_TRACE_ID, at + 1)
    return {raw.hex() for raw in found if len(raw) == values.TRACE_BYTES}


def _messages(data: bytes, place: Place) -> Iterator[ResourceSpans]:
    """The message; where it cannot be parsed, one for each of its spans that can."""
    with needed("reading protobuf"):
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

    try:
        yield ResourceSpans.FromString(data)
    except DecodeError:
        place.problem("a message is damaged; what is good of it was read")
    else:
        return
    try:
        fields = list(wire.fields(data))
        rest = b"".join(field.data for field in fields if field.number != _SCOPE_SPANS)
        for group in fields:
            if group.number != _SCOPE_SPANS:
                continue
            inner = list(wire.fields(group.payload))
            scope = b"".join(field.data for field in inner if field.number != _SPANS)
            for field in inner:
                if field.number != _SPANS:
                    continue
                try:
                    yield ResourceSpans.FromString(rest + wire.field(_SCOPE_SPANS, scope + field.data))
                except DecodeError:
                    place.problem("a span was left out: it is damaged")
    except wire.Damaged as error:
        place.problem(f"a message was left out: {error}")


def _span(raw: Span, trace: str, scope: str, resource: Mapping[str, JSON], place: Place) -> SourceSpan:
    own = raw.span_id
    if len(own) != values.SPAN_BYTES or own == _NONE or len(trace) != 2 * values.TRACE_BYTES or trace == _NO_TRACE:
        raise Malformed(f"no trace id and span id: {trace[:32]!r}, {own.hex()[:32]!r}")
    given = raw.attributes
    found = _attributes(given, place, trace)
    dropped = len(given) - len(found)
    events: tuple[SourceEvent, ...] = ()
    links: tuple[SourceLink, ...] = ()
    if raw.events:
        events = tuple(
            SourceEvent(event.name, event.time_unix_nano, _attributes(event.attributes, place, trace))
            for event in raw.events[: place.limits.entries]
        )
        dropped += len(raw.events) - len(events)
    if raw.links:
        links = tuple(
            SourceLink(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes, place, trace))
            for link in raw.links[: place.limits.entries]
        )
        dropped += len(raw.links) - len(links)
    start, end = raw.start_time_unix_nano, raw.end_time_unix_nano
    if not start <= end <= values.LATEST:
        start, end = values.period(start, end, place, trace)
    error = None
    status = raw.status
    if status.code == _ERROR:
        error = values.failure(status.message, events)
    parent = raw.parent_span_id
    return SourceSpan(
        trace,
        own.hex(),
        parent.hex() if parent and parent != _NONE else None,
        raw.name,
        start,
        end,
        found,
        events,
        links,
        error,
        dropped + raw.dropped_attributes_count + raw.dropped_events_count + raw.dropped_links_count,
        scope,
        resource,
        "otlp",
    )


def _attributes(given: Sequence[KeyValue], place: Place, trace: str) -> dict[str, JSON]:
    if len(given) > place.limits.attributes:
        place.problem(f"more than {place.limits.attributes} attributes; the others were left out", trace)
        given = given[: place.limits.attributes]
    found: dict[str, JSON] = {}
    for item in given:
        box = item.value
        # Text is by far the most common, and asking for it costs less than asking which it is.
        text = box.string_value
        if text:
            found[item.key] = text
            continue
        try:
            found[item.key] = _value(box, place.limits.depth)
        except Malformed as error:
            place.problem(f"the attribute {values.shown(item.key)} was left out: {error}", trace)
    return found


def _value(box: AnyValue, depth: int) -> JSON:
    if depth < 0:
        raise Malformed("lists and mappings lie too deep within each other")
    kind = box.WhichOneof("value")
    if kind is None:
        return None
    inner = getattr(box, kind)
    if kind == "double_value":
        return inner if math.isfinite(inner) else str(inner)
    if kind == "array_value":
        return [_value(item, depth - 1) for item in inner.values]
    if kind == "kvlist_value":
        return {item.key: _value(item.value, depth - 1) for item in inner.values}
    if kind == "bytes_value":
        return base64.b64encode(inner).decode()
    return inner
