"""A Trace seen from further off: its nodes as a tree, and its edges as edges between visits of nodes."""

from __future__ import annotations

from textgrad_lg.trace import CONFIRMED, Edge, Span, Trace
from textgrad_lg.types import SpanKind

Pair = tuple[str, str]


def node_edges(trace: Trace) -> dict[Pair, list[Edge]]:
    """The edges between tasks, by the namespaces of the two; in the order of the Trace.

    An edge between two graphs stands for one between the tasks that hold them in the graph around both. One from a task
    to a task around it, as of a subgraph's result, is kept. One into a task from the task around it is not: that is what
    it was given.
    """
    found: dict[Pair, list[Edge]] = {}
    for edge in trace.edges:
        source = _tasks(trace, _owner(trace, edge.source))
        target = _tasks(trace, edge.span)
        at = next((n for n, (a, b) in enumerate(zip(source, target, strict=False)) if a != b), None)
        if at is not None:
            pair = source[at], target[at]
        elif len(source) > len(target) > 0:
            pair = source[len(target)], target[-1]
        else:
            continue
        found.setdefault(pair, []).append(edge)
    return found


def makers(trace: Trace) -> set[str]:
    """The tasks in which anything was made."""
    return {task for at in trace.variables if at.span is not None for task in _tasks(trace, at.span)}


def visits(trace: Trace) -> dict[str, str]:
    """What each task is called: its path and visit, by its namespace."""
    return {
        str(span.attributes["task"]): f"{'/'.join(span.path)}#{span.visit}"
        for span in trace.spans
        if span.kind is SpanKind.NODE
    }


def outline(trace: Trace) -> str:
    """The Spans as a tree, and below it the edges between nodes with the best that is known of each."""
    depth: dict[str | None, int] = {None: -1}
    lines: list[str] = []
    for span in trace.spans:
        depth[span.id] = depth[span.parent] + 1
        lines.append("  " * depth[span.id] + _told(span))
    names = visits(trace)
    for (source, target), edges in node_edges(trace).items():
        best = max(edges, key=lambda edge: (edge.weight, edge.via == "control"))
        via = best.via if best.weight == CONFIRMED else f"{best.via}?"
        lines.append(f"{names[source]} -> {names[target]} {via}")
    return "\n".join(lines)


def _told(span: Span) -> str:
    if span.kind is SpanKind.NODE:
        text = f"{'/'.join(span.path)}#{span.visit}"
    else:
        text = f"{span.kind} {span.name}" if span.kind not in (SpanKind.GRAPH, SpanKind.LLM) else str(span.kind)
    return f"{text} raised {span.error.partition(':')[0]}" if span.error else text


def _tasks(trace: Trace, span: str | None) -> list[str]:
    """The namespaces of the tasks around a Span, outermost first, its own last."""
    found: list[str] = []
    while span is not None:
        at = trace.span_by_id[span]
        if at.kind is SpanKind.NODE:
            found.append(str(at.attributes["task"]))
        span = at.parent
    return found[::-1]


def _owner(trace: Trace, name: str) -> str | None:
    """The Span that made a Variable, or, of one that entered a Span from outside, the Span that it entered."""
    variable = trace.variable_by_id[name]
    return variable.span or next((at for at in [name.partition(".")[0]] if at in trace.span_by_id), None)
