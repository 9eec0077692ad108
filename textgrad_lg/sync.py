"""Running a coroutine from sync code: anywhere, and so that Ctrl-C ends it soon and says how to go on.

Clients of models keep their connections for the process (langchain_openai does), and a connection belongs to the event loop
that it was opened on. So the event loop outlives the call: the next call from the main thread, or from within a running
loop, goes on with the same one.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import sys
import threading
from concurrent.futures import wait
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from textgrad_lg.executor import Threads

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

_THREADS = 64
"""Threads at most for what is handed to the event loop's own pool: sync evaluators, sync nodes of async graphs."""
_LOOK = 0.1
"""Seconds between two looks at whether somebody wants the run to stop."""


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result, inside a running event loop (a notebook, say) as well as outside of one.

    Where Ctrl-C ends it, what the coroutine noted on its exception is printed to standard error.

    Raises:
        BaseException: What the coroutine raised, the very object.
    """
    job = _Job(coroutine)
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    try:
        return _here(job) if task is None and not in_loop() else _beside(job, task)
    except (KeyboardInterrupt, asyncio.CancelledError):
        for note in job.notes:
            print(note, file=sys.stderr)  # noqa: T201  a traceback may be shown without notes, or not at all
        raise


class _Loop:
    """An event loop that is kept from call to call, for one call at a time."""

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._runner: asyncio.Runner | None = None

    def take(self) -> bool:
        """Whether it is the taker's now."""
        return self._free.acquire(blocking=False)

    def give_back(self) -> None:
        """Let others take it."""
        self._free.release()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result. Whoever calls has taken the loop, and calls from one and the same thread each time."""
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        threads = Threads(_THREADS)
        self._runner.get_loop().set_default_executor(threads)
        try:
            result = self._runner.run(_alone(coroutine), context=contextvars.copy_context())
        except BaseException as error:
            # The loop waits for its pool when it is closed; after Ctrl-C it must not.
            threads.leave()
            if not isinstance(error, Exception):
                self.close()
            raise
        threads.shutdown()
        return result

    def end(self) -> None:
        """Close it for good, unless it is in use. For the end of the process."""
        if self.take():
            self.close()

    def close(self) -> None:
        """Close it; the next call makes another."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()


@cache
def _main_loop(process: int) -> _Loop:  # noqa: ARG001  a fork has no use for its parent's loop
    """The loop of calls from the main thread."""
    return _until_the_end(_Loop())


@cache
def _side(process: int) -> tuple[_Loop, Threads]:  # noqa: ARG001  as above
    """The loop of calls from within running loops, and the one thread that it runs in."""
    return _until_the_end(_Loop()), Threads(1, "textgrad-lg-run")


def _until_the_end(loop: _Loop) -> _Loop:
    atexit.register(loop.end)
    return loop


class _Job:
    """A coroutine that is run in an event loop, and can be cancelled from another thread."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self.notes: list[str] = []

    def run(self, loop: _Loop | None = None) -> Any:
        """Run on `loop`, or on one that is closed afterwards."""
        if loop is not None:
            return loop.run(self._noted())
        own = _Loop()
        try:
            return own.run(self._noted())
        finally:
            own.close()

    def cancel(self) -> None:
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def _noted(self) -> Any:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        awake = asyncio.create_task(_stay_awake())
        try:
            return await self._coroutine
        except asyncio.CancelledError as error:
            # Taken off it, or they would be shown a second time in its traceback.
            self.notes += getattr(error, "__notes__", ())
            error.__notes__ = []
            raise
        finally:
            awake.cancel()


async def _alone(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await the coroutine, and leave no task on the loop."""
    try:
        return await coroutine
    finally:
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _stay_awake() -> None:
    # Python handles a signal between two steps of its own code. One that comes just before the event loop falls asleep
    # does not wake it, and Ctrl-C would wait for the next reply of a model.
    while True:  # noqa: ASYNC110  nothing is waited for; an Event would not wake the loop
        await asyncio.sleep(_LOOK)


def in_loop() -> bool:
    """Whether this thread has a running event loop, which a call that waits would block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def is_stale(error: BaseException | None) -> bool:
    """Whether a client failed because its connection belongs to an event loop that was closed before."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, RuntimeError) and str(error) == "Event loop is closed":
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _here(job: _Job) -> Any:
    """Run in this thread."""
    if threading.current_thread() is not threading.main_thread():
        return job.run()
    loop = _main_loop(os.getpid())
    if not loop.take():
        return job.run()
    try:
        return job.run(loop)
    finally:
        loop.give_back()


def _beside(job: _Job, task: asyncio.Task[Any] | None) -> Any:
    """Run in a thread, because this one has a running loop already."""
    loop, thread = _side(os.getpid())
    kept = loop.take()
    if not kept:
        # It is in use: by another thread, or by the very run that calls from within itself.
        thread = Threads(1, "textgrad-lg-run")
    ended = thread.submit(contextvars.copy_context().run, job.run, loop if kept else None)
    asked = 0 if task is None else task.cancelling()
    try:
        while not wait([ended], timeout=_LOOK).done:
            # Ctrl-C cancels the task that called us, which cannot notice while it waits here.
            if task is not None and task.cancelling() > asked:
                asked = task.cancelling()
                job.cancel()
        return ended.result()
    except KeyboardInterrupt:
        job.cancel()
        wait([ended])
        raise
    finally:
        if kept:
            loop.give_back()
        else:
            thread.shutdown(wait=False)
