"""The oracle: who read whose writes, told by the versions of Pregel's channels and by nothing that this library records.

It patches functions of `langgraph.pregel._loop`, which are private; only tests may do that. It knows tasks by their
checkpoint namespace, which the recorder keeps as a node Span's attribute "task".
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from langchain_core.messages import BaseMessage
from langgraph.channels import BinaryOperatorAggregate, DeltaChannel
from langgraph.channels.binop import _get_overwrite
from langgraph.pregel import _algo, _loop
from langgraph.pregel._write import ChannelWrite

DATA, SEND, CONTROL, STATIC, ERROR, RESULT = "data", "send", "control", "static", "error", "result"
_INNER = ("branch:to:", "join:", "__start__")


@dataclass(frozen=True, slots=True)
class Seen:
    """That one task read what another had written.

    Attributes:
        source: The writer's namespace.
        target: The reader's namespace.
        channel: What it was read from.
        kind: "data": a channel of the state. "send": the value that was pushed. "control": the choice of a router or
            `Command`. "static": an edge that the graph's author drew, which says nothing but what comes next. "error":
            a failed node's exception, for its handler. "result": what a `@task` returned.
        latest: Whether the writer was among the last that wrote the channel; else its part of a list is there still.
        replaced: Whether an `Overwrite` had thrown that part away before it was read, which versions do not tell.
    """

    source: str
    target: str
    channel: str
    kind: str
    latest: bool = True
    replaced: bool = False


@dataclass
class Told:
    """What the oracle saw of one task.

    Attributes:
        name: Its node.
        given: What it was given.
        wrote: The channels of the state that it wrote, with the values.
        ended: Whether its writes took effect.
    """

    name: str
    given: Any
    wrote: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    ended: bool = False


@dataclass
class _Loop:
    channels: Any
    owners: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    latest: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    sends: list[str] = field(default_factory=list[str])


class Tap:
    """What was seen while it was on.

    Attributes:
        seen: Each edge once, in the order met.
        tasks: Every task that was started, by namespace.
    """

    def __init__(self) -> None:
        self.seen: dict[Seen, None] = {}
        self.tasks: dict[str, Told] = {}
        self._replaced: set[tuple[str, str]] = set()
        self._loops: dict[int, _Loop] = {}
        self._calls: list[Any] = []
        self._entries: list[tuple[str, Any]] = []
        self._lock = threading.RLock()

    def prepared(self, processes: Any, channels: Any, tasks: Iterable[Any]) -> None:
        """Tasks are about to start: they read their channels now."""
        with self._lock:
            loop = self._loop(channels)
            for task in tasks:
                name = namespace(task)
                self.tasks.setdefault(name, Told(task.name, task.input))
                if task.path[0] == "__pregel_push":
                    if task.path[1] < len(loop.sends):
                        self._add(loop.sends[task.path[1]], name, "__pregel_tasks", SEND)
                    continue
                process = processes[task.name]
                read = [process.channels] if isinstance(process.channels, str) else process.channels
                for channel in [*read, *process.triggers]:
                    if channel not in channels or not channels[channel].is_available():
                        continue
                    for owner in dict.fromkeys(loop.owners.get(channel, ())):
                        kind = DATA
                        if channel.startswith(_INNER):
                            kind = STATIC if self._drawn(processes, owner, channel) else CONTROL
                        gone = (channel, owner) in self._replaced
                        self._add(
                            owner, name, channel, kind, latest=owner in loop.latest.get(channel, ()), replaced=gone
                        )

    def applied(self, checkpoint: Any, channels: Any, tasks: Iterable[Any], before: dict[str, Any]) -> None:
        """A step's writes have taken effect: they belong to the tasks that made them, where the version rose."""
        with self._lock:
            loop = self._loop(channels)
            risen = {name for name, version in checkpoint["channel_versions"].items() if before.get(name) != version}
            ordered = sorted(tasks, key=lambda task: _algo.writes_sort_key(_algo.task_path_str(task.path)))
            from_outside = any(not task.path for task in ordered)
            latest: dict[str, list[str]] = {}
            sends: list[str] = []
            for task in ordered:
                name = namespace(task) if task.path else ""
                if from_outside and name:
                    # New input on a thread: tasks that were due, and are dropped.
                    self.tasks.pop(name, None)
                    continue
                told = self.tasks.get(name)
                if told is not None:
                    told.ended = True
                    self._entries.append((name, [value for _, value in task.writes]))
                for channel, value in task.writes:
                    if channel == "__pregel_tasks":
                        sends.append(name)
                    elif channel in risen:
                        self._wrote(loop, channel, value, name)
                        latest.setdefault(channel, []).append(name)
                        if told is not None and not channel.startswith("__") and not channel.startswith(_INNER):
                            told.wrote.append((channel, value))
            loop.latest |= latest
            loop.sends = sends

    def failed(self, task: Any, handler: Any) -> None:
        """A node raised, and its handler is about to run on what the node was given."""
        with self._lock:
            source, target = namespace(task), namespace(handler)
            self.tasks.setdefault(target, Told(handler.name, handler.input))
            for edge in list(self.seen):
                if edge.target == source and edge.kind in (DATA, SEND):
                    self._add(edge.source, target, edge.channel, edge.kind, latest=edge.latest)
            self._add(source, target, "__error__", ERROR)

    def called(self, task: Any, call: Any) -> None:
        """Code of the functional API calls a `@task`: what earlier ones returned may be among its arguments."""
        with self._lock:
            target = namespace(task)
            self.tasks.setdefault(target, Told(task.name, call.input))
            positional, named = call.input
            for argument in (*positional, *named.values()):
                for source in self._within(argument, self._calls):
                    self._add(source, target, "__return__", RESULT)
            self._calls.append(task)

    def finish(self) -> None:
        """Look for the results of tasks in what the code that called them returned."""
        for task in self._calls:
            self.tasks[namespace(task)].ended = bool(_returned(task))
        holders = [*self._entries, *((namespace(task), _returned(task)) for task in self._calls)]
        for around, values in holders:
            inner = [task for task in self._calls if namespace(task).rpartition("|")[0] == around]
            for value in values:
                for source in self._within(value, inner):
                    self._add(source, around, "__return__", RESULT)

    def _within(self, value: Any, tasks: list[Any]) -> list[str]:
        """The tasks whose result a value is or holds; where it holds none, those whose result its text quotes."""
        for quoted in (False, True):
            found = [
                namespace(at) for at in tasks if any(_inside(made, value, quoted=quoted) for made in _returned(at))
            ]
            if found:
                return found
        return []

    def _loop(self, channels: Any) -> _Loop:
        return self._loops.setdefault(id(channels), _Loop(channels))

    def _wrote(self, loop: _Loop, channel: str, value: Any, name: str) -> None:
        held = loop.channels[channel]
        gathers = isinstance(held, (BinaryOperatorAggregate, DeltaChannel)) or channel.startswith("join:")
        if isinstance(held, BinaryOperatorAggregate) and _get_overwrite(value)[0]:
            self._replaced |= {(channel, owner) for owner in loop.owners.get(channel, ())}
        # An aggregate holds what every writer put in. That an `Overwrite` threw it away, versions do not tell.
        loop.owners[channel] = [*(loop.owners.get(channel, ()) if gathers else ()), name]

    def _drawn(self, processes: Any, owner: str, channel: str) -> bool:
        told = self.tasks.get(owner)
        if told is None or told.name not in processes:
            return True
        return any(
            isinstance(writer, ChannelWrite)
            and any(getattr(entry, "channel", None) == channel for entry in writer.writes)
            for writer in processes[told.name].writers
        )

    def _add(
        self, source: str, target: str, channel: str, kind: str, *, latest: bool = True, replaced: bool = False
    ) -> None:
        told = self.tasks.get(source)
        # The run's input, and `__start__`, which hands it on, are no nodes.
        if told is not None and told.name != "__start__" and self.tasks[target].name != "__start__":
            self.seen[Seen(source, target, channel, kind, latest, replaced)] = None


