"""Jaeger: a trace as its query API gives it (`/api/traces`). What `/api/v3` gives is OTLP.

Jaeger writes the status, the scope and the kind of a span among its tags, links among its references, and lists as JSON
text. What a link carried is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from textgrad_lg.types import JSON
from textgrad_lg_tracing.readers import values
from textgrad_lg_tracing.readers.place import Place
from textgrad_lg_tracing.readers.span import SourceEvent, SourceLink, SourceSpan
from textgrad_lg_tracing.readers.values import Malformed

_MICROSECOND = 1_000
# What Jaeger makes tags of, and is no attribute of the span's.
_OWN = ("span.kind", "internal.span.format", "otel.status_code", "otel.status_description", "w3c.tracestate")
_SCOPE = ("otel.scope.name", "otel.library.name")


def spans(value: Mapping[str, Any], place: Place) -> Iterator[SourceSpan]:
    """The spans of one trace; one that is malformed is left out, and said."""
    processes = values.mapping(value.get("processes"))
    resources: dict[str, dict[str, JSON]] = {}
    for raw in values.several(value.get("spans")):
        trace = ""
        try:
            trace = _trace_id(raw.get("traceID") or value.get("traceID"))
            process = str(raw.get("processID", ""))
            if process not in resources:
                resources[process] = _resource(values.mapping(processes.get(process) or raw.get("process")), place)
            yield _span(raw, trace, resources[process], place)
        except (Malformed, AttributeError, KeyError, TypeError, ValueError) as error:
            said = (
                str(error) if isinstance(error, Malformed) else f"it is not of Jaeger's form ({type(error).__name__})"
            )
            place.problem(f"a span was left out: {said}", trace)


def _span(raw: Mapping[str, Any], trace: str, resource: Mapping[str, JSON], place: Place) -> SourceSpan:
    tags = _tags(raw.get("tags"), place, trace)
    events = tuple(_event(log, place, trace) for log in values.several(raw.get("logs"))[: place.limits.entries])
    parent: str | None = None
    links: list[SourceLink] = []
    for reference in values.several(raw.get("references")):
        theirs, span = _trace_id(reference.get("traceID")), _span_id(reference.get("spanID"))
        if parent is None and theirs == trace and reference.get("refType") == "CHILD_OF":
            parent = span
        elif len(links) < place.limits.entries:
            links.append(SourceLink(theirs, span, {}))
    start = values.nanoseconds(raw.get("startTime")) * _MICROSECOND
    start, end = values.period(start, start + values.nanoseconds(raw.get("duration", 0)) * _MICROSECOND, place, trace)
    failed = tags.get("otel.status_code") == "ERROR" or tags.get("error") in {True, "true"}
    scope = next((str(tags[key]) for key in _SCOPE if key in tags), "")
    error = values.failure(tags.get("otel.status_description"), events) if failed else None
    hidden = {*_OWN, *_SCOPE, "otel.scope.version", "otel.library.version", *(("error",) if failed else ())}
    return SourceSpan(
        trace,
        _span_id(raw.get("spanID")),
        parent,
        str(raw.get("operationName", "")),
        start,
        end,
        {key: item for key, item in tags.items() if key not in hidden},
        events,
        tuple(links),
        error,
        len(values.several(raw.get("logs"))) - len(events) + _dropped(tags),
        scope,
        resource,
        "jaeger",
    )


def _event(raw: Mapping[str, Any], place: Place, trace: str) -> SourceEvent:
    found = _tags(raw.get("fields"), place, trace)
    name = found.pop("event", "")
    return SourceEvent(str(name), values.nanoseconds(raw.get("timestamp", 0)) * _MICROSECOND, found)


def _resource(process: Mapping[str, Any], place: Place) -> dict[str, JSON]:
    found = _tags(process.get("tags"), place, "")
    return {"service.name": str(process["serviceName"]), **found} if "serviceName" in process else found


def _tags(given: Any, place: Place, trace: str) -> dict[str, JSON]:
    pairs: dict[str, Any] = {}
    for tag in values.several(given):
        item = tag["value"]
        kind = tag.get("type")
        if kind == "int64" and isinstance(item, str):
            item = int(item)
        elif kind == "bool" and isinstance(item, str):
            item = item == "true"
        elif kind == "float64" and isinstance(item, str):
            item = float(item)
        pairs[str(tag["key"])] = item
    return values.attributes(pairs, place, trace)


def _dropped(tags: Mapping[str, JSON]) -> int:
    """The counts that an SDK's exporter to Jaeger, or a collector's, writes among the tags."""
    keys = ("otel.dropped_attributes_count", "otel.dropped_events_count", "otel.dropped_links_count")
    return sum(count for key in keys if isinstance(count := tags.get(key), int))


def _trace_id(given: object) -> str:
    # Jaeger leaves out zeros in front.
    return values.trace_id(given.rjust(32, "0") if isinstance(given, str) else given)


def _span_id(given: object) -> str:
    return values.span_id(given.rjust(16, "0") if isinstance(given, str) else given)
