"""Phoenix: a span as `/v1/projects/{project}/spans` gives it, or as `/spans/otlpv1` beside it does.

It keeps no links, no resource and no scope.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from textgrad_lg.types import JSON
from textgrad_lg_tracing.readers import otlp_json, values
from textgrad_lg_tracing.readers.extra import needed
from textgrad_lg_tracing.readers.place import Place
from textgrad_lg_tracing.readers.span import SourceEvent, SourceSpan
from textgrad_lg_tracing.readers.values import Malformed

_METADATA = "metadata"
_PATH = "metadata.langgraph_path"


def spans(value: Mapping[str, Any], place: Place) -> Iterator[SourceSpan]:
    """The one span; none if it is malformed, which is said."""
    trace = ""
    try:
        context = values.mapping(value.get("context"))
        trace = values.trace_id(context.get("trace_id"))
        events = tuple(
            SourceEvent(
                str(event.get("name", "")),
                values.moment(event.get("timestamp") or event.get("time")),
                values.attributes(event.get("attributes"), place, trace),
            )
            for event in values.several(value.get("events"))[: place.limits.entries]
        )
        given = values.mapping(value.get("attributes"))
        found = values.attributes(_joined(given, place.limits.depth), place, trace)
        kind = value.get("span_kind")
        if kind and kind != "UNKNOWN":
            found.setdefault("openinference.span.kind", str(kind))
        if value.get("annotations"):
            found["phoenix.annotations"] = values.clean(value["annotations"], place.limits.depth)
        start = values.moment(value.get("start_time"))
        end = values.moment(value["end_time"]) if value.get("end_time") else 0
        start, end = values.period(start, end, place, trace)
        failed = value.get("status_code") == "ERROR"
        yield SourceSpan(
            trace,
            values.span_id(context.get("span_id")),
            values.parent_id(value.get("parent_id")),
            str(value.get("name", "")),
            start,
            end,
            found,
            events,
            (),
            values.failure(value.get("status_message"), events) if failed else None,
            len(values.several(value.get("events"))) - len(events),
            "",
            {},
            "phoenix",
        )
    except (Malformed, AttributeError, TypeError, ValueError) as error:
        said = str(error) if isinstance(error, Malformed) else f"it is not of Phoenix's form ({type(error).__name__})"
        place.problem(f"a span was left out: {said}", trace)


def otlp(value: Mapping[str, Any], place: Place) -> Iterator[SourceSpan]:
    """The one span, in the form of OTLP and all names in snake case; none if it is malformed, which is said."""
    found = otlp_json.bare(value, place, "phoenix")
    if found is None:
        return
    attributes = dict(found.attributes)
    path = attributes.get(_PATH)
    if isinstance(path, list):
        attributes[_PATH] = [_plain(part) for part in path]
    try:
        yield found._replace(attributes=_joined(attributes, place.limits.depth))
    except (Malformed, TypeError, ValueError):
        yield found


def _plain(part: JSON) -> JSON:
    """A part of LangGraph's path of a task: of a list with numbers and texts, this form makes texts alone."""
    if isinstance(part, str) and part.isdecimal():
        return int(part)
    return part == "True" if part in ("True", "False") else part


def _joined(given: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """The attributes with `metadata` as the one JSON text that OpenInference sends, which Phoenix takes apart."""
    with needed("reading what Phoenix gives"):
        import orjson

    found: dict[str, Any] = {}
    inner: dict[str, JSON] = {}
    for key, item in given.items():
        if key == _METADATA and isinstance(item, Mapping):
            inner |= {
                str(name): values.clean(part, depth) for name, part in values.mapping(cast("object", item)).items()
            }
        elif key.startswith(_METADATA + "."):
            inner[key.removeprefix(_METADATA + ".")] = values.clean(item, depth)
        else:
            found[key] = item
    if inner:
        found[_METADATA] = orjson.dumps(inner).decode()
    return found
