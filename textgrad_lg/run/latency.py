"""How long a run takes: the longest chain of work in which each had to wait for the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from textgrad_lg.trace import CONFIRMED
from textgrad_lg.types import SpanKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgrad_lg.trace import Edge, Span, Trace

_Inside = dict[str, tuple[str, ...]]
"""The ids of the Spans around each Span, the innermost first."""


class Work(NamedTuple):
    """Work that is done by nothing inside it.

    Attributes:
        span: The id of its Span.
        seconds: How long it takes: of a call that was replayed, how long it took when it was made.
    """

    span: str
    seconds: float


def work(trace: Trace) -> tuple[Work, ...]:
    """What takes time in a run: model calls, tools, retrievers, and nodes in which there is none of these.

    Never two of which one is inside the other, so that nothing counts twice.
    """
    return tuple(Work(span.id, _seconds(span)) for span in _units(trace, _inside(trace)))


def critical_path(trace: Trace) -> float:
    """Seconds that a run takes at least, however many of its branches run side by side.

    What waits for what is read from the Trace and not from the clock, so that it is the same for a live run, for one
    that was slowed down by others beside it, and for one that was replayed:

    - LangGraph starts a step when the one before has ended as a whole; a failed attempt comes before the next.
    - What was given a result waits for it. Edges that are only possible say nothing: branches have them, too.
    - The routers of a node run when the node has ended.

    Calls that one node makes one after another, and that use nothing of each other, count as if made side by side.
    """
    inside = _inside(trace)
    kinds = {span.id: span.kind for span in trace.spans}
    used = _used(trace, inside)
    seconds = {span.id: _seconds(span) for span in _units(trace, inside)}
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    steps: dict[str, tuple[int, float]] = {}
    attempts: dict[tuple[str, str], str] = {}
    # Spans are in the order in which they started, so all that one can wait for has been met.
    for span in trace.spans:
        parent = inside[span.id][0] if inside[span.id] else None
        waits = [ended[other] for other in used.get(span.id, ())]
        if parent is not None:
            waits.append(began[parent])
            around, step, task = kinds[parent], span.attributes.get("step"), span.attributes.get("task")
            if span.kind is SpanKind.NODE and around is SpanKind.GRAPH and isinstance(step, int):
                now = steps.get(parent)
                if now is None or step > now[0]:
                    now = steps[parent] = step, ended[parent]
                waits.append(now[1])
            if span.kind is SpanKind.NODE and isinstance(task, str):
                waits += [ended[attempts[parent, task]]] if (parent, task) in attempts else []
                attempts[parent, task] = span.id
            if span.kind is SpanKind.FUNCTION and around is SpanKind.NODE:
                waits.append(ended[parent])
        began[span.id] = max(waits, default=0.0)
        ended[span.id] = began[span.id] + seconds.get(span.id, 0.0)
        for outer in inside[span.id]:
            ended[outer] = max(ended[outer], ended[span.id])
    return max(ended.values(), default=0.0)


def _inside(trace: Trace) -> _Inside:
    found: _Inside = {}
    for span in trace.spans:
        # A parent that is not there, or not before it, as in a Trace that was cut short, is none.
        parent = span.parent if span.parent in found else None
        found[span.id] = () if parent is None else (parent, *found[parent])
    return found


def _units(trace: Trace, inside: _Inside) -> list[Span]:
    # A router of a node, if it calls nothing, is a part of the node's own time.
    light = (SpanKind.FUNCTION, SpanKind.EVAL)
    outer = {around for span in trace.spans if span.kind not in light for around in inside[span.id]}
    leaves = {span.id for span in trace.spans if span.id not in outer and span.kind is not SpanKind.EVAL}
    return [span for span in trace.spans if span.id in leaves and leaves.isdisjoint(inside[span.id])]


def _seconds(span: Span) -> float:
    took = span.attributes.get("seconds") if span.attributes.get("replayed") else span.end - span.start
    return max(float(took), 0.0) if isinstance(took, (int, float)) else 0.0


def _used(trace: Trace, inside: _Inside) -> Mapping[str, set[str]]:
    """For each Span, those whose results it was given, where neither is inside the other."""
    made = _makers(trace)
    place = {span.id: at for at, span in enumerate(trace.spans)}
    found: dict[str, set[str]] = {}
    for edge in filter(_waits, trace.edges):
        for maker in made[edge.source]:
            # In another order than that of the Spans it would be a circle; only a Trace that is not a run's has it.
            apart = maker not in inside[edge.span] and edge.span not in inside[maker]
            if apart and place[maker] < place[edge.span]:
                found.setdefault(edge.span, set()).add(maker)
    return found


def _makers(trace: Trace) -> Mapping[str, frozenset[str]]:
    """The Spans that made each Variable: of one that is only handed on, as a field of a subgraph's input, those before."""
    made: dict[str, frozenset[str]] = {}
    for variable in trace.variables:
        if variable.span is not None:
            made[variable.id] = frozenset((variable.span,))
        else:
            before = (made[edge.source] for edge in trace.incoming.get(variable.id, ()) if _waits(edge))
            made[variable.id] = frozenset[str]().union(*before)
    return made


def _waits(edge: Edge) -> bool:
    return edge.weight >= CONFIRMED or edge.via == "control"
