"""MLflow: a trace as `Trace.to_dict` gives it, ids in base64 and each attribute's value as JSON text; or as its REST API does.

That (`/api/3.0/mlflow/traces/get`) has spans in the form of OTLP, with names in snake case and ids in base64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from textgrad_lg.types import JSON
from textgrad_lg_tracing.readers import otlp_json, values
from textgrad_lg_tracing.readers.place import Place
from textgrad_lg_tracing.readers.span import SourceEvent, SourceLink, SourceSpan
from textgrad_lg_tracing.readers.values import Malformed

_ERRORS = ("STATUS_CODE_ERROR", "ERROR")


def spans(value: Mapping[str, Any], place: Place) -> Iterator[SourceSpan]:
    """The spans of one trace; one that is malformed is left out, and said."""
    info = values.mapping(value.get("info") or value.get("trace_info"))
    if "trace_info" in value:
        made = (otlp_json.bare(raw, place, "mlflow") for raw in values.several(value.get("spans")))
    else:
        made = (_whole(raw, place) for raw in values.several(values.mapping(value.get("data")).get("spans")))
    for span in made:
        if span is None:
            continue
        if span.parent_id is None and info:
            try:
                kept = {"mlflow.info": values.clean(info, place.limits.depth)}
                span = span._replace(attributes={**span.attributes, **kept})  # noqa: PLW2901  the same span, told more
            except Malformed as error:
                place.problem(f"the trace's info was left out: {error}", span.trace_id)
        yield span


def _whole(raw: Any, place: Place) -> SourceSpan | None:
    trace = ""
    try:
        # Until version 3, ids stood in a context of their own, in hexadecimal digits.
        context = values.mapping(raw.get("context"))
        trace = values.trace_id(raw.get("trace_id") or context.get("trace_id"))
        return _span(raw, context, trace, place)
    except (Malformed, AttributeError, TypeError, ValueError) as error:
        said = str(error) if isinstance(error, Malformed) else f"it is not of MLflow's form ({type(error).__name__})"
        place.problem(f"a span was left out: {said}", trace)
        return None


def _span(raw: Mapping[str, Any], context: Mapping[str, Any], trace: str, place: Place) -> SourceSpan:
    encoded = values.mapping(raw.get("attributes"))
    found = values.attributes({key: _decoded(item, place) for key, item in encoded.items()}, place, trace)
    given = values.several(raw.get("events"))
    events = tuple(
        SourceEvent(
            str(event.get("name", "")),
            values.nanoseconds(event.get("time_unix_nano") or event.get("timestamp") or 0),
            values.attributes(event.get("attributes"), place, trace),
        )
        for event in given[: place.limits.entries]
    )
    links = tuple(
        SourceLink(
            values.trace_id(_bare(link.get("trace_id"))),
            values.span_id(link.get("span_id")),
            values.attributes(link.get("attributes"), place, trace),
        )
        for link in values.several(raw.get("links"))[: place.limits.entries]
    )
    start = values.nanoseconds(raw.get("start_time_unix_nano") or raw.get("start_time"))
    end = values.nanoseconds(raw.get("end_time_unix_nano") or raw.get("end_time") or 0)
    start, end = values.period(start, end, place, trace)
    status = values.mapping(raw.get("status"))
    code = status.get("code") or raw.get("status_code") or raw.get("status")
    message = status.get("message") or raw.get("status_message")
    return SourceSpan(
        trace,
        values.span_id(raw.get("span_id") or context.get("span_id")),
        values.parent_id(raw.get("parent_span_id") or raw.get("parent_id")),
        str(raw.get("name", "")),
        start,
        end,
        found,
        events,
        links,
        values.failure(message, events) if isinstance(code, str) and code in _ERRORS else None,
        len(encoded) - len(found) + len(given) - len(events),
        "",
        {},
        "mlflow",
    )


def _bare(given: object) -> object:
    """MLflow writes the trace a link points to as it writes its own: "tr-" and hexadecimal digits."""
    return given.removeprefix("tr-") if isinstance(given, str) else given


def _decoded(given: object, place: Place) -> JSON:
    if not isinstance(given, str):
        return cast("JSON", given)
    try:
        return values.loads(given, place, mend=False)
    except Malformed:
        return given
