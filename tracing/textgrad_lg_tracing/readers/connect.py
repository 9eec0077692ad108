"""Edges between nodes from the user's compiled graph, where the spans do not say what came from where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langgraph.constants import END, START

from textgrad_lg.trace import CANDIDATE, Edge, Span, Trace
from textgrad_lg.types import SpanKind

if TYPE_CHECKING:
    from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]  a package without py.typed

    from textgrad_lg_tracing.readers.match import Match

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Connections:
    """Which node can follow which, by their paths, subgraphs included.

    Attributes:
        direct: The pairs of which the second may run right after the first.
        reached: What can run at any time after a node.
    """

    direct: frozenset[tuple[Path, Path]]
    reached: Mapping[Path, frozenset[Path]]

    @classmethod
    def of(cls, graph: Pregel[Any, Any, Any, Any]) -> Connections:
        """Those of a compiled graph, as it draws itself."""
        drawn: dict[Path, list[Path]] = {}
        for edge in graph.get_graph(xray=True).edges:
            drawn.setdefault(_path(edge.source), []).append(_path(edge.target))
        # A subgraph is drawn as its nodes between a start and an end; the node that it is comes and goes with these.
        after = {at[:-1] if at[-1] == END else at: _following(at, drawn) for at in drawn if at[-1] != START}
        direct = frozenset((source, target) for source, targets in after.items() for target in targets)
        return cls(direct, {node: _reached(node, after) for node in after})


def _following(node: Path, drawn: Mapping[Path, Sequence[Path]]) -> list[Path]:
    """The nodes that come right after one, past the starts and ends of subgraphs."""
    found: dict[Path, None] = {}
    todo = list(drawn[node])
    while todo:
        at = todo.pop()
        if at[-1] not in {START, END}:
            found[at] = None
            continue
        if at[-1] == START:
            found[at[:-1]] = None
        todo += drawn.get(at, ())
    return list(found)


def _reached(node: Path, after: Mapping[Path, Sequence[Path]]) -> frozenset[Path]:
    seen: set[Path] = set()
    todo = list(after[node])
    while todo:
        at = todo.pop()
        if at not in seen:
            seen.add(at)
            todo += after.get(at, ())
    return frozenset(seen)


def connected(trace: Trace, graph: Connections, matches: Sequence[Match]) -> Trace:
    """The Trace with the graph's edges laid over it.

    Calls whose spans do not say their node get that of the Parameter they were matched with. A possible edge between
    nodes of which the second cannot follow the first is left out; a reply and the calls of a node that follows its own
    directly get a possible edge, where none is known.
    """
    placed = _placed(trace, matches)
    paths = {span.id: span.path for span in placed.spans}
    nodes = {path for pair in graph.direct for path in pair}
    made = {variable.id: paths.get(variable.span or "", ()) for variable in placed.variables}

    def possible(edge: Edge) -> bool:
        source, target = made[edge.source], paths[edge.span]
        known = source in nodes and target in nodes and source != target
        return edge.weight > CANDIDATE or not known or target in graph.reached.get(source, ())

    edges = [edge for edge in placed.edges if possible(edge)]
    if not any(span.kind is SpanKind.NODE for span in placed.spans):
        edges = _followed(placed, edges, paths, graph.direct)
    order = {variable.id: at for at, variable in enumerate(placed.variables)}
    edges.sort(key=lambda edge: (order[edge.target], order[edge.source]))
    return replace(placed, edges=tuple(edges))


def _placed(trace: Trace, matches: Sequence[Match]) -> Trace:
    where: dict[str, Path] = {}
    for match in matches:
        if match.matched and match.site is not None:
            where.setdefault(match.variable.rpartition(".")[0], match.site.path)
    counts: dict[tuple[SpanKind, Path, str], int] = {}
    spans: list[Span] = []
    for span in trace.spans:
        path = span.path or where.get(span.id, ())
        key = (span.kind, path, span.name)
        visit = counts.get(key, 0) if path != span.path or not span.path else span.visit
        counts[key] = counts.get(key, 0) + 1
        spans.append(replace(span, path=path, visit=visit))
    return replace(trace, spans=tuple(spans))


def _followed(
    trace: Trace, edges: list[Edge], paths: Mapping[str, Path], direct: frozenset[tuple[Path, Path]]
) -> list[Edge]:
    """The edges, and those from each reply to the first calls of the nodes that follow its own."""
    known = {(edge.source, edge.target) for edge in edges}
    replies = [at for at in trace.variables if at.span is not None and trace.span_by_id[at.span].kind is SpanKind.LLM]
    ends = {span.id: (span.start, span.end) for span in trace.spans}
    added = list(edges)
    for at, target in enumerate(replies):
        assert target.span is not None
        path, (start, _) = paths[target.span], ends[target.span]
        before = [(source, *ends[source.span or ""]) for source in replies[:at]]
        # What a node's earlier call could use already is behind the later one by way of that.
        since = max(
            (other for one, other, end in before if paths[one.span or ""] == path and end <= start), default=None
        )
        for source, began, ended in before:
            follows = (paths[source.span or ""], path) in direct and ended <= start
            fresh = since is None or began >= since
            if follows and fresh and (source.id, target.id) not in known:
                added.append(Edge(source.id, target.id, target.span, CANDIDATE, "channel"))
    return added


def _path(name: str) -> Path:
    return tuple(name.split(":"))
