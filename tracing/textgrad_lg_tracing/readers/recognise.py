"""Which backend's form a JSON value has, by the keys that only this form has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from textgrad_lg_tracing.readers import jaeger, langfuse, langsmith, mlflow, otlp_json, phoenix, values
from textgrad_lg_tracing.readers.place import Place
from textgrad_lg_tracing.readers.span import SourceSpan

_OTLP = ("resourceSpans", "resource_spans")
# Keys under which a response, a page of one or an export holds several of what is looked for.
_HOLDERS = ("data", "runs", "items", "spans", "traces", "observations", "result")
_LIST = (list, tuple, type(None))
_KNOWN = "OTLP, Jaeger, LangSmith, Phoenix, MLflow and Langfuse are known"


def spans(value: Any, place: Place) -> Iterator[SourceSpan]:
    """The spans in a value of any known form; what has none is said."""
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        for item in items:
            yield from _one(item, place, within=True)
    else:
        yield from _one(value, place, within=False)


def _one(value: Any, place: Place, *, within: bool, backend: str = "otlp") -> Iterator[SourceSpan]:
    if not isinstance(value, Mapping):
        place.problem(f"spans were expected, not {values.shown(value)}")
        return
    keys = cast("Mapping[str, Any]", value)
    if any(key in keys for key in _OTLP):
        yield from otlp_json.spans(keys, place, backend)
        return
    read = next((read for has, read in _FORMS if has(keys)), None)
    if read is not None:
        yield from read(keys, place)
    elif not within:
        yield from _held(keys, place)
    else:
        place.problem(f"this is of no known form ({_KNOWN})")


_Keys = Mapping[str, Any]
_FORMS: tuple[tuple[Callable[[_Keys], bool], Callable[[_Keys, Place], Iterator[SourceSpan]]], ...] = (
    (lambda keys: "run_type" in keys or "dotted_order" in keys, langsmith.spans),
    (lambda keys: "traceID" in keys and "spans" in keys, jaeger.spans),
    (lambda keys: "context" in keys and "span_kind" in keys, phoenix.spans),
    (lambda keys: "info" in keys and "data" in keys, mlflow.spans),
    (lambda keys: "trace_info" in keys and "spans" in keys, mlflow.spans),
    (
        lambda keys: {"trace_id", "start_time_unix_nano"} <= keys.keys() and isinstance(keys.get("attributes"), _LIST),
        phoenix.otlp,
    ),
    (lambda keys: "traceId" in keys and ("startTime" in keys or "parentObservationId" in keys), langfuse.observation),
    (lambda keys: isinstance(keys.get("observations"), list) and "id" in keys, langfuse.spans),
)
"""By which keys a form is known, and what reads it."""


def _held(value: Mapping[str, Any], place: Place) -> Iterator[SourceSpan]:
    for holder in _HOLDERS:
        held = value.get(holder)
        if isinstance(held, list | tuple):
            for item in cast("list[Any]", held):
                yield from _one(item, place, within=True)
            return
        if isinstance(held, Mapping) and holder == "result":
            # Jaeger's third API wraps OTLP so.
            yield from _one(held, place, within=True, backend="jaeger")
            return
    if isinstance(value.get("trace"), Mapping):
        # MLflow wraps one trace so.
        yield from _one(value["trace"], place, within=True)
        return
    place.problem(f"this is of no known form ({_KNOWN})")
