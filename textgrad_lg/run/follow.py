"""`attach`: the registry's texts laid over a graph that already serves requests, and followed as the label moves."""

# LangGraph ships no stubs, and leaves type arguments open.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

from textgrad_lg.errors import GraphError
from textgrad_lg.overlay import bind, merge
from textgrad_lg.run.deploy import PRODUCTION, default_registry
from textgrad_lg.run.invoke import as_graph
from textgrad_lg.run.reading import Reading, read_label
from textgrad_lg.sync import in_loop

if TYPE_CHECKING:
    from types import TracebackType

    from langgraph.pregel import Pregel

    from textgrad_lg.overlay import Texts
    from textgrad_lg.registry import PromptRegistry

EVERY = 10.0
"""Seconds between two readings of the registry."""
PATIENCE = 2.0
"""Seconds that a process which starts up waits for the first reading."""
_LATE = 3
"""So many periods without an answer make a registry a slow one."""

_LOG = logging.getLogger(__name__)


def attach(
    graph: object, registry: PromptRegistry | None = None, *, label: str = PRODUCTION, every: float = EVERY
) -> Attachment:
    """Lay the registry's texts over a graph, in place, and follow the label as it moves.

    The one line at the start of a deployed process whose graph reads no context. The very object is changed that other
    modules hold, so `langgraph.json`, a parent graph or a web handler need not know; its class becomes a subclass of
    what it was. Attaching it again takes the place of the earlier attachment.

    A run that starts later than `every` seconds, plus the time that one reading takes, after the label was moved has
    the new texts, whether or not there was any traffic between. A run has the texts of one moment for as long as it
    lasts, of all its prompts together. The registry is read in a thread of its own, once in `every` seconds, and no run
    waits for it: while it is down, slow or holds what cannot be read, runs go on with the texts last known, or with the
    graph's own where none were; one warning says so.

    Only here, at the start, is the first reading waited for, at most `PATIENCE` seconds, and not at all inside an event
    loop, which it would block; until it has ended, runs have the graph's own texts. A factory that makes a graph for each
    request should hold one `Follower` instead, and attach to that.

    Args:
        graph: A compiled graph. One that is bound already, by `from_registry` say, has these texts laid over its own.
        registry: Where the texts are; default: the SQLite registry of the state folder.
        label: The label whose texts are in force.
        every: Seconds between two readings.

    Returns:
        The attachment: a handle with `detach()`, which is also a context manager.

    Raises:
        GraphError: `graph` is not a compiled graph, or `every` is not above 0.
    """
    return Follower(registry, label=label, every=every).attach(graph)


