"""LangSmith: a run, of `runs.query` (v2), of the older `list_runs`, of a tracing request, or of a bulk export.

A run's inputs, outputs and extra are kept as they are. What LangChain has serialised in them stays plain JSON: nothing is
ever constructed of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from textgrad_lg.types import JSON
from textgrad_lg_tracing.readers import values
from textgrad_lg_tracing.readers.place import Place
from textgrad_lg_tracing.readers.span import SourceEvent, SourceSpan
from textgrad_lg_tracing.readers.values import Malformed

_KEPT = (
    "run_type",
    "inputs",
    "outputs",
    "extra",
    "serialized",
    "tags",
    "feedback_stats",
    "reference_example_id",
    "session_name",
    "thread_id",
    "inputs_preview",
    "outputs_preview",
    "dotted_order",
)
# In a bulk export these columns hold JSON text.
_JSON_TEXT = ("inputs", "outputs", "extra", "serialized", "manifest", "metadata", "tags", "events", "feedback_stats")
_EMPTY: tuple[object, ...] = (None, "", [], {})


def spans(value: Mapping[str, Any], place: Place) -> Iterator[SourceSpan]:
    """The span of one run, and those of the runs that it holds; one that is malformed is left out, and said."""
    waiting: list[tuple[Any, str | None]] = [(value, None)]
    while waiting:
        raw, above = waiting.pop()
        trace = ""
        try:
            own = values.text_id(raw.get("id"))
            order = str(raw.get("dotted_order") or "")
            trace = values.text_id(raw.get("trace_id") or _named(order.split(".", maxsplit=1)[0]) or own, "trace id")
            waiting += [(child, own) for child in reversed(values.several(raw.get("child_runs")))]
            yield _span(raw, own, trace, _parent(raw, order) or above, place)
        except (Malformed, AttributeError, TypeError, ValueError) as error:
            said = (
                str(error)
                if isinstance(error, Malformed)
                else f"it is not of LangSmith's form ({type(error).__name__})"
            )
            place.problem(f"a run was left out: {said}", trace)


def _span(raw: Mapping[str, Any], own: str, trace: str, parent: str | None, place: Place) -> SourceSpan:
    run = {**raw, **{name: _decoded(raw[name], place) for name in _JSON_TEXT if isinstance(raw.get(name), str)}}
    # Version 2 writes it in capitals.
    run["run_type"] = str(run.get("run_type") or "").lower()
    run["serialized"] = run.get("serialized") or run.get("manifest")
    if isinstance(run.get("metadata"), Mapping):
        # Version 2 gives metadata beside the rest of extra.
        extra = values.mapping(run.get("extra"))
        run["extra"] = {
            **extra,
            "metadata": {**values.mapping(extra.get("metadata")), **values.mapping(run["metadata"])},
        }
    if run.get("reference_example_id") is not None:
        run["reference_example_id"] = str(run["reference_example_id"])
    given = {f"langsmith.{name}": run[name] for name in _KEPT if run.get(name) not in _EMPTY}
    found: dict[str, JSON] = values.attributes(given, place, trace)
    for name in ("inputs", "outputs"):
        if (run.get(name) in _EMPTY and values.mapping(run.get("s3_urls")).get(name)) or run.get(f"{name}_s3_urls"):
            place.problem(f"the {name} of a run are kept outside of it, and were not fetched", trace)
    told = values.several(run.get("events"))
    events = tuple(_event(values.mapping(event), place, trace) for event in told[: place.limits.entries])
    start = values.moment(run.get("start_time"))
    end = values.moment(run["end_time"]) if run.get("end_time") else 0
    start, end = values.period(start, end, place, trace)
    error = run.get("error") or run.get("error_preview")
    failed = bool(error) or run.get("status") == "error"
    return SourceSpan(
        trace,
        own,
        parent,
        str(run.get("name") or ""),
        start,
        end,
        found,
        events,
        (),
        (str(error) if error else values.FAILED) if failed else None,
        len(given) - len(found) + len(told) - len(events),
        "langsmith",
        {},
        "langsmith",
    )


def _event(raw: Mapping[str, Any], place: Place, trace: str) -> SourceEvent:
    time = values.moment(raw["time"]) if raw.get("time") else 0
    return SourceEvent(str(raw.get("name", "")), time, values.attributes(raw.get("kwargs") or {}, place, trace))


def _parent(raw: Mapping[str, Any], order: str) -> str | None:
    """The run above: as the run says, else the last of those above it, else the last but one in its place in the tree."""
    if raw.get("parent_run_id"):
        return values.text_id(raw["parent_run_id"])
    above = values.several(raw.get("parent_run_ids"))
    if above:
        return values.text_id(above[-1])
    places = order.split(".")
    return _named(places[-2]) if len(places) > 1 else None


def _named(place: str) -> str | None:
    """The id in one part of a dotted order, which is a time, a Z and the id."""
    return place.partition("Z")[2] or None


def _decoded(given: str, place: Place) -> JSON:
    try:
        return cast("JSON", values.loads(given, place))
    except Malformed:
        return given
