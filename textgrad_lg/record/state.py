"""The state of one graph run while its steps are read: what its tasks find in their channels, and who put it there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textgrad_lg.record.channels import Channels, Write
from textgrad_lg.record.draft import Draft, dotted
from textgrad_lg.record.lineage import Scope
from textgrad_lg.record.routes import Route

if TYPE_CHECKING:
    from textgrad_lg.record.runs import Run

INTERRUPT, RESUME = "__interrupt__", "resume"
"""What a node asks a person, and what the person answered: as LangGraph names them in a result and in a `Command`."""
_FIRST = 1
"""LangGraph's number of the first step of a run without a checkpoint; the step before it takes the input."""


@dataclass(slots=True)
class Pending:
    """A write that takes effect when its step ends."""

    channel: str
    variable: str
    value: Any
    new: Any
    replace: bool


@dataclass(slots=True)
class Done:
    """What one attempt at a task came to.

    Attributes:
        visit: Its visit.
        writes: What it wrote.
        routes: What it chose to run next.
        behind: The choices that it ran by.
    """

    visit: int
    writes: list[Pending] = field(default_factory=list[Pending])
    routes: list[Route] = field(default_factory=list[Route])
    behind: list[Route] = field(default_factory=list[Route])


@dataclass(slots=True)
class Graph:
    """One graph run while its steps are read.

    Attributes:
        run: The run.
        span: The id of its Span.
        channels: What its tasks write and read.
        scope: Where the graph was called; None for the outermost.
        routes: What chose the tasks of the coming step.
        behind: What chose the tasks of the step before, where each of them was chosen.
        wrote: The ids of the Variables that the step before wrote.
        present: The nodes of the current step.
        visited: For each node, how many writes there were when it last ran.
        errors: The ids of the Variables that hold the errors of its nodes, by the exception.
        failures: The same by the path of the task that raised, for the handler that stands in for it.
        resume: The ids of the Variables that a person answered an interrupt with, until the first step took them.
        step: The number of the last step that was read.
        skipped: The number of the last step of which no task was seen.
    """

    run: Run
    span: str
    channels: Channels
    scope: Scope | None
    routes: list[Route] = field(default_factory=list[Route])
    behind: list[Route] = field(default_factory=list[Route])
    wrote: frozenset[str] = frozenset()
    present: tuple[str, ...] = ()
    visited: dict[str, int] = field(default_factory=dict[str, int])
    errors: dict[int, str] = field(default_factory=dict[int, str])
    failures: dict[tuple[object, ...], str] = field(default_factory=dict[tuple[object, ...], str])
    resume: list[str] = field(default_factory=list[str])
    step: int | None = None
    skipped: int | None = None


def enter_step(graph: Graph, number: int, metadata: object) -> None:
    """Note that a step begins. The steps of a run have numbers without gaps: none is missing unless nothing in it ran.

    A task does not run if its result comes from a cache, or from the checkpoint of a run that this one resumes.

    Args:
        graph: The graph run.
        number: LangGraph's number of the step.
        metadata: What LangGraph attached to one of its tasks.
    """
    fresh = not (isinstance(metadata, dict) and "thread_id" in metadata)
    before = graph.step if graph.step is not None else (_FIRST - 1 if fresh else number - 1)
    if number > before + 1:
        graph.skipped = number - 1
        graph.routes = []
        graph.behind = []
    graph.step = number


def read(draft: Draft, graph: Graph, name: str, value: Any) -> list[Write]:
    """The writes that are in what was read from a channel.

    What nobody is known to have written becomes a Variable that no Span produced: it was there before the run, or it was
    written by a task that did not run.
    """
    writes = graph.channels.read(name, value)
    if not writes:
        return _found(draft, graph, name, value, value)
    unknown = graph.channels.unwritten(name, value, messages=graph.skipped is None)
    return writes if unknown is None else _found(draft, graph, name, value, unknown)


def _found(draft: Draft, graph: Graph, name: str, value: Any, part: Any) -> list[Write]:
    if part is None or (isinstance(part, (str, list, dict, int, float)) and not part):
        return graph.channels.read(name, value)
    known = draft.convert.json(part, f"state `{name}`")
    role = f"state `{name}`, there before the run"
    if graph.skipped is not None:
        role = f"state `{name}`, written by a node that did not run"
        draft.convert.warnings[
            f"`{name}` was written in a step of graph `{graph.run.name or 'graph'}` in which no node ran: the results "
            "came from a cache, or from a checkpoint. Which node it was, and what it had read, cannot be recorded; run "
            "without the cache, or on a new thread, to have it in the trace"
        ] = None
    variable = draft.lineage.add(dotted(graph.span, "in", name), known, role)
    graph.channels.write(name, variable, part, -1 if graph.skipped is None else graph.skipped)
    return graph.channels.read(name, value)
