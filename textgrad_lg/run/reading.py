"""Reading a label from a prompt registry: the texts of one moment, of all prompts together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.errors import RegistryError, UnknownVersion
from textgrad_lg.overlay import Replacement
from textgrad_lg.overlay.rewrite import check
from textgrad_lg.registry.rules import positions
from textgrad_lg.site import Site

if TYPE_CHECKING:
    from textgrad_lg.overlay import Texts
    from textgrad_lg.prompt import Template
    from textgrad_lg.registry import Move, PromptRegistry

_TRIES = 5
"""Readings in a row that may find the label moving before one of them is given up."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a label puts in force for one graph.

    Attributes:
        texts: The texts; Parameters without the label keep their own.
        moves: The label's moves by which they were read, for each of the graph's prompts.
    """

    texts: Texts
    moves: Mapping[str, tuple[Move, ...]]


def read_label(registry: PromptRegistry, graph: str, label: str, known: Reading | None = None) -> Reading:
    """The texts of one moment: the label must stand on all prompts where it stood before they were read.

    A registry is read prompt by prompt, and a label moves on several at once. Without this, texts of two versions that were
    never tried together could be in force together.

    Args:
        registry: The registry.
        graph: The graph's name.
        label: The label.
        known: An earlier reading; given back where the label has not moved since.

    Raises:
        RegistryError: The label moved again and again.
        UnknownVersion: The registry does not hold what a version descends from.
        TemplateError: A text cannot be carried out.
    """
    moves = _moves(registry, graph, label)
    for _ in range(_TRIES):
        if known is not None and known.moves == moves:
            return known
        known = Reading(_texts(registry, moves), moves)
        moves = _moves(registry, graph, label)
    if known is not None and known.moves == moves:
        return known
    raise RegistryError(f"the label {label!r} moved while it was read, {_TRIES} times in a row; try again")


def original(registry: PromptRegistry, name: str, version: int) -> Template:
    """The graph's own text, from which a version descends: it says which messages are to be rewritten.

    Raises:
        UnknownVersion: The registry does not hold the version or one of its parents.
    """
    by_version = {item.version: item for item in registry.history(name)}
    at = by_version.get(version)
    while at is not None and at.parent is not None:
        at = by_version.get(at.parent)
    if at is None:
        raise UnknownVersion(f"version {version} of {name!r} descends from a version that the registry does not hold")
    return at.template


def _moves(registry: PromptRegistry, graph: str, label: str) -> dict[str, tuple[Move, ...]]:
    names = [name for name in registry.names() if name.partition(":")[0] == graph]
    return {name: registry.moves(name, label) for name in names}


def _texts(registry: PromptRegistry, moves: Mapping[str, tuple[Move, ...]]) -> Texts:
    texts: dict[Site, Replacement] = {}
    for name, made in moves.items():
        at = positions(made)
        if at:
            version = registry.get(name, version=at[-1])
            own = original(registry, name, version.version)
            texts[Site.parse(name.partition(":")[2])] = Replacement(own, version.template)
    # Here, because a run that finds a text that cannot be carried out would fail in its midst.
    check(texts)
    return texts