@contextmanager
def tap() -> Generator[Tap]:
    """Watch every graph that runs inside the block, in any thread."""
    found = Tap()
    prepare, apply = _loop.prepare_next_tasks, _loop.apply_writes
    single, handler = _loop.prepare_single_task, _loop.prepare_node_error_handler_task

    def prepare_next_tasks(
        checkpoint: Any, writes: Any, processes: Any, channels: Any, *args: Any, **kwargs: Any
    ) -> Any:
        tasks = prepare(checkpoint, writes, processes, channels, *args, **kwargs)
        if kwargs.get("for_execution"):
            found.prepared(processes, channels, tasks.values())
        return tasks

    def apply_writes(checkpoint: Any, channels: Any, tasks: Any, *args: Any) -> Any:
        before, tasks = dict(checkpoint["channel_versions"]), list(tasks)
        result = apply(checkpoint, channels, tasks, *args)
        found.applied(checkpoint, channels, tasks, before)
        return result

    def prepare_single_task(path: Any, *args: Any, **kwargs: Any) -> Any:
        task = single(path, *args, **kwargs)
        if task is not None and path[-1] is not None:
            found.called(task, path[-1])
        return task

    def prepare_node_error_handler_task(task: Any, **kwargs: Any) -> Any:
        made = handler(task, **kwargs)
        if made is not None:
            found.failed(task, made)
        return made

    with (
        mock.patch.object(_loop, "prepare_next_tasks", prepare_next_tasks),
        mock.patch.object(_loop, "apply_writes", apply_writes),
        mock.patch.object(_loop, "prepare_single_task", prepare_single_task),
        mock.patch.object(_loop, "prepare_node_error_handler_task", prepare_node_error_handler_task),
    ):
        yield found
    found.finish()


def namespace(task: Any) -> str:
    """The checkpoint namespace of a task, with the task's id in it."""
    return task.config["configurable"]["checkpoint_ns"]


def _returned(task: Any) -> list[Any]:
    return [value for channel, value in task.writes if channel == "__return__"]


def _inside(wanted: Any, value: Any, *, quoted: bool) -> bool:
    """Whether a value is or holds what is wanted, however deep; with `quoted`, also in part or in a longer text."""
    if isinstance(wanted, BaseMessage) and isinstance(value, BaseMessage):
        return wanted.id == value.id
    if isinstance(wanted, str) and isinstance(value, str):
        return bool(wanted) and (wanted in value if quoted else wanted == value)
    if value is wanted:
        return True
    if isinstance(value, (dict, list, tuple)):
        items = value.values() if isinstance(value, dict) else value
        if any(_inside(wanted, item, quoted=quoted) for item in items):
            return True
    if quoted and isinstance(wanted, (dict, list, tuple)):
        return any(
            _inside(item, value, quoted=True) for item in (wanted.values() if isinstance(wanted, dict) else wanted)
        )
    return False
