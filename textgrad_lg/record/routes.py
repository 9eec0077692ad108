"""Who chose which node runs next: routers of conditional edges, `Command(goto=...)` and `Send`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from langgraph.types import Command, Send

from textgrad_lg.trace import OPTIONS, Trace

if TYPE_CHECKING:
    from textgrad_lg.record.runs import Run

_STEP = "seq:step:"


@dataclass(frozen=True, slots=True)
class Route:
    """One choice of what runs next.

    Attributes:
        variable: The id of the Variable that holds the choice.
        targets: What was chosen: names of nodes, or a router's own words for them.
        sends: The values pushed.
        sources: The ids of the Variables that the choice, and the values pushed, can come from.
    """

    variable: str
    targets: tuple[str, ...]
    sends: tuple[Send, ...]
    sources: tuple[str, ...]


def choice(value: Any) -> tuple[tuple[str, ...], tuple[Send, ...]]:
    """The names and the Sends in what a router returned or a `Command` goes to."""
    items: Sequence[Any] = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else [value]
    items = [item for item in items if item is not None]
    sends = tuple(item for item in items if isinstance(item, Send))
    return tuple(str(item) for item in items if not isinstance(item, Send)), sends


def gotos(value: Any) -> list[Any]:
    """Where the `Command`s that a node returned go to."""
    items: Sequence[Any] = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else [value]
    found: list[Any] = []
    for item in items:
        goto: Any = cast("Any", item).goto if isinstance(item, Command) else ()
        found += list(cast("Sequence[Any]", goto)) if isinstance(goto, (list, tuple)) else [goto]
    return found


def choosers(routes: Sequence[Route], name: str, present: Sequence[str]) -> list[Route]:
    """The routes that chose a node of the step after them.

    A router may return words of its own, which its path map turns into names of nodes. Such a route is taken to have
    chosen every node of the step that no other route names.

    Args:
        routes: The routes of the step before.
        name: The node.
        present: The nodes that ran.
    """
    named = [route for route in routes if name in route.targets]
    if named:
        return named
    known = {*present, "__end__"}
    return [route for route in routes if route.targets and not known.intersection(route.targets)]


def sender(routes: Sequence[Route], run: Run, name: str) -> Route | None:
    """The route that pushed the value which a task was given, or None if that was not seen."""
    sends = [(route, send) for route in routes for send in route.sends]
    for route, send in sends:
        # A route keeps what it sent, so no other object has its id meanwhile.
        if id(send.arg) == run.raw:
            return route
    # A value that LangGraph coerced to the node's own schema is another object; then its place among the sends counts.
    path = run.metadata.get("langgraph_path") or ()
    at = path[1] if len(path) > 1 and isinstance(path[1], int) else -1
    if 0 <= at < len(sends) and sends[at][1].node == name:
        return sends[at][0]
    return None


def options_of(builder: Any, path: tuple[str, ...]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """What each node of a graph can choose to run next, by the node's path, where the graph's author declared it.

    Args:
        builder: The graph as it was before it was compiled; None where it has none.
        path: The graph's own path.
    """
    found: dict[tuple[str, ...], dict[str, None]] = {}
    for name, branches in getattr(builder, "branches", {}).items():
        for branch in branches.values():
            found.setdefault((*path, str(name)), {}).update(_ends(branch.ends))
    for name, node in getattr(builder, "nodes", {}).items():
        found.setdefault((*path, str(name)), {}).update(_ends(getattr(node, "ends", None)))
    return {at: tuple(options) for at, options in found.items() if len(options) > 1}


def _ends(ends: Any) -> dict[str, None]:
    """Names of nodes; a router's word for one, with the node behind it."""
    if not isinstance(ends, Mapping):
        return dict.fromkeys(map(str, cast("Sequence[Any]", ends or ())))
    pairs = cast("Mapping[Any, Any]", ends).items()
    return dict.fromkeys(str(node) if word == node else f"{word} ({node})" for word, node in pairs)


def with_options(trace: Trace, routes: Mapping[tuple[str, ...], tuple[str, ...]]) -> Trace:
    """The Trace where each Span that chose what ran next says what it could have chosen."""
    choosing = {edge.source for edge in trace.edges if edge.via == "control"}
    spans = {variable.span for variable in trace.variables if variable.id in choosing}
    if not routes or not spans:
        return trace
    told = (
        replace(span, attributes={**span.attributes, OPTIONS: list(routes[span.path])})
        if span.id in spans and span.path in routes
        else span
        for span in trace.spans
    )
    return replace(trace, spans=tuple(told))


def split_routers(run: Run) -> tuple[list[Run], list[Run]]:
    """What ran inside a task, parted into the node's own runs and the routers of its conditional edges.

    LangGraph runs a task as a sequence: the node's own steps, one step that writes and is not traced, and then the
    routers. So routers are what comes after the gap in the numbers of the steps. `__start__` has no steps of its own.
    """
    steps = {id(child): _step(child) for child in run.children}
    present = {step for step in steps.values() if step is not None}
    own = 0 if run.metadata.get("langgraph_node") == "__start__" else 1
    while own + 1 in present and own > 0:
        own += 1
    routers = [
        child
        for child in run.children
        if child.kind == "chain" and not child.is_node and (steps[id(child)] or 0) >= own + 2
    ]
    return [child for child in run.children if child not in routers], routers


def _step(run: Run) -> int | None:
    for tag in run.tags:
        number = tag.removeprefix(_STEP)
        if number != tag and number.isdigit():
            return int(number)
    return None
