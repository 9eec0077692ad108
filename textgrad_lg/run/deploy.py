"""From a prompt registry to a running graph: the texts under a label, in force on every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from textgrad_lg.overlay import bind
from textgrad_lg.registry import SQLiteRegistry
from textgrad_lg.run.home import home
from textgrad_lg.run.invoke import as_graph
from textgrad_lg.run.reading import read_label

if TYPE_CHECKING:
    from textgrad_lg.registry import PromptRegistry
    from textgrad_lg.site import Site

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


def from_registry(graph: G, registry: PromptRegistry | None = None, *, label: str = PRODUCTION) -> G:
    """A copy of `graph` that runs with the registry's texts; this is the one line a deployed process needs.

    The registry is asked at the start of each run, so moving or rolling back the label takes effect at the next run,
    without a restart; a run never has the texts of two moments. The graph given is not changed.

    Args:
        graph: A compiled graph.
        registry: Where the texts are; default: the SQLite registry of the state folder.
        label: The label whose texts are in force.

    Raises:
        GraphError: `graph` is not a compiled graph. A run raises what the registry raises, and `RegistryError` where the
            label moves again and again while it is read.
    """
    compiled = as_graph(graph)
    name = compiled.get_name()
    store = registry if registry is not None else default_registry()
    return bind(graph, lambda: read_label(store, name, label).texts)
