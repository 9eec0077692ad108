"""read_traces: production traces as Traces, each with what is missing of it and where it came from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from textgrad_lg.errors import DiscoveryError, TraceError
from textgrad_lg.record import discover
from textgrad_lg_tracing.readers.build import build
from textgrad_lg_tracing.readers.classify import Completeness, classify
from textgrad_lg_tracing.readers.connect import Connections, connected
from textgrad_lg_tracing.readers.feedback import feedback
from textgrad_lg_tracing.readers.match import THRESHOLD, Match, match
from textgrad_lg_tracing.readers.read import read

if TYPE_CHECKING:
    from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]  a package without py.typed

    from textgrad_lg.example import Score
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Trace
    from textgrad_lg_tracing.readers.limits import Limits
    from textgrad_lg_tracing.readers.read import Source
    from textgrad_lg_tracing.readers.span import SourceTrace

_log = logging.getLogger("textgrad_lg_tracing")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an imported Trace came from, so that a judgement or a Gradient can be attached there.

    Attributes:
        backend: "otlp", "langsmith", "phoenix", "jaeger", "mlflow" or "langfuse".
        producer: Who wrote the spans: "langsmith", "langsmith-otel", "openinference", "traceloop", "gen_ai" or
            "textgrad_lg".
        trace: The trace's id, as the backend writes it.
        spans: The Trace's Span ids to the backend's.
    """

    backend: str
    producer: str
    trace: str
    spans: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ImportedTrace:
    """A production trace.

    Attributes:
        trace: The Trace; what is wrong with it is in its warnings.
        completeness: What of the run it holds.
        reasons: Why that is not more, in words.
        provenance: Where it came from.
        matches: What each text that was sent is taken for, and how sure that is.
        feedback: What people and evaluators said of the run, where its backend holds that.
    """

    trace: Trace
    completeness: Completeness
    reasons: tuple[str, ...]
    provenance: Provenance
    matches: tuple[Match, ...] = ()
    feedback: tuple[Score, ...] = field(default=())


def read_traces(
    source: Source,
    *,
    graph: Pregel[Any, Any, Any, Any] | None = None,
    templates: Mapping[Site, Template] | None = None,
    hub: Mapping[str, Site] | None = None,
    limits: Limits | None = None,
    threshold: float = THRESHOLD,
    report: Callable[[str], None] | None = None,
) -> Iterator[ImportedTrace]:
    """Read production traces as Traces, one after the other.

    Args:
        source: See `read`.
        graph: The compiled graph that was run, if it is at hand: its code says which Parameters there are, unless
            `templates` does, and its edges which node can follow which.
        templates: The Parameters and their current texts. Without these and without a graph, each text is a Parameter of
            its place; `aligned` makes out over several traces which are constant.
        hub: Prompts of a hub to their Parameters, as in `{"acme/planner": Site.parse("plan/system")}`.
        limits: How much is taken in.
        threshold: The least confidence, from 0 to 1, with which a text is taken for a Parameter. One below it loses its
            Site, and the Trace's warnings say so.
        report: Told of what could not be read, a sentence each; otherwise that is logged as a warning.

    Yields:
        The traces of which anything can be read, in the order of `read`.

    Raises:
        DataError: A file is not there.
    """
    report = report or _log.warning
    known = templates if templates is not None else _texts_of(graph)
    drawn = _drawn(graph, report)
    for found in read(source, limits=limits, report=report):
        imported = _imported(found, drawn, known, hub or {}, threshold=threshold, report=report)
        if imported is not None:
            yield imported


def aligned(traces: Sequence[ImportedTrace]) -> tuple[ImportedTrace, ...]:
    """Traces of one graph with their Parameters as they show in all of them: what is constant, and what fills it.

    For when neither the graph nor its texts are at hand: the texts that were sent from one place are aligned, as
    `textgrad_lg.record.discover` does it for recorded runs.
    """
    try:
        found = discover([at.trace for at in traces])
    except DiscoveryError:
        return tuple(traces)
    return tuple(replace(at, trace=found.label(at.trace)) for at in traces)


def _imported(
    source: SourceTrace,
    graph: Connections | None,
    templates: Mapping[Site, Template],
    hub: Mapping[str, Site],
    *,
    threshold: float,
    report: Callable[[str], None],
) -> ImportedTrace | None:
    try:
        built = build(source)
    except (TraceError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # Spans are strangers' data: one trace that nobody has thought of does not stop the others.
        report(f"trace {source.id} was left out: its spans do not fit together ({type(error).__name__}: {error})")
        return None
    if built is None:
        report(f"trace {source.id} was left out: none of its spans is a graph's, a model's or a tool's")
        return None
    completeness, reasons = classify(source, built)
    trace, matches = match(built, templates, hub, threshold)
    if graph is not None:
        trace = connected(trace, graph, matches)
    warnings = (*trace.warnings, *(f"of the run, this trace holds {completeness}: {at}" for at in reasons))
    return ImportedTrace(
        replace(trace, warnings=tuple(dict.fromkeys(warnings))),
        completeness,
        reasons,
        Provenance(source.spans[0].backend, built.producer, source.id, built.spans),
        matches,
        feedback(source),
    )


def _texts_of(graph: Pregel[Any, Any, Any, Any] | None) -> Mapping[Site, Template]:
    if graph is None:
        return {}
    try:
        return {site: text for site, text in discover((), graph).parameters.items() if site.in_message}
    except DiscoveryError:
        return {}


def _drawn(graph: Pregel[Any, Any, Any, Any] | None, report: Callable[[str], None]) -> Connections | None:
    if graph is None:
        return None
    try:
        return Connections.of(graph)
    except Exception as error:  # noqa: BLE001  drawing asks the user's own classes; the traces are good without
        report(f"the graph cannot be drawn ({type(error).__name__}): edges come from the spans alone")
        return None
