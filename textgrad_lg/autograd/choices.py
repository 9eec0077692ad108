"""Choices of what ran next: which result made one, and what else could have run, for a request of the reverse pass.

A wrong route makes a wrong output although the router's words flow into nothing. The edge from a choice to what the chosen
step made is recorded (`CONTROL`); here it is put into words, because "money" does not look like a fault to a critic that is
not told what the word did.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from textgrad_lg.autograd.graph import CONTROL
from textgrad_lg.templates import fence
from textgrad_lg.trace import CONFIRMED, OPTIONS
from textgrad_lg.types import JSON, SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from textgrad_lg.autograd.graph import Pruned

CHOICES = 200
"""Tokens of all choices in one request."""
_END = "__end__"


def choices(pruned: Pruned) -> tuple[str, ...]:
    """The ids of the Variables that decided what ran next, in the order in which they were made."""
    chosen = {edge.source for edges in pruned.edges.values() for edge in edges if edge.via == CONTROL}
    return tuple(name for name in pruned.made if name in chosen)


def chosen_by(pruned: Pruned, variable: str) -> tuple[str, ...]:
    """The choices that a model's reply was: those that were made from it by code alone.

    Of a reply that stays in the state, later choices may be made as well. Such a choice counts only if the reply was found
    in it; one that the reply's own step made counts in any case.
    """
    sure = _reached(pruned, variable, CONFIRMED)
    around = set(_around(pruned, pruned.trace.variable_by_id[variable].span))
    return tuple(name for name in _reached(pruned, variable, 0.0) if name in sure or _owner(pruned, name) in around)


def lines(pruned: Pruned, names: Iterable[str]) -> list[str]:
    """One line for each choice: what was chosen, and among what where this is known."""
    found: list[str] = []
    for name in names:
        variable = pruned.trace.variable_by_id[name]
        span = pruned.trace.span_by_id.get(variable.span or "")
        options = span.attributes.get(OPTIONS) if span is not None else None
        among = ", ".join(_name(option) for option in options) if isinstance(options, list) else ""
        found.append(f"{variable.role}: {_names(variable.value)}{f' (the choices: {among})' if among else ''}")
    return found


def part(told: str, label: str, said: list[str]) -> str:
    """A part of a request: what the choices mean for the critic, and the choices as data. Empty where there are none."""
    return f"{told}\n\n{fence(label, chr(10).join(dict.fromkeys(said)), tokens=CHOICES)}" if said else ""


def _reached(pruned: Pruned, variable: str, least: float) -> dict[str, None]:
    """The choices that a Variable leads to over edges of at least this weight, and over nothing that a model made."""
    found: dict[str, None] = {}
    todo, seen = [variable], {variable}
    while todo:
        at = todo.pop()
        for user in pruned.consumers.get(at, ()):
            for edge in pruned.edges[user]:
                if edge.source != at:
                    continue
                if edge.via == CONTROL:
                    found[at] = None
                elif edge.weight >= least and user not in seen and _by_code(pruned, user):
                    seen.add(user)
                    todo.append(user)
    return {name: None for name in pruned.made if name in found} if found else found


def _by_code(pruned: Pruned, variable: str) -> bool:
    """Whether no model made the Variable, nor a tool, except one that hands over to another step."""
    made = pruned.trace.variable_by_id[variable]
    span = pruned.trace.span_by_id.get(made.span or "")
    if span is None or span.kind in {SpanKind.NODE, SpanKind.GRAPH, SpanKind.FUNCTION}:
        return True
    return span.kind is SpanKind.TOOL and hands_over(made.value)


def hands_over(result: JSON) -> bool:
    """Whether a tool's result is a `Command` that goes to another step."""
    return isinstance(result, dict) and "update" in result and bool(result.get("goto"))


def _around(pruned: Pruned, span: str | None) -> Iterator[str]:
    """A Span and those around it."""
    while span is not None:
        yield span
        span = pruned.trace.span_by_id[span].parent


def _owner(pruned: Pruned, choice: str) -> str | None:
    """The node that a choice was made by; of a router, the node that it leaves."""
    span = pruned.trace.span_by_id.get(pruned.trace.variable_by_id[choice].span or "")
    return span.parent if span is not None and span.kind is SpanKind.FUNCTION else span.id if span is not None else None


def _names(value: JSON) -> str:
    """What was chosen, without the values that were sent there."""
    items = value if isinstance(value, list) else [value]
    named = (item.get("node") if isinstance(item, dict) else item for item in items)
    return ", ".join(
        f"{_name(name)}, {count} times" if count > 1 else _name(name)
        for name, count in Counter(map(str, named)).items()
    )


def _name(node: JSON) -> str:
    return str(node).replace(_END, "the end")
