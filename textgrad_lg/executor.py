"""Threads that nobody has to wait for when a run is stopped."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from typing_extensions import override

from textgrad_lg.overlay import overlay
from textgrad_lg.threads import prepared, workers

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """At most `limit` threads, which can be left behind.

    The standard pool's threads are joined when the interpreter ends, so that after Ctrl-C the process would hang until
    the last model has answered. These are not. By class it is a `ThreadPoolExecutor`, because an event loop takes
    nothing else as its default executor; of that class only the interface is used.

    Args:
        limit: Threads at most.
        name: What their names begin with.
    """

    def __init__(self, limit: int, name: str = "textgrad-lg") -> None:
        super().__init__(limit)
        self._limit, self._name = limit, name
        self._guard = threading.Lock()
        self._todo: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._unfinished = 0
        self._closed = self._left = False

    @override
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` in one of the threads.

        Raises:
            RuntimeError: The pool was shut down.
        """
        future: Future[T] = Future()
        with self._guard:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._todo.put((future, prepared(partial(fn, *args, **kwargs))))
            self._unfinished += 1
            if len(self._workers) < min(self._limit, self._unfinished):
                name = f"{self._name}-{len(self._workers)}"
                worker = threading.Thread(target=self._work, name=name, daemon=True)
                self._workers.append(worker)
                with workers():
                    worker.start()
        return future

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. Waits for those under way, unless `wait` is False or the threads were left before."""
        with self._guard:
            self._closed = True
            if cancel_futures:
                self._drop()
            for _ in self._workers:
                self._todo.put(None)
        if wait and not self._left:
            for worker in self._workers:
                worker.join()

    def leave(self) -> None:
        """Drop what has not begun, and let what has begun end by itself."""
        self._left = True
        self.shutdown(wait=False, cancel_futures=True)

    def _drop(self) -> None:
        while True:
            try:
                job = self._todo.get_nowait()
            except Empty:
                return
            if job is not None:
                job[0].cancel()

    def _work(self) -> None:
        while (job := self._todo.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    # A call that outlives its run must still be metered, or it would call models unseen: while it runs,
                    # this keeps the wrappers on. Which texts and which meter are in force, its own context says.
                    with overlay():
                        result = call()
                except BaseException as error:  # noqa: BLE001  handed to whoever waits for the future
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            with self._guard:
                self._unfinished -= 1
            del job, future, call  # a thread that waits must not keep alive what it has done
