"""What becomes of the context when code starts threads of its own.

LangChain's and LangGraph's executors, and `asyncio.to_thread`, copy the context of their caller. `Thread.start` and
`ThreadPoolExecutor.submit` do not: what runs there is outside any recording and overlay. Both methods are patched while
somebody asks for it, either to carry the context along (`carry_context`) or to be told of it (`watched`).
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")

Call = Callable[[], Any]
Watch = Callable[[Call], Call]
"""Given what is about to run in another thread; returns what to run there instead."""


def running_loop() -> int | None:
    """Stands for the event loop that runs in this thread; None where there is none."""
    loop = asyncio._get_running_loop()  # noqa: SLF001  as `get_running_loop`, without an exception for None
    return None if loop is None else id(loop)


class carry_context:  # noqa: N801  used like a function, as `open` is
    """Carry the context into threads that code starts by itself, from this call on.

    Graphs whose nodes or tools use `ThreadPoolExecutor`, `threading.Thread` or `loop.run_in_executor` directly lose the
    context there: model calls in such threads are not recorded, get no new text, and are not counted by a budget. While
    this is on, whatever is handed to such a thread, anywhere in the process, runs in a copy of the context of whoever
    handed it over, as with LangChain's own executors. Nothing else changes: futures, exceptions, daemon threads and
    subclasses are what they were.

    It is on from the call to `close()`, or to the end of a `with` block; without either, for good. It may be asked for
    any number of times, and is off when every one of them is closed.

    Not reached are threads that were started before, pools of processes, `multiprocessing.pool.ThreadPool`, executors
    that hand work over by another way than `ThreadPoolExecutor.submit`, and `_thread.start_new_thread`.

    Example:
        >>> number = ContextVar("number", default=0)
        >>> _ = number.set(1)
        >>> with ThreadPoolExecutor() as pool:
        ...     with carry_context():
        ...         print(pool.submit(number.get).result())
        ...     print(pool.submit(number.get).result())
        1
        0
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = True
        _PATCH.open(None)

    def close(self) -> None:
        """Stop carrying the context on behalf of this call; does nothing the second time."""
        with self._lock:
            still, self._open = self._open, False
        if still:
            _PATCH.close(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class watched:  # noqa: N801  used like a function
    """Hand everything that is about to run in a thread, anywhere in the process, to `watch` first, inside a `with` block.

    It is asked in the context of whoever starts the work, and not where `carry_context` is on: nothing is lost there.
    """

    # No generator: each recording opens one.
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __enter__(self) -> None:
        _PATCH.open(self._watch)

    def __exit__(self, *_: object) -> None:
        _PATCH.close(self._watch)


def prepared(call: Callable[[], T]) -> Callable[[], T]:
    """What to run in another thread in place of `call`, for an executor that hands work over by a way of its own."""
    return _PATCH.prepared(call)


@contextmanager
def workers() -> Generator[None]:
    """Mark that threads started inside belong to a pool: they outlive the work that they are started for.

    What they run is prepared piece by piece, so neither the context nor a watch must stick to the thread itself.
    """
    token = _WORKERS.set(True)
    try:
        yield
    finally:
        _WORKERS.reset(token)


_WORKER = getattr(concurrent.futures.thread, "_worker", None)
_STARTS = "_adjust_thread_count"
"""What the threads of Python's own pools run, and the method that starts them. Where either has another name in some
version of Python, or a subclass has one of its own, a pool's threads are known by `workers` instead, which takes longer."""

_WORKERS: ContextVar[bool] = ContextVar("textgrad_lg_workers", default=False)


class _Method:
    """A method of a class and its wrapper, which is made once: each recording puts it on, and takes it off."""

    __slots__ = ("_make", "_name", "_original", "_owner", "_wrapper")

    def __init__(self, owner: type[Any], name: str, make: Callable[[Any], Any]) -> None:
        self._owner, self._name, self._make = owner, name, make
        self._original = self._wrapper = None

    def wrap(self) -> None:
        """Put the wrapper on."""
        original = self._owner.__dict__[self._name]
        if original is not self._original:
            # The first time, or somebody else has put a wrapper of their own there.
            self._original, self._wrapper = original, self._make(original)
        setattr(self._owner, self._name, self._wrapper)

    def unwrap(self) -> None:
        """Put back what was there, unless somebody else has patched on top."""
        if self._owner.__dict__.get(self._name) is self._wrapper:
            setattr(self._owner, self._name, self._original)


class _Patch:
    """`Thread.start` and `ThreadPoolExecutor.submit`, wrapped while somebody asks for it.

    Where somebody else has patched on top meanwhile, a wrapper stays below that, and does nothing from then on.
    """

    def __init__(self) -> None:
        # Who asks: None for `carry_context`. Read without the lock, and so never changed, only replaced.
        self._asked: tuple[Watch | None, ...] = ()
        self._times: dict[Watch | None, int] = {}
        self._methods = (_Method(threading.Thread, "start", _start), _Method(ThreadPoolExecutor, "submit", _submit))
        # Reentrant: the garbage collector may close an abandoned recording at any allocation.
        self._lock = threading.RLock()

    def open(self, who: Watch | None) -> None:
        with self._lock:
            times = self._times.get(who, 0)
            self._times[who] = times + 1
            if not times:
                if not self._asked:
                    for method in self._methods:
                        method.wrap()
                self._asked = (*self._asked, who)

    def close(self, who: Watch | None) -> None:
        with self._lock:
            self._times[who] -= 1
            if not self._times[who]:
                del self._times[who]
                self._asked = tuple(self._times)
                if not self._asked:
                    for method in self._methods:
                        method.unwrap()

    def prepared(self, call: Callable[[], T]) -> Callable[[], T]:
        asked = self._asked
        if None in asked:
            return partial(copy_context().run, call)
        for watch in asked:
            if watch is not None:
                call = watch(call)
        return call


def _start(original: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @wraps(original)
    def start(self: threading.Thread) -> None:
        run = self.run
        call = run if _WORKERS.get() or _is_worker(self) else _PATCH.prepared(run)
        if call is run:
            original(self)
            return
        own = self.__dict__.get("run")

        def prepared_run() -> None:
            _put_back(self, own)
            call()

        # On the thread object, and not on its class: subclasses override `run`.
        self.__dict__["run"] = prepared_run
        try:
            original(self)
        except BaseException:
            _put_back(self, own)
            raise

    return start


def _is_worker(thread: threading.Thread) -> bool:
    """Whether a thread belongs to one of Python's own pools, by what it runs; such pools need no `workers`."""
    return _WORKER is not None and thread.__dict__.get("_target") is _WORKER


def _put_back(thread: threading.Thread, own: Any) -> None:
    if own is None:
        thread.__dict__.pop("run", None)
    else:
        thread.__dict__["run"] = own


def _enters_context(call: Callable[..., Any]) -> bool:
    """Whether work brings its own context, whatever is prepared around it: LangChain's, LangGraph's and asyncio's does."""
    inner = call.func if isinstance(call, partial) else call
    return type(getattr(inner, "__self__", None)) is Context


def _submit(original: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    # From Python 3.14 on, one kind of thread pool runs its calls in interpreters of their own, which share no context.
    isolated: type[Any] | None = getattr(concurrent.futures, "InterpreterPoolExecutor", None)

    own = getattr(ThreadPoolExecutor, _STARTS, original)

    @wraps(original)
    def submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        # LangGraph runs each sync node of an async graph through here.
        enters = _enters_context(fn)
        if enters and _WORKER is not None and getattr(type(self), _STARTS, None) is own:
            return original(self, fn, *args, **kwargs)
        ready: Call | None = None
        if callable(fn) and not enters and not (isolated is not None and isinstance(self, isolated)):
            call: Call = partial(fn, *args, **kwargs)
            prepared = _PATCH.prepared(call)
            ready = None if prepared is call else prepared
        token = _WORKERS.set(True)  # as `workers` does, in less time: pools are used in hot places
        try:
            return original(self, fn, *args, **kwargs) if ready is None else original(self, ready)
        finally:
            _WORKERS.reset(token)

    return submit


_PATCH = _Patch()
"""The patch of this process; back to nothing when nobody asks for it any more."""
