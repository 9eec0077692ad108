"""`record`: note what graphs do while it is open, without a change to them."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from textgrad_lg.errors import TraceError
from textgrad_lg.record.langgraph import to_trace
from textgrad_lg.record.runs import Run, RunLog

if TYPE_CHECKING:
    from uuid import UUID

    from textgrad_lg.trace import Trace


@dataclass(slots=True)
class _Entry:
    """One outermost run: the run until its Trace is asked for, then the Trace."""

    id: str
    run: Run | None
    trace: Trace | None = None


class Recording:
    """What was recorded in one `record` block. It may be read while the block is open, from any thread."""

    def __init__(self, example: str | None, ids: Callable[[], str]) -> None:
        self._example = example
        self._ids = ids
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []

    @property
    def traces(self) -> tuple[Trace, ...]:
        """One Trace for each outermost run that has ended in the block, in the order they started."""
        with self._lock:
            return tuple(trace for entry in self._entries if (trace := self._read(entry)) is not None)

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

    def add(self, run: Run) -> None:
        """Take an outermost run that has just started."""
        entry = _Entry(self._ids(), run)
        with self._lock:
            self._entries.append(entry)

    def _read(self, entry: _Entry) -> Trace | None:
        if entry.run is not None and entry.run.end is not None:
            entry.trace = to_trace(entry.run, id=entry.id, example=self._example)
            entry.run = None
        return entry.trace


class _Layer(RunLog):
    """The handler of one `record` block. It passes outermost runs on to the blocks around its own."""

    def __init__(self, recording: Recording, around: _Layer | None, clock: Callable[[], float]) -> None:
        super().__init__(clock, self._deliver)
        self.recording = recording
        self.around = around

    def _deliver(self, run: Run, parent: UUID | None) -> None:
        layer: _Layer | None = self
        while layer is not None:
            # A block opened inside a node: the block around it sees the same run through its own handler, as a part of
            # the graph that it is recording.
            if not layer.closed and (layer is self or parent not in layer.runs):
                layer.recording.add(run)
            layer = layer.around


# The handler in force in this context. Tasks, and threads that copy the context, inherit it; others never see it.
_ACTIVE: ContextVar[_Layer | None] = ContextVar("textgrad_lg_recorder", default=None)


@contextmanager
def record(
    *,
    example: str | None = None,
    clock: Callable[[], float] = time.time,
    ids: Callable[[], str] = lambda: uuid.uuid4().hex,
) -> Generator[Recording]:
    """Record every graph that runs inside the block, in this context and in the tasks and threads that inherit it.

    The graphs need no change, their config is not touched, and their exceptions pass through. Blocks may be nested, and
    any number may be open at the same time in different contexts without mixing. An inner block's runs are in the outer
    block's recording too.

    Messages and objects deep inside the state are kept by reference until the Trace is read; a graph that changes a
    message in place has it recorded as it was in the end.

    Args:
        example: The id of the Example that is run; it is written into each Trace.
        clock: Gives the time in seconds since 1970.
        ids: Gives each Trace its id: 32 hex digits.

    Yields:
        The Recording, which fills as runs end.

    Example:
        >>> from langgraph.graph import StateGraph
        >>> build = StateGraph(dict).add_node("shout", lambda state: {"text": state["text"].upper()})
        >>> graph = build.add_edge("__start__", "shout").compile()
        >>> with record() as recording:
        ...     _ = graph.invoke({"text": "hello"})
        >>> recording.trace.output()
        {'text': 'HELLO'}
    """
    _install()
    recording = Recording(example, ids)
    layer = _Layer(recording, _ACTIVE.get(), clock)
    token = _ACTIVE.set(layer)
    try:
        yield recording
    finally:
        layer.close()
        # A block in a generator may be left in another context than the one it was entered in; what was set there is
        # out of reach, and the closed handler takes no more events.
        with suppress(ValueError):
            _ACTIVE.reset(token)


@cache
def _install() -> None:
    # Process-wide and for good: LangChain has no way to take a hook back. Without a block it finds an empty variable.
    from langchain_core.tracers.context import register_configure_hook

    register_configure_hook(_ACTIVE, inheritable=True)
