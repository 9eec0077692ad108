"""read_traces: production traces as Traces, each with what is missing of it and where it came from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from textgrad_lg.errors import DiscoveryError, TraceError
from textgrad_lg.record import discover
from textgrad_lg.trace import Trace
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers.build import build
from textgrad_lg_tracing.readers.classify import Completeness, classify
from textgrad_lg_tracing.readers.connect import Connections, connected
from textgrad_lg_tracing.readers.decode import uncollected
from textgrad_lg_tracing.readers.feedback import feedback
from textgrad_lg_tracing.readers.glance import glance
from textgrad_lg_tracing.readers.match import THRESHOLD, Match, match, refused
from textgrad_lg_tracing.readers.parts import parts
from textgrad_lg_tracing.readers.read import read

if TYPE_CHECKING:
    from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]  a package without py.typed

    from textgrad_lg.example import Score
    from textgrad_lg.prompt import Template
    from textgrad_lg.record.discover import Discovery
    from textgrad_lg.site import Site
    from textgrad_lg_tracing.readers.build import Built
    from textgrad_lg_tracing.readers.limits import Limits
    from textgrad_lg_tracing.readers.parts import Part
    from textgrad_lg_tracing.readers.read import Source
    from textgrad_lg_tracing.readers.span import SourceTrace

_log = logging.getLogger("textgrad_lg_tracing")
_STRANGE = (TraceError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""Spans are strangers' data: one trace that nobody has thought of does not stop the others."""
_NO_RUN = "none of its spans is a graph's, a model's or a tool's"
_ROLLOUT = (at.RUN, at.STEP, at.EXAMPLE, at.CANDIDATE, at.TRACE)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an imported Trace came from, so that a judgement or a Gradient can be attached there.

    Attributes:
        backend: "otlp", "langsmith", "phoenix", "jaeger", "mlflow" or "langfuse".
        producer: Who wrote the spans: "langsmith", "langsmith-otel", "openinference", "traceloop", "gen_ai" or
            "textgrad_lg".
        trace: The trace's id, as the backend writes it. Other runs may stand in the same trace.
        spans: The Trace's Span ids to the backend's.
        rollout: Of a run that `optimize` has made, whoever wrote the spans, which one it is, by our own keys: the
            optimisation ("textgrad.run.id"), "textgrad.step", "textgrad.example.id", the recorded Trace
            ("textgrad.trace.id"), and "textgrad.candidate", which is "original" where no text was changed; empty for all
            other runs.
    """

    backend: str
    producer: str
    trace: str
    spans: Mapping[str, str]
    rollout: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Made:
    """A Trace that was made of a backend's spans, and what is known of the making; see `ImportedTrace`."""

    trace: Trace
    completeness: Completeness
    reasons: tuple[str, ...]
    provenance: Provenance
    matches: tuple[Match, ...] = ()


