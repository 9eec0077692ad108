"""Langfuse: observations of its public API, or a trace with its observations and scores.

Spans that came by OTLP have their attributes, resource and scope in the observation's metadata; they are put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from textgrad_lg.types import JSON
from textgrad_lg_tracing.readers import values
from textgrad_lg_tracing.readers.place import Place
from textgrad_lg_tracing.readers.span import SourceSpan
from textgrad_lg_tracing.readers.values import Malformed

_KEPT = {
    "type": "langfuse.observation.type",
    "input": "langfuse.observation.input",
    "output": "langfuse.observation.output",
    "model": "langfuse.observation.model",
    "level": "langfuse.observation.level",
    "promptName": "langfuse.observation.prompt.name",
    "promptVersion": "langfuse.observation.prompt.version",
}
_OF_TRACE = {
    "input": "langfuse.trace.input",
    "output": "langfuse.trace.output",
    "metadata": "langfuse.trace.metadata",
    "tags": "langfuse.trace.tags",
    "sessionId": "langfuse.session.id",
    "scores": "langfuse.scores",
}


def spans(value: Mapping[str, Any], place: Place) -> Iterator[SourceSpan]:
    """The spans of one trace with its observations; one that is malformed is left out, and said."""
    about = {key: value[name] for name, key in _OF_TRACE.items() if value.get(name) not in (None, [], {})}
    for raw in values.several(value.get("observations")):
        yield from observation(raw, place, about)


def observation(raw: Any, place: Place, about: Mapping[str, Any] | None = None) -> Iterator[SourceSpan]:
    """The span of one observation; none if it is malformed, which is said.

    Args:
        raw: The observation.
        place: Where it stands.
        about: What is known of its trace, for the root to carry.
    """
    trace = ""
    try:
        trace = values.text_id(raw.get("traceId"), "trace id")
        metadata = values.mapping(raw.get("metadata"))
        parent = raw.get("parentObservationId")
        usage = raw.get("usageDetails") or raw.get("usage")
        own = {key: raw[name] for name, key in _KEPT.items() if raw.get(name) is not None}
        given: dict[str, Any] = {
            **values.mapping(metadata.get("attributes")),
            "langfuse.observation.metadata": {
                key: item for key, item in metadata.items() if key not in {"attributes", "resourceAttributes", "scope"}
            },
            **own,
            **({"langfuse.observation.usage": usage} if usage else {}),
            **((about or {}) if not parent else {}),
        }
        found: dict[str, JSON] = values.attributes(given, place, trace)
        start = values.moment(raw.get("startTime"))
        end = values.moment(raw["endTime"]) if raw.get("endTime") else 0
        start, end = values.period(start, end, place, trace)
        yield SourceSpan(
            trace,
            values.text_id(raw.get("id")),
            values.text_id(parent) if parent else None,
            str(raw.get("name") or ""),
            start,
            end,
            found,
            (),
            (),
            values.failure(raw.get("statusMessage"), ()) if raw.get("level") == "ERROR" else None,
            len(given) - len(found),
            str(values.mapping(metadata.get("scope")).get("name", "")),
            values.attributes(metadata.get("resourceAttributes"), place, trace),
            "langfuse",
        )
    except (Malformed, AttributeError, TypeError, ValueError) as error:
        said = str(error) if isinstance(error, Malformed) else f"it is not of Langfuse's form ({type(error).__name__})"
        place.problem(f"an observation was left out: {said}", trace)
