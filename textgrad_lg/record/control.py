"""Control: edges from a choice of what runs next to what was made because of it. They are possible causes, never seen ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgrad_lg.record.nodes import is_pushed
from textgrad_lg.trace import CANDIDATE, CONFIRMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textgrad_lg.record.lineage import Lineage, Scope
    from textgrad_lg.record.routes import Route
    from textgrad_lg.record.runs import Run
    from textgrad_lg.record.state import Graph


def link_choices(lineage: Lineage, routes: Iterable[Route], made: Sequence[str], span: str) -> None:
    """Link what a task made to the choices that it ran by."""
    for route in routes:
        for name in made:
            lineage.link(route.variable, name, span, "control", CANDIDATE)


def link_ending(lineage: Lineage, graph: Graph, output: str) -> None:
    """Link an output to the choices after which nothing ran any more: with another choice it would be another one.

    A choice that was made from what the output holds anyway, such as a model's last reply, tells nothing more.
    """
    held = lineage.sources(output)
    telling = [route for route in graph.routes if lineage.sources(route.variable) - held]
    link_choices(lineage, telling, [output], graph.span)


def choices_before(lineage: Lineage, graph: Graph, run: Run, scope: Scope, made: Iterable[str]) -> list[Route]:
    """The choices behind a task that nobody chose itself: it came after tasks that were chosen.

    Where anything that was written before is found in it, there is a surer way back to them already.
    """
    if not graph.behind or is_pushed(run):
        return []
    used = scope.seen.union(*(lineage.sources(name, CONFIRMED) for name in made))
    return graph.behind if graph.wrote.isdisjoint(used) else []
