"""Lineage: the Variables of a run and the edges between them, each with how it is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textgrad_lg.record.evidence import SHORTEST, Facts, Texts, confirm
from textgrad_lg.trace import CANDIDATE, CONFIRMED, Edge
from textgrad_lg.types import JSON
from textgrad_lg.variable import Variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from textgrad_lg.site import Site

MANY = 256
"""A node that was given more values than this is linked to those older than its last visit by message id only: looking
for each of them in each thing it wrote would take as long as the square of a long loop's length."""


@dataclass
class Scope:
    """What the code of one node, tool or function could use.

    Attributes:
        reads: What it was given: a channel's or argument's name to the Variables that are in it.
        parent: The scope around it, whose values it may have closed over; None for a node.
        products: What was made inside it so far.
        seen: What was found again in something made inside it.
        fresh: Those of `reads` that an unconfirmed edge may come from; None means all of them.
        values: What it was given, by the same names.
        settings: What it read of settings that are held by name.
    """

    reads: dict[str, list[str]]
    parent: Scope | None = None
    products: list[str] = field(default_factory=list[str])
    seen: set[str] = field(default_factory=set[str])
    fresh: frozenset[str] | None = None
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    settings: list[str] = field(default_factory=list[str])

    def given(self) -> list[str]:
        """The Variables of `reads`, each once, in order."""
        return list(dict.fromkeys(name for names in self.reads.values() for name in names))

    def visible(self) -> list[str]:
        """All that the code could use, outermost first."""
        scopes: list[Scope] = []
        scope: Scope | None = self
        while scope is not None:
            scopes.append(scope)
            scope = scope.parent
        return list(dict.fromkeys(name for at in reversed(scopes) for name in (*at.given(), *at.products)))

    def mark(self, names: Iterable[str]) -> None:
        """Note that Variables were used inside this scope, and so inside those around it."""
        names = list(names)
        scope: Scope | None = self
        while scope is not None:
            scope.seen.update(names)
            scope = scope.parent