class Follower:
    """Follows a label in a registry, for any number of graphs: what one `attach` holds, and what a factory should.

    Its thread starts with the first graph and ends when nobody holds the Follower any more; a process that was forked
    starts its own at its first run.

    Args:
        registry: Where the texts are; default: the SQLite registry of the state folder.
        label: The label whose texts are in force.
        every: Seconds between two readings.
        wait: Waits for so many seconds, or until the Event is set; returns whether it is set.
        clock: Gives a time in seconds that never goes back.

    Raises:
        GraphError: `every` is not above 0.

    Example:
        >>> from langgraph.graph import StateGraph
        >>> from textgrad_lg import MemoryRegistry
        >>> FOLLOWER = Follower(MemoryRegistry())
        >>> def make_graph():
        ...     graph = StateGraph(dict).add_node("echo", lambda state: state).add_edge("__start__", "echo").compile()
        ...     FOLLOWER.attach(graph)
        ...     return graph
        >>> make_graph().invoke({"text": "hello"})
        {'text': 'hello'}
    """

    def __init__(
        self,
        registry: PromptRegistry | None = None,
        *,
        label: str = PRODUCTION,
        every: float = EVERY,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not every > 0:
            raise GraphError(f"every={every!r}: give the seconds between two readings of the registry, above 0")
        self._registry = registry if registry is not None else default_registry()
        self._label, self._every, self._wait, self._clock = label, every, wait, clock
        self._known: dict[str, Reading | None] = {}
        self._warned: bool = False
        self._begin()

    def attach(self, graph: object) -> Attachment:
        """Lay the texts over `graph`, in place; see `attach`.

        Raises:
            GraphError: `graph` is not a compiled graph.
        """
        compiled = as_graph(graph)
        name = compiled.get_name()
        if name not in self._known:
            met = self._met[name] = threading.Event()
            self._known[name] = None
            # Before the thread is started, which would else read twice.
            self._wake.set()
            self._ensure()
            self._meet(met)
        return _lay(compiled, self, name)

    def texts(self, name: str) -> Texts:
        """The texts in force for the graph named `name`, as they were last read. Asks nobody, and raises nothing."""
        self._ensure()
        if self._clock() - self._heard > _LATE * self._every:
            self._warn("has not answered for some time")
        known = self._known.get(name)
        return {} if known is None else known.texts

    def refresh(self) -> None:
        """Read the registry now. What goes wrong is logged, and leaves the texts as they were."""
        with self._reading:
            failed = False
            for name in tuple(self._known):
                try:
                    self._known[name] = read_label(self._registry, name, self._label, self._known[name])
                except Exception as error:  # noqa: BLE001  whatever a registry raises, requests go on
                    failed = True
                    # The type and no more: the message may hold an address with a password.
                    self._warn(f"could not be read for the graph {name!r} ({type(error).__name__})")
                self._met.setdefault(name, threading.Event()).set()
            if self._warned and not failed:
                self._warned = False
                _LOG.info("the prompt registry answers again")
            self._heard = self._clock()

    def close(self) -> None:
        """Follow the label no longer; graphs that are attached keep the texts last known."""
        self._closed.set()
        self._wake.set()

    # The thread

    def _begin(self) -> None:
        """Everything that a process cannot take over from the one it was forked from."""
        self._pid = os.getpid()
        self._heard = self._clock()
        self._reading = threading.Lock()
        self._starting = threading.Lock()
        self._wake, self._closed = threading.Event(), threading.Event()
        self._met = {name: threading.Event() for name in self._known}
        self._thread: threading.Thread | None = None

    def _ensure(self) -> None:
        """See to it that the thread runs, in this process."""
        if self._pid != os.getpid():
            self._begin()
        # Where another thread is starting it, there is nothing to wait for.
        if self._thread is None and self._known and self._starting.acquire(blocking=False):
            try:
                if self._thread is None:
                    wake = self._wake
                    follower = weakref.ref(self, lambda _: wake.set())
                    arguments = (follower, wake, self._closed, self._wait, self._every)
                    thread = threading.Thread(target=_follow, args=arguments, name="textgrad-lg-follow", daemon=True)
                    self._thread = thread
                    thread.start()
            finally:
                self._starting.release()

    def _meet(self, met: threading.Event) -> None:
        """Wait for the first reading, where waiting blocks nobody else."""
        if not in_loop() and not met.wait(PATIENCE):
            self._warn("has not answered yet")

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            _LOG.warning(
                "the prompt registry %s; graphs run on with the texts last known under %r, or with their own",
                what,
                self._label,
            )


def _follow(
    follower: weakref.ref[Follower],
    wake: threading.Event,
    closed: threading.Event,
    wait: Callable[[threading.Event, float], bool],
    every: float,
) -> None:
    """The thread: reads at once and then every so often, for as long as somebody holds the Follower."""
    while True:
        # First of all: what is set after it is seen below, or ends the wait.
        wake.clear()
        found = follower()
        if found is None or closed.is_set():
            return
        found.refresh()
        del found
        wait(wake, every)


@dataclass(slots=True)
class Attachment:
    """A graph with the registry's texts over it; `detach` makes it again what it was. Also a context manager."""

    graph: Pregel[Any, Any, Any, Any]
    follower: Follower
    _source: _Source = field(repr=False)

    def detach(self) -> None:
        """Take the texts off. Does nothing where they are off, or where another attachment took this one's place.

        Runs that have begun end with the texts they began with.
        """
        if self.graph.__dict__.get("texts_source") is not self._source:
            return
        self.graph.__class__ = cast("Any", self._source.plain)
        if self._source.below is None:
            del vars(self.graph)["texts_source"]
        else:
            vars(self.graph)["texts_source"] = self._source.below

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


@dataclass(frozen=True, slots=True)
class _Source:
    """What an attached graph asks for its texts; also how to make the graph what it was."""

    follower: Follower
    name: str
    plain: type[Any]
    below: Callable[[], Texts] | None

    def __call__(self) -> Texts:
        texts = self.follower.texts(self.name)
        return texts if self.below is None else merge(self.below(), texts)


def _lay(graph: Pregel[Any, Any, Any, Any], follower: Follower, name: str) -> Attachment:
    # The class is read first and written last. So a run that starts meanwhile finds the class and all that it needs, and
    # of two threads that attach the same graph both learn what it was.
    plain, below = type(graph), graph.__dict__.get("texts_source")
    if isinstance(below, _Source):
        plain, below = below.plain, below.below
    source = _Source(follower, name, plain, below)
    bound = bind(graph, source)
    vars(graph)["texts_source"] = source
    graph.__class__ = cast("Any", type(bound))
    return Attachment(graph, follower, source)
