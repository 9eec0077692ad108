"""What the tests need to know of a graph that somebody else wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.graphs.others.actor import Actor

SYNC = ("invoke", "stream")
ASYNC = ("ainvoke", "astream")


@dataclass(frozen=True)
class Built:
    """A graph as its README builds it, and the model that plays its agents.

    Attributes:
        graph: The compiled graph.
        model: The one model that all its agents call.
        config: Gives the config of a run; a new thread for each.
        context: The runtime context of a run.
        follow: What goes in next on the same thread: the answer to an interrupt, or a second turn; None for nothing.
    """

    graph: Any
    model: Actor
    config: Callable[[], dict[str, Any]] = dict[str, Any]
    context: Any = None
    follow: Any = None


@dataclass(frozen=True)
class Other:
    """One row of the table.

    Attributes:
        name: What is run.
        package: The distribution it comes from; its version is read off the installation.
        build: Builds it anew, so that one run leaves nothing to the next.
        inputs: The inputs of the recorded runs.
        agents: Its agents, or the nodes that call a model.
        prompts: The Parameters that must be found: printed Site to words that must stand in the text.
        missed: What is not found: the beginning of the text that was sent to the reason.
        kept: What is found and cannot be replaced: printed Site to the reason.
        aside: Parameters that do not lead to the graph's output: printed Site to the reason.
        unsure: Parameters that lead to the output along unconfirmed edges alone: printed Site to the reason.
        keeps: Whether a run leaves something to the next, so that each needs a graph of its own.
        ways: The ways in which it can be run.
        note: What else a reader of the table must know.
    """

    name: str
    package: str
    build: Callable[[], Built]
    inputs: Sequence[Any]
    agents: Sequence[str]
    prompts: Mapping[str, str]
    missed: Mapping[str, str] = field(default_factory=dict[str, str])
    kept: Mapping[str, str] = field(default_factory=dict[str, str])
    aside: Mapping[str, str] = field(default_factory=dict[str, str])
    unsure: Mapping[str, str] = field(default_factory=dict[str, str])
    keeps: bool = False
    ways: Sequence[str] = (*SYNC, *ASYNC)
    note: str = ""