class Making:
    """What a Trace is made of, until it is asked for; then the Trace, and the spans are let go.

    Args:
        make: Makes it; called once.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make: Callable[[], Made] | None = make
        self._made: Made | None = None

    @property
    def made(self) -> Made:
        """The Trace, and what is known of its making."""
        make = self._make
        if self._made is None and make is not None:
            with uncollected():
                self._made = make()
            self._make = None
        assert self._made is not None
        return self._made


@dataclass(frozen=True, slots=True)
class ImportedTrace:
    """A production trace. What it is chosen by is there at once; the Trace is made when it is first asked for.

    Attributes:
        id: The Trace's id; see `read_traces`.
        error: What the run as a whole ended with, in words; None where it ended well.
        feedback: What people and evaluators said of the run, where its backend holds that.
        source: For whom it was run, where the spans say so; else empty.
        session: The conversation or thread that it is a part of; empty where the spans do not say.
        whole: Whether what went in and what came out seems to be in the spans; certain only when the Trace is made.
        making: What the Trace is made of.
    """

    id: str
    error: str | None
    feedback: tuple[Score, ...]
    source: str
    session: str
    whole: bool
    making: Making = field(repr=False, compare=False)

    @property
    def trace(self) -> Trace:
        """The Trace; what is wrong with it is in its warnings. One whose spans do not fit together is empty."""
        return self.making.made.trace

    @property
    def completeness(self) -> Completeness:
        """What of the run it holds."""
        return self.making.made.completeness

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why that is not more, and which texts are taken for no prompt although they are like one, in words."""
        return self.making.made.reasons

    @property
    def provenance(self) -> Provenance:
        """Where it came from."""
        return self.making.made.provenance

    @property
    def matches(self) -> tuple[Match, ...]:
        """What each text that was sent is taken for, and how sure that is."""
        return self.making.made.matches


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

    What a trace is chosen by is read at once. The Trace is made when it is asked for, so that of many traces only those
    are made that are learnt from.

    Each run is one, also where several stand in one trace of the backend; a trace's id is `provenance.trace`:

    - Of what `optimize` has written, each `forward` span is a run, with the id that its Trace had when it was recorded.
      None is left out, because any may be of the texts that are in force now: after a proposal was accepted, those that
      were run with it are. `provenance.rollout` says which candidate each was run with. Where our spans were written
      without content, and LangSmith or OpenInference have put theirs below, the run is read from theirs; the Example, the
      session, the Scores and the id are still ours.
    - Of all others, each run of a graph that is in no other run, whatever else is around it: a request's span, or a parent
      that never came. Its id is that of the trace where it is the only one; else the first 16 digits of the trace's
      id, and the 16 of its own span's, or of a digest of that where it is longer. What is in neither of several runs for certain is left out, and `reasons` say so. Runs are told
      apart by LangGraph's metadata; where they are not in the spans, all of a trace is one run.

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
        report: Told of what could not be read, a sentence each, when that is found; otherwise that is logged as a warning.

    Yields:
        The runs of which anything can be read, by traces in the order of `read`, and in a trace by their beginning.

    Raises:
        DataError: A file is not there.
    """
    report = report or _log.warning
    known = templates if templates is not None else _texts_of(graph)
    drawn = _drawn(graph, report)
    for found in read(source, limits=limits, report=report):
        try:
            runs = [(part, glance(part), feedback(part.judged)) for part in parts(found)]
        except _STRANGE as error:
            report(_left_out(found, _unfit(error)))
            continue
        if not runs:
            report(_left_out(found, _NO_RUN))
        for part, seen, said in runs:
            make = partial(_made, part, drawn, known, hub or {}, threshold=threshold, report=report)
            yield ImportedTrace(part.id, seen.error, said, seen.user, seen.session, seen.whole, Making(make))


def aligned(traces: Sequence[ImportedTrace]) -> tuple[ImportedTrace, ...]:
    """Traces of one graph with their Parameters as they show in all of them: what is constant, and what fills it.

    For when neither the graph nor its texts are at hand: the texts that were sent from one place are aligned, as
    `textgrad_lg.record.discover` does it for recorded runs.
    """
    try:
        found = discover([at.trace for at in traces])
    except DiscoveryError:
        return tuple(traces)
    return tuple(replace(at, making=Making(partial(_labelled, found, at))) for at in traces)


def _labelled(found: Discovery, imported: ImportedTrace) -> Made:
    return replace(imported.making.made, trace=found.label(imported.trace))


def _made(
    part: Part,
    graph: Connections | None,
    templates: Mapping[Site, Template],
    hub: Mapping[str, Site],
    *,
    threshold: float,
    report: Callable[[str], None],
) -> Made:
    try:
        built = build(part)
        if built is None:
            return _nothing(part, _NO_RUN, report)
        return _of_built(part, built, graph, templates, hub, threshold=threshold)
    except _STRANGE as error:
        return _nothing(part, _unfit(error), report)


def _of_built(
    part: Part,
    built: Built,
    graph: Connections | None,
    templates: Mapping[Site, Template],
    hub: Mapping[str, Site],
    *,
    threshold: float,
) -> Made:
    completeness, reasons = classify(part.source, built)
    trace, matches = match(built, templates, hub, threshold)
    if graph is not None:
        trace = connected(trace, graph, matches)
    if built.tree is not None:
        built.tree.clear()
    warnings = (*trace.warnings, *(f"of the run, this trace holds {completeness}: {at}" for at in reasons))
    return Made(
        replace(trace, warnings=tuple(dict.fromkeys(warnings))),
        completeness,
        (*reasons, *refused(trace, matches)),
        _provenance(part, built.producer, built.spans),
        matches,
    )


def _provenance(part: Part, producer: str, spans: Mapping[str, str]) -> Provenance:
    own = part.rollout
    rollout = {key: str(own.attributes[key]) for key in _ROLLOUT if key in own.attributes} if own is not None else {}
    return Provenance(part.source.spans[0].backend, producer, part.source.id, spans, rollout)


def _nothing(part: Part, why: str, report: Callable[[str], None]) -> Made:
    """The empty Trace of a trace that cannot be made one, so that whoever goes over many need not mind."""
    text = _left_out(part.source, why)
    report(text)
    return Made(Trace(part.id, "", warnings=(text,)), Completeness.STRUCTURE, (why,), _provenance(part, "", {}))


def _unfit(error: Exception) -> str:
    return f"its spans do not fit together ({type(error).__name__}: {error})"


def _left_out(source: SourceTrace, why: str) -> str:
    return f"trace {source.id} was left out: {why}"


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
