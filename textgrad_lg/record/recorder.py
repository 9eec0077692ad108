"""`record`: note what graphs do while it is open, without a change to them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import var_child_runnable_config

from textgrad_lg.errors import TraceError
from textgrad_lg.record.langgraph import to_trace
from textgrad_lg.record.log import RunLog
from textgrad_lg.record.lost import LOST, Lost
from textgrad_lg.record.notes import Log
from textgrad_lg.record.runs import to_run
from textgrad_lg.record.uses import Use, handle_name
from textgrad_lg.threads import Call, watched

if TYPE_CHECKING:
    from uuid import UUID

    from textgrad_lg.trace import Trace


class Recording:
    """What was recorded in one `record` block. It may be read while the block is open, from any thread."""

    def __init__(self, example: str | None, ids: Callable[[], str]) -> None:
        self._example = example
        self._ids = ids
        self._lock = threading.Lock()
        # One for each outermost run: its notes until its Trace is asked for, then the Trace.
        self._entries: list[Log | Trace] = []
        self._lost: str | None = None
        self._told = False

    @property
    def traces(self) -> tuple[Trace, ...]:
        """One Trace for each outermost run that has ended in the block, in the order they started."""
        with self._lock:
            for at, entry in enumerate(self._entries):
                if isinstance(entry, Log) and entry.ended:
                    self._entries[at] = self._read(entry)
            return tuple(entry for entry in self._entries if not isinstance(entry, Log))

    @property
    def trace(self) -> Trace:
        """The last of `traces`.

        Raises:
            TraceError: There is none.
        """
        traces = self.traces
        if not traces:
            raise TraceError(
                "nothing was recorded: no graph finished inside the `record()` block; run the graph inside the block, "
                "to its end, and in a thread that carries the context"
            )
        return traces[-1]

    def warn(self, message: str) -> None:
        """Note what was lost in a thread: the next Trace that is made says so. Only the first is told, and once."""
        with self._lock:
            self._lost = self._lost or message

    def add(self, log: Log) -> None:
        """Take an outermost run that has just started."""
        # A prompt template that is filled outside any graph or chain is none: nothing was run.
        if log.kind != "prompt":
            self._entries.append(log)

    def _read(self, log: Log) -> Trace:
        trace = to_trace(to_run(log), id=self._ids(), example=self._example)
        if self._lost is not None and not self._told:
            trace = replace(trace, warnings=(*trace.warnings, self._lost))
            self._told = True
        return trace


class _Layer(RunLog):
    """The handler of one `record` block. It passes outermost runs on to the blocks around its own."""

    def __init__(self, recording: Recording, around: _Layer | None, clock: Callable[[], float]) -> None:
        super().__init__(clock, self._deliver)
        self.recording = recording
        self.around = around

    def _deliver(self, log: Log, parent: UUID | None) -> None:
        layer: _Layer | None = self
        while layer is not None:
            # A block opened inside a node: the block around it sees the same run through its own handler, as a part of
            # the graph that it is recording.
            if not layer.closed and (layer is self or not layer.knows(parent)):
                layer.recording.add(log)
            layer = layer.around


# The handler in force in this context. Tasks, and threads that copy the context, inherit it; others never see it.
_ACTIVE: ContextVar[_Layer | None] = ContextVar("textgrad_lg_recorder", default=None)


def record(
    *,
    example: str | None = None,
    clock: Callable[[], float] = time.time,
    ids: Callable[[], str] = lambda: os.urandom(16).hex(),
) -> AbstractContextManager[Recording]:
    """Record every graph that runs inside the block, in this context and in the tasks and threads that inherit it.

    The graphs need no change, their config is not touched, and their exceptions pass through. Blocks may be nested, and
    any number may be open at the same time in different contexts without mixing. An inner block's runs are in the outer
    block's recording too.

    Messages and objects deep inside the state are kept by reference until the Trace is read; a graph that changes a
    message of its state in place has it recorded as it was in the end. A prompt of text alone is recorded as it was sent.

    Args:
        example: The id of the Example that is run; it is written into each Trace.
        clock: Gives the time in seconds since 1970.
        ids: Gives each Trace its id when it is made: 32 hex digits.

    Returns:
        A block, to be entered once by `with`; it gives the Recording, which fills as runs end.

    Example:
        >>> from langgraph.graph import StateGraph
        >>> build = StateGraph(dict).add_node("shout", lambda state: {"text": state["text"].upper()})
        >>> graph = build.add_edge("__start__", "shout").compile()
        >>> with record() as recording:
        ...     _ = graph.invoke({"text": "hello"})
        >>> recording.trace.output()
        {'text': 'HELLO'}
    """
    return _Block(Recording(example, ids), clock)


class _Block:
    """What `record` gives to `with`. No generator: making one takes as long as recording a node."""

    __slots__ = ("_clock", "_layer", "_recording", "_token")

    def __init__(self, recording: Recording, clock: Callable[[], float]) -> None:
        self._recording, self._clock = recording, clock

    def __enter__(self) -> Recording:
        _install(_ACTIVE)
        self._layer = _Layer(self._recording, _ACTIVE.get(), self._clock)
        self._token = _ACTIVE.set(self._layer)
        _WATCH.__enter__()
        return self._recording

    def __exit__(self, *_: object) -> None:
        _WATCH.__exit__()
        self._layer.close()
        # A block in a generator may be left in another context than the one it was entered in; what was set there is
        # out of reach, and the closed handler takes no more events.
        try:  # noqa: SIM105  `suppress` is another block to be made
            _ACTIVE.reset(self._token)
        except ValueError:
            pass


def note_use(use: Use) -> None:
    """Note that the code which runs now used a prompt that it holds by name; does nothing outside a recording."""
    layer = _ACTIVE.get()
    if layer is None:
        lost = LOST.get()
        if lost is not None:
            lost.tell(f"the prompt {handle_name(use.site)!r} was used")
        return
    callbacks = (var_child_runnable_config.get() or {}).get("callbacks")
    parent: UUID | None = getattr(callbacks, "parent_run_id", None)
    while layer is not None and parent is not None:
        layer.use(parent, use)
        layer = layer.around


def _mark(call: Call) -> Call:
    """What to run in a thread that was not given the context: the same, marked if it comes out of a recording."""
    layer = _ACTIVE.get()
    if layer is not None and layer.closed:
        return call
    # Work that lost the context may start threads of its own.
    lost = LOST.get() if layer is None else Lost(layer.recording.warn, var_child_runnable_config.get())
    if lost is None:
        return call
    _install(LOST)
    return partial(lost.run, call)


_WATCH = watched(_mark)


@cache
def _install(handler: ContextVar[Any]) -> None:
    # Process-wide and for good: LangChain has no way to take a hook back. Without a block it finds an empty variable,
    # which it looks into for each run: so this is done when it is first needed.
    from langchain_core.tracers.context import register_configure_hook

    register_configure_hook(handler, inheritable=True)