class Lineage:
    """The Variables of one run in the order they were made, and the edges between them.

    Attributes:
        variables: By id.
        texts: The texts in them, as they are looked for.
    """

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
        self.texts = Texts()
        self._facts: dict[str, Facts] = {}
        self._place: dict[str, int] = {}
        self._edges: dict[str, dict[str, Edge]] = {}
        self._roles: dict[str, str] = {}

    def add(
        self, name: str, value: JSON, role: str, *, span: str | None = None, site: Site | None = None, new: JSON = None
    ) -> str:
        """Add a Variable.

        Args:
            name: Its id; a number is added where it is taken.
            value: Its value.
            role: What it is for.
            span: The Span that produced it.
            site: Where it enters a call.
            new: The part of `value` that is new with it, where that is not all of it: what its edges are judged by.

        Returns:
            Its id.
        """
        taken, again = name, 2
        while taken in self.variables:
            taken, again = f"{name}.{again}", again + 1
        self._place[taken] = len(self.variables)
        self.variables[taken] = Variable(taken, value, self._roles.setdefault(role, role), span, site)
        self._facts[taken] = Facts(value if new is None else new, self.texts)
        return taken

    def facts(self, name: str) -> Facts:
        """What can be found again of a Variable."""
        return self._facts[name]

    def link(self, source: str, target: str, span: str, via: str, weight: float = CONFIRMED) -> None:
        """Add an edge. Of several between the same two Variables the first of the greatest weight stays."""
        if self._place[source] >= self._place[target]:
            return
        into = self._edges.setdefault(target, {})
        if source not in into or into[source].weight < weight:
            into[source] = Edge(source, target, span, weight, via)

    def sources(self, target: str, least: float = 0.0) -> set[str]:
        """What leads to a Variable by an edge of at least this weight."""
        return {source for source, edge in self._edges.get(target, {}).items() if edge.weight >= least}

    def edges(self) -> Iterator[Edge]:
        """All edges, by target and then by source, both in the order they were made."""
        for target in self.variables:
            into = self._edges.get(target, {})
            yield from (into[source] for source in sorted(into, key=self._place.__getitem__))

    def known(
        self, sources: Iterable[str], target: Facts, field: str | None = None, *, both: bool = False
    ) -> dict[str, str]:
        """Those of `sources` that were found again in `target`, and how."""
        found: dict[str, str] = {}
        for source in dict.fromkeys(sources):
            via = confirm(self._facts[source], target, field=field, both=both)
            if via is not None:
                found[source] = via
        return found

    def explain(self, target: str, span: str, scope: Scope, field: str | None = None) -> None:
        """Link what a node, tool or function made to what it was made from.

        What was made inside comes first: if any of it is found again it is the source, and if none is, all of it is a
        candidate. What was given and not used for anything made inside is a source too, confirmed where found again,
        else a candidate.
        """
        facts = self._facts[target]
        value = self.variables[target].value
        carried = [name for name in scope.products if field and name.endswith(f".out.{field}")]
        carried = [name for name in carried if self.variables[name].value == value]
        if carried:
            self.link(carried[-1], target, span, "value")
            return
        products = self._exact(scope.products, target) or self.known(scope.products, facts, field, both=True)
        for source in scope.products:
            if source in products:
                self.link(source, target, span, products[source])
            elif not products:
                self.link(source, target, span, "channel", CANDIDATE)
        given = scope.given()
        if scope.fresh is not None and len(given) > MANY:
            given = [n for n in given if n in scope.fresh or not self._facts[n].ids.isdisjoint(facts.ids)]
        open_to = [name for name in given if name not in scope.seen or not products]
        known = self.known(open_to, facts, both=True)
        for source in open_to:
            if source in known:
                self.link(source, target, span, known[source])
            elif source not in scope.seen and (scope.fresh is None or source in scope.fresh):
                self.link(source, target, span, "channel", CANDIDATE)

    def enter(self, target: str, span: str, scope: Scope, *, same: Sequence[str] = ()) -> list[str]:
        """Link a value that is handed to a subgraph, task or tool to what it was made from.

        Args:
            target: The value's Variable.
            span: What it is handed to.
            scope: Where it was made.
            same: The Variables it is known to hold unchanged, if any.

        Returns:
            The sources that were confirmed.
        """
        if same:
            self.carry(target, span, same)
            scope.mark(same)
            return list(same)
        visible = scope.visible()
        known = self._exact(visible, target) or self.known(visible, self._facts[target], both=True)
        for source, via in known.items():
            self.link(source, target, span, via)
        scope.mark(known)
        # What is empty was made from nothing.
        if not known and self.variables[target].value not in (None, "", [], {}):
            for source in visible:
                self.link(source, target, span, "channel", CANDIDATE)
        return list(known)

    def _exact(self, sources: Sequence[str], target: str) -> dict[str, str]:
        """Those of `sources` that the target is equal to, or is put together from, and how that is known.

        They come before all else that the target quotes, or is quoted in: a text that was handed on as it is stands in
        what others made of it as well.
        """
        value = self.variables[target].value
        found = self._equal(sources, value)
        if not found and isinstance(value, (list, dict)) and "content" not in value:
            parts = [self._equal(sources, at) for at in (value.values() if isinstance(value, dict) else value)]
            found = [name for part in parts for name in part] if all(parts) else []
        facts = self._facts[target]
        return {name: confirm(self._facts[name], facts, both=True) or "value" for name in found}

    def _equal(self, sources: Sequence[str], value: JSON) -> list[str]:
        if isinstance(value, str):
            text = self.texts.normal(value)
            return [name for name in sources if self._facts[name].only == text] if len(text) >= SHORTEST else []
        # Numbers, and what is empty, are equal by coincidence.
        telling = isinstance(value, (list, dict)) and bool(value)
        return [name for name in sources if self.variables[name].value == value] if telling else []

    def carry(self, target: str, span: str, sources: Iterable[str]) -> None:
        """Link a value that is passed on as it was read to all that is in it."""
        facts = self._facts[target]
        for source in sources:
            self.link(source, target, span, confirm(self._facts[source], facts) or "value")
