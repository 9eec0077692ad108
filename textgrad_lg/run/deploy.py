"""From a prompt registry to a running graph: the texts under a label, in force on every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from textgrad_lg.errors import UnknownVersion
from textgrad_lg.overlay import Replacement, bind
from textgrad_lg.registry import SQLiteRegistry
from textgrad_lg.run.home import home
from textgrad_lg.run.invoke import as_graph
from textgrad_lg.site import Site

if TYPE_CHECKING:
    from textgrad_lg.overlay import Texts
    from textgrad_lg.prompt import Template
    from textgrad_lg.registry import PromptRegistry

G = TypeVar("G")

PRODUCTION = "production"
"""The label whose texts a bound graph runs with."""
CANDIDATE = "candidate"
"""The label of texts that passed validation and were not, or not yet, published."""


def default_registry() -> PromptRegistry:
    """The SQLite registry in the state folder (`.textgrad-lg`, moved by `TEXTGRAD_LG_HOME`)."""
    return SQLiteRegistry(home() / "registry.sqlite3")


def prompt_name(graph: str, site: Site) -> str:
    """The name a Parameter has in a registry, as in `review_desk:classify/human`."""
    return f"{graph}:{site}"


def registry_texts(registry: PromptRegistry, graph: str, label: str = PRODUCTION) -> Texts:
    """The texts that `label` puts in force for the graph named `graph`; Parameters without the label keep their own."""
    texts: dict[Site, Replacement] = {}
    for name in registry.names():
        owner, _, site = name.partition(":")
        if owner != graph or label not in registry.labels(name):
            continue
        version = registry.get(name, label=label)
        texts[Site.parse(site)] = Replacement(original(registry, name, version.version), version.template)
    return texts


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


def from_registry(graph: G, registry: PromptRegistry | None = None, *, label: str = PRODUCTION) -> G:
    """A copy of `graph` that runs with the registry's texts; this is the one line a deployed process needs.

    The registry is asked at the start of each run, so moving or rolling back the label takes effect at the next run,
    without a restart. The graph given is not changed.

    Args:
        graph: A compiled graph.
        registry: Where the texts are; default: the SQLite registry of the state folder.
        label: The label whose texts are in force.

    Raises:
        GraphError: `graph` is not a compiled graph.
    """
    compiled = as_graph(graph)
    name = compiled.get_name()
    store = registry if registry is not None else default_registry()
    return bind(graph, lambda: registry_texts(store, name, label))
