"""OTLP as JSON: one `resourceSpans` object, as a collector or the official file exporter writes it on a line.

Ids are hexadecimal, or base64 where protobuf's own JSON mapping was used; 64-bit integers are texts; names are in camel
case, or in snake case where that mapping was told to keep them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from textgrad_lg.types import JSON
from textgrad_lg_tracing.readers import values
from textgrad_lg_tracing.readers.place import Place
from textgrad_lg_tracing.readers.span import SourceEvent, SourceLink, SourceSpan
from textgrad_lg_tracing.readers.values import Malformed

_WRONG = (Malformed, AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
_ERROR = frozenset({2, "2", "STATUS_CODE_ERROR"})


def spans(value: Mapping[str, Any], place: Place, backend: str = "otlp") -> Iterator[SourceSpan]:
    """The spans of one object; one that is malformed is left out, and said."""
    for of_resource in _either(value, "resourceSpans", "resource_spans"):
        try:
            resource = _attributes(values.mapping(of_resource.get("resource")).get("attributes"), place, "")
            groups = _either(of_resource, "scopeSpans", "scope_spans") or _either(
                of_resource, "instrumentationLibrarySpans", "instrumentation_library_spans"
            )
        except _WRONG as error:
            place.problem(f"a resource's spans were left out: {_said(error)}")
            continue
        for group in groups:
            about = values.mapping(group)
            scope = str(values.mapping(about.get("scope") or about.get("instrumentationLibrary")).get("name", ""))
            for raw in values.several(about.get("spans")):
                found = _whole(raw, scope, resource, place, backend)
                if found is not None:
                    yield found


def bare(raw: Any, place: Place, backend: str) -> SourceSpan | None:
    """A span that stands by itself, without resource and scope; None if it is malformed, which is said."""
    return _whole(raw, "", {}, place, backend)


def _whole(raw: Any, scope: str, resource: Mapping[str, JSON], place: Place, backend: str) -> SourceSpan | None:
    trace = ""
    try:
        get = raw.get
        trace = values.trace_id(get("traceId") or get("trace_id"))
        if place.only is not None and trace not in place.only:
            return None
        return _span(raw, trace, scope, resource, place, backend)
    except _WRONG as error:
        place.problem(f"a span was left out: {_said(error)}", trace)
        return None


def _span(  # noqa: PLR0917  called for each of a million spans
    raw: dict[str, Any], trace: str, scope: str, resource: Mapping[str, JSON], place: Place, backend: str
) -> SourceSpan:
    get = raw.get
    if "trace_id" in raw:
        raw = {_CAMEL.get(key, key): value for key, value in raw.items()}
        get = raw.get
    given = get("attributes")
    found = _attributes(given, place, trace) if given else {}
    dropped = len(given) - len(found) if given else 0
    events: tuple[SourceEvent, ...] = ()
    links: tuple[SourceLink, ...] = ()
    if given := get("events"):
        events = tuple(_event(event, place, trace) for event in given[: place.limits.entries])
        dropped += len(given) - len(events)
    if given := get("links"):
        links = tuple(_link(link, place, trace) for link in given[: place.limits.entries])
        dropped += len(given) - len(links)
    for key in ("droppedAttributesCount", "droppedEventsCount", "droppedLinksCount"):
        if raw.get(key):
            dropped += int(raw[key])
    start = values.nanoseconds(get("startTimeUnixNano"))
    end = values.nanoseconds(get("endTimeUnixNano") or 0)
    if not 0 <= start <= end <= values.LATEST:
        start, end = values.period(start, end, place, trace)
    status = get("status")
    error = None
    if status and status.get("code") in _ERROR:
        error = values.failure(status.get("message"), events)
    name = get("name") or ""
    return SourceSpan(
        trace,
        values.span_id(get("spanId")),
        values.parent_id(get("parentSpanId")),
        name if type(name) is str else str(name),
        start,
        end,
        found,
        events,
        links,
        error,
        dropped,
        scope,
        resource,
        backend,
    )


def _event(raw: dict[str, Any], place: Place, trace: str) -> SourceEvent:
    time = values.nanoseconds(raw.get("timeUnixNano") or raw.get("time_unix_nano") or 0)
    return SourceEvent(str(raw.get("name") or ""), time, _attributes(raw.get("attributes"), place, trace))


def _link(raw: dict[str, Any], place: Place, trace: str) -> SourceLink:
    get = raw.get
    return SourceLink(
        values.trace_id(get("traceId") or get("trace_id")),
        values.span_id(get("spanId") or get("span_id")),
        _attributes(get("attributes"), place, trace),
    )


def _attributes(given: Any, place: Place, trace: str) -> dict[str, JSON]:
    found: dict[str, JSON] = {}
    if not given:
        return found
    if len(given) > place.limits.attributes:
        place.problem(f"more than {place.limits.attributes} attributes; the others were left out", trace)
        given = given[: place.limits.attributes]
    for item in given:
        box = item["value"]
        text = box.get("stringValue")
        if text.__class__ is str:
            found[item["key"]] = text
            continue
        try:
            found[str(item["key"])] = any_value(box, place.limits.depth)
        except _WRONG as error:
            place.problem(f"the attribute {values.shown(item['key'])} was left out: {_said(error)}", trace)
    return found


def any_value(box: Mapping[str, Any], depth: int) -> JSON:  # noqa: PLR0911  one for each type
    """The value in an `AnyValue`.

    Raises:
        Malformed: It is of no known type, or lists and mappings lie deeper within each other than `depth`.
    """
    if depth < 0:
        raise Malformed("lists and mappings lie too deep within each other")
    for key, inner in box.items():
        if inner is None:
            # Some write all types, and null for those that it is not.
            continue
        kind = _CAMEL.get(key, key)
        if kind == "intValue":
            return int(inner)
        if kind == "boolValue" and isinstance(inner, bool):
            return inner
        if kind == "doubleValue":
            number = float(inner)
            return number if math.isfinite(number) else str(number)
        if kind in {"stringValue", "bytesValue"} and isinstance(inner, str):
            return inner
        if kind == "arrayValue":
            return [any_value(item, depth - 1) for item in inner.get("values") or ()]
        if kind == "kvlistValue":
            return {str(item["key"]): any_value(item["value"], depth - 1) for item in inner.get("values") or ()}
        raise Malformed(f"a value of the unknown type {values.shown(key)}")
    return None


def _either(value: Mapping[str, Any], camel: str, snake: str) -> Any:
    return values.several(value.get(camel) or value.get(snake))


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, Malformed) else f"it is not of OTLP's form ({type(error).__name__})"


_CAMEL = {
    "span_id": "spanId",
    "parent_span_id": "parentSpanId",
    "start_time_unix_nano": "startTimeUnixNano",
    "end_time_unix_nano": "endTimeUnixNano",
    "dropped_attributes_count": "droppedAttributesCount",
    "dropped_events_count": "droppedEventsCount",
    "dropped_links_count": "droppedLinksCount",
    "string_value": "stringValue",
    "int_value": "intValue",
    "bool_value": "boolValue",
    "double_value": "doubleValue",
    "bytes_value": "bytesValue",
    "array_value": "arrayValue",
    "kvlist_value": "kvlistValue",
}
