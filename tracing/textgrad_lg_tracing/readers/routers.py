"""Routers of conditional edges among the runs inside a task, and the values that they and others sent to nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from langgraph.types import Send

from textgrad_lg.record.nodes import task_path
from textgrad_lg.record.order import tasks
from textgrad_lg.record.routes import choice, gotos, split_routers
from textgrad_lg_tracing.readers.revive import sends

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textgrad_lg.record.runs import Run
    from textgrad_lg_tracing.readers.runs import Node

_STEP = "seq:step:"


def mark_routers(graph: Node) -> None:
    """Say which runs inside a graph's tasks are routers, and read what they sent.

    What a `Send` carries is written as Python prints it; the task that was given it has it in full.
    """
    names = {task.run.name for task in graph.children if task.is_task}
    for task in graph.children:
        if task.is_task:
            _mark(task, names)
    waiting: list[Send] = []
    for step in tasks([task.run for task in graph.children if task.is_task]):
        for run in (attempts[-1] for attempts in step):
            path = cast("Sequence[object]", task_path(run))
            at = path[1] if len(path) > 1 else None
            if isinstance(at, int) and 0 <= at < len(waiting):
                send = waiting[at]
                if send.node == run.name and send.arg is None:
                    send.arg = run.inputs
        waiting = [send for attempts in step for send in _sent(attempts[-1])]


def _sent(run: Run) -> Iterator[Send]:
    """The `Send`s of a task: of the `Command`s that it returned, and of its routers."""
    yield from (item for item in gotos(run.outputs) if isinstance(item, Send))
    for router in split_routers(run)[1]:
        yield from choice(router.outputs)[1]


def _mark(task: Node, names: set[str]) -> None:
    """Tag the routers of a task, where the tracer's tags do not.

    A router runs when all else in its task is over, and gives names of nodes or `Send`s.
    """
    tagged = any(tag.startswith(_STEP) for child in task.children for tag in child.run.tags)
    plain = [child for child in task.children if child.run.kind == "chain" and not child.is_task and not child.is_graph]
    others = [child.run.end or child.run.start for child in task.children if child not in plain]
    last = max(others, default=task.run.start)
    for child in plain:
        found = sends(child.run.outputs)
        named = [item.node if isinstance(item, Send) else item for item in found]
        routes = bool(named) and all(isinstance(item, str) and (item == "__end__" or item in names) for item in named)
        if routes and any(isinstance(item, Send) for item in found):
            child.run.outputs = found
        if not tagged:
            late = child.run.start >= last
            child.run.tags = (f"{_STEP}3",) if routes and late else (f"{_STEP}1",)
    if not tagged:
        for child in task.children:
            if child not in plain:
                child.run.tags = (f"{_STEP}1",)
