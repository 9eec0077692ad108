"""Running a coroutine from sync code: anywhere, on one event loop, and so that Ctrl-C ends it soon and says how to go on.

Clients of models keep their connections for the process, and a connection belongs to the event loop that it was opened on.
A loop for each call would leave the next call connections of a loop that is closed. So there is one for the process, in a
thread of its own, and each call is a job on it. Only where that loop is held up by whoever calls, or for them, the job gets
a loop that is closed after it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import WeakSet

from typing_extensions import override

from textgrad_lg.executor import Threads
from textgrad_lg.threads import workers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 64
"""Threads at most for what a job hands to the event loop's own pool: sync evaluators, sync nodes of async graphs."""
_LOOK = 0.1
"""Seconds between two looks at whether somebody wants the run to stop."""
_HELD_UP = 1.0
"""Seconds after which a loop that has not begun a job is taken to be held up: by code that may be waiting for the job."""
_CLOSED = "Event loop is closed"
_WHY_CLOSED = (
    "textgrad_lg: the model's client has kept connections of an event loop that is closed by now, as after an "
    "asyncio.run(...) that has called it before. Make all calls in one event loop (the async twin of this function, awaited "
    "inside that asyncio.run), or make this call again: each failure rids the client of one such connection."
)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result, inside a running event loop (a notebook, say) as well as outside of one.

    It runs in a copy of the caller's context, in another thread. Tasks that it leaves behind are cancelled. Where Ctrl-C
    ends it, what the coroutine noted on its exception is printed to standard error.

    Raises:
        BaseException: What the coroutine raised, the very object.
    """
    job = _Job(coroutine)
    try:
        return job.run()
    except (KeyboardInterrupt, asyncio.CancelledError):
        for note in job.notes:
            print(note, file=sys.stderr)  # noqa: T201  a traceback may be shown without notes, or not at all
        raise
    except Exception as error:
        if is_stale(error) and _WHY_CLOSED not in getattr(error, "__notes__", ()):
            error.add_note(_WHY_CLOSED)
        raise


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
        if isinstance(error, RuntimeError) and str(error) == _CLOSED:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


class _Job:
    """A coroutine, the thread that waits for it, and what belongs to it on the loop.

    Attributes:
        pool: Threads for what it hands to the loop's own pool.
        tasks: Its tasks, those that they started included.
        ended: Set when nothing of it is left on the loop.
        stopped: Whether it was asked to stop.
        notes: What it noted when it was cancelled.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._context = copy_context()
        self._outer = _JOB.get()
        self._claimed = threading.Lock()
        self._begun = threading.Event()
        self._loop: _Loop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._error: BaseException | None = None
        self.pool = Threads(_THREADS)
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.ended = threading.Event()
        self.stopped = False
        self.notes: list[str] = []

    def run(self) -> Any:
        """Its result. Waits for it, and for the calls in its pool."""
        try:
            loop = _shared()
            if not self._offer(loop):
                loop = _Loop(only=True)
                loop.start()
                self._loop = loop
                loop.call(loop.begin, self)
            self._wait(loop)
            self._loop = None
            result = self._result()
            self.pool.shutdown()
        except BaseException:
            self._abandon()
            # Calls of models may be under way there; after Ctrl-C nobody waits for them.
            self.pool.leave()
            raise
        return result

    def claim(self) -> bool:
        """Whether it is the asker's to begin, or to close: the first one's who asks."""
        return self._claimed.acquire(blocking=False)

    def begin(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
        """Begin. On the loop."""
        # Not kept: its context holds the job, and would keep it alive.
        context, self._context = self._context, Context()
        context.run(_JOB.set, self)
        self._task = task = loop.create_task(self._noted(), context=context)
        if self.stopped:
            task.cancel()
        self._begun.set()
        return task

    def cancel(self) -> None:
        """Ask it to stop, from any thread."""
        self.stopped = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended, and its loop was its own
                self._loop.call(self._cancel)

    def fail(self, error: BaseException) -> None:
        """Stop it for what one of its tasks raised, which it then raises itself. On the loop."""
        self._error = self._error or error
        self._cancel()

    def end(self) -> None:
        """Take note that nothing of it is left. On the loop."""
        self._coroutine.close()  # for where it was cancelled before its first step
        self.ended.set()

    def _offer(self, loop: _Loop) -> bool:
        """Whether the loop has begun it."""
        if loop.is_held_up():
            return False
        self._loop = loop
        loop.call(loop.begin_claimed, self)
        if self._begun.wait(_HELD_UP) or not self.claim():
            return True
        self._loop = None
        loop.hold_up()
        return False

    def _wait(self, loop: _Loop) -> None:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        asked = 0 if task is None else task.cancelling()
        while not self.ended.wait(_LOOK):
            # Ctrl-C cancels the task that called us, which cannot notice while it waits here.
            if task is not None and task.cancelling() > asked:
                asked = task.cancelling()
                self.cancel()
            # A job that this one is a part of cannot cancel it where both wait for one thread.
            if self._outer is not None and self._outer.stopped and not self.stopped:
                self.cancel()
        loop.join()

    def _result(self) -> Any:
        task, self._task = self._task, None
        error, self._error = self._error, None
        assert task is not None
        try:
            if error is not None:
                raise error
            return task.result()
        finally:
            # What is raised knows this frame; if the frame knew it as well, both would stay.
            del task, error

    def _abandon(self) -> None:
        """See to it that nothing of it is left, where the thread that waited has been interrupted."""
        if self._loop is None or self.claim():
            self._coroutine.close()
            return
        self.cancel()
        while not self.ended.wait(_LOOK):
            pass
        self._loop.join()
        self._task = self._error = None

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _noted(self) -> Any:
        try:
            return await self._coroutine
        except asyncio.CancelledError as error:
            # Taken off it, or they would be shown a second time in its traceback.
            self.notes += getattr(error, "__notes__", ())
            error.__notes__ = []
            raise


_JOB: ContextVar[_Job | None] = ContextVar("textgrad_lg_job", default=None)
"""The job that runs in this context."""


class _Pools(Threads):
    """The loop's own pool: each job's calls go to the pool of that job, which can be left without the others'."""

    @override
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        job = _JOB.get()
        # A thread that lost its context may call in no job's name.
        return super().submit(fn, *args, **kwargs) if job is None else job.pool.submit(fn, *args, **kwargs)


class _Loop:
    """An event loop in a daemon thread: nothing waits for it when the interpreter ends.

    Args:
        only: Whether it is for one job, and closed after it.
    """

    def __init__(self, *, only: bool = False) -> None:
        self._only, self._over = only, False
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._jobs: list[_Job] = []
        self._held_up = False

    def start(self) -> None:
        """Start it, where it is not started yet."""
        with self._guard:
            if self._thread is None:
                self._loop = asyncio.new_event_loop()
                self._pools = _Pools(_THREADS, name="textgrad-lg-other")
                thread = threading.Thread(target=self._serve, name="textgrad-lg-loop", daemon=True)
                with workers():
                    thread.start()
                self._thread = thread

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function soon, on the loop and in no job's name."""
        self._loop.call_soon_threadsafe(function, *args, context=Context())

    def is_held_up(self) -> bool:
        """Whether it cannot begin a job now. Asked from its own thread, that is so until the asker has ended."""
        assert self._thread is not None
        if threading.get_ident() == self._thread.ident:
            self.hold_up()
        return self._held_up

    def hold_up(self) -> None:
        """Take it to be held up until it comes round to its next step."""
        self._held_up = True
        self.call(setattr, self, "_held_up", False)

    def begin_claimed(self, job: _Job) -> None:
        """Begin a job, where nobody has taken it back. On the loop."""
        if job.claim():
            self.begin(job)

    def begin(self, job: _Job) -> None:
        """Begin a job. On the loop."""
        if not self._jobs:
            # As a new one would be, whatever the job before has set.
            self._loop.set_task_factory(self._task)
            self._loop.set_default_executor(self._pools)
            self._loop.set_exception_handler(None)
        self._jobs.append(job)
        job.begin(self._loop).add_done_callback(lambda _: self._settle(job))

    def join(self) -> None:
        """Wait until it is closed, if it is for one job."""
        if self._only and self._thread is not None:
            self._thread.join()

    def _serve(self) -> None:
        while not self._over:
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as error:
                # Raised in a task, they end the loop's turn as well; only the task's job is meant.
                for job in [job for job in self._jobs if _raised(job, error)] or self._jobs:
                    job.fail(error)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _settle(self, job: _Job) -> None:
        """End a job once nothing of it is left."""
        if left := self._left(job):
            for task in left:
                task.cancel()
            asyncio.gather(*left, return_exceptions=True).add_done_callback(lambda _: self._swept(job, left))
            return
        self._jobs.remove(job)
        job.end()
        if self._only:
            self._over = True
            self._loop.stop()

    def _swept(self, job: _Job, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                message = "a task that was left behind raised an exception when it was cancelled"
                self._loop.call_exception_handler({"message": message, "exception": error, "task": task})
        self._settle(job)

    def _left(self, job: _Job) -> list[asyncio.Task[Any]]:
        """The job's tasks that go on; where there is no other job, all, as they may have been started without a context."""
        tasks = [task for task in asyncio.all_tasks(self._loop) if self._jobs == [job] or task in job.tasks]
        return [task for task in tasks if not _closes(task.get_coro())]

    def _task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """What makes the loop's tasks: notes to which job each belongs."""
        context: Context | None = options.get("context")
        job = _JOB.get() if context is None else context.get(_JOB)
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        if job is not None:
            job.tasks.add(task)
            if job.ended.is_set() and not _closes(coroutine):
                # Of a thread that was left behind. It found a closed loop, if the loop had been the job's alone.
                task.cancel()
        return task


def _raised(job: _Job, error: BaseException) -> bool:
    ended = (task for task in list(job.tasks) if task.done() and not task.cancelled())
    return any(task.exception() is error for task in ended)


def _closes(coroutine: object) -> bool:
    """Whether it closes an async generator that nobody reads on: Python's own doing, which ends by itself."""
    return type(coroutine).__name__ == "async_generator_athrow"


_LOOPS: dict[int, _Loop] = {}
"""The loop of each process: a fork has its parent's, which does not run there, and must not be closed there either."""


def _shared() -> _Loop:
    """The loop of this process."""
    loop = _LOOPS.setdefault(os.getpid(), _Loop())
    loop.start()
    return loop
