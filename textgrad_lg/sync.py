"""Running a coroutine from sync code: anywhere, and so that Ctrl-C ends it soon and says how to go on."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
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
        return job.run() if task is None and not in_loop() else _beside(job, task)
    except (KeyboardInterrupt, asyncio.CancelledError):
        for note in job.notes:
            print(note, file=sys.stderr)  # noqa: T201  a traceback may be shown without notes, or not at all
        raise


class _Job:
    """A coroutine that is run in an event loop of its own, and can be cancelled from another thread."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self.notes: list[str] = []

    def run(self) -> Any:
        with asyncio.Runner() as runner:
            threads = Threads(_THREADS)
            runner.get_loop().set_default_executor(threads)
            try:
                return runner.run(self._noted())
            except BaseException:
                # The loop waits for its pool when it is closed; after Ctrl-C it must not.
                threads.leave()
                raise

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


def _beside(job: _Job, task: asyncio.Task[Any] | None) -> Any:
    """Run in a thread, because this one has a running loop already."""
    found: list[Any] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            found.append(job.run())
        except BaseException as error:  # noqa: BLE001  handed to the caller's thread, where it is raised again
            raised.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="textgrad-lg-run", daemon=True)
    thread.start()
    asked = 0 if task is None else task.cancelling()
    try:
        while thread.is_alive():
            thread.join(_LOOK)
            # Ctrl-C cancels the task that called us, which cannot notice while it waits here.
            if task is not None and task.cancelling() > asked:
                asked = task.cancelling()
                job.cancel()
    except KeyboardInterrupt:
        job.cancel()
        thread.join()
        raise
    if raised:
        raise raised[0]
    return found[0]
