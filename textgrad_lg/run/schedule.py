"""Schedule: the one place that holds how much goes on at once."""

from __future__ import annotations

import asyncio
import contextvars
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, TypeVar

from textgrad_lg.executor import Threads
from textgrad_lg.overlay.limits import Limits, Places
from textgrad_lg.replay.flight import Flight, Flights

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

T = TypeVar("T")


_IN_JOB: ContextVar[bool] = ContextVar("textgrad_lg_job", default=False)


class Schedule:
    """Runs jobs side by side, at most `limit` at a time, and calls of blocking code in threads of its own.

    The limit is that of all jobs together, however many gathers there are. Jobs that a job gathers count as that job:
    they would wait for places that are held until they are done. Calls of models have a limit of their own, `limits`,
    which they meet in the overlay.

    A sync graph runs in these threads and not in the event loop's default ones, of which there are only a few more
    than cores: on a small machine those would hold the rollouts back without a word.

    Args:
        limit: Jobs at a time.
        calls: Calls of one model under way at a time; None for as many as its server bears.
        share: Whether calls that ask the same while one of them is under way are one call.

    Attributes:
        limits: Where calls of models wait for their turn.
        flights: The calls under way that are made once for all who ask the same.
    """

    def __init__(self, limit: int, calls: int | None = None, *, share: bool = True) -> None:
        self._limit = limit
        self._jobs = Places(limit)
        self._threads = Threads(limit)
        self.limits = Limits(calls)
        self.flights = Flights()
        self._share = share

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Threads that wait for a place find the run over, and end.
        self.limits.close()
        if error is None:
            self._threads.shutdown()
        else:
            # After Ctrl-C the calls under way end by themselves; waiting for them would look like a hang.
            self._threads.leave()

    async def gather(self, jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """The jobs' results, in the jobs' order.

        Raises:
            BaseException: Of the jobs that raised, the exception of the first in order. The others under way have
                ended by then; those not yet begun are dropped.
        """
        places = Places(self._limit) if _IN_JOB.get() else self._jobs
        stop = False

        async def one(job: Callable[[], Awaitable[T]]) -> T | None:
            nonlocal stop
            _IN_JOB.set(True)  # in this task and those it starts
            place = places.ask()
            try:
                if place.future is not None:
                    await asyncio.wrap_future(place.future)
                if stop:
                    return None
                try:
                    return await job()
                except BaseException:
                    stop = True
                    raise
            finally:
                place.leave()

        results: list[Any] = await asyncio.gather(*(one(job) for job in jobs), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results

    def flight(self, example: str) -> Flight | None:
        """What is under way for the rollouts of an example; None where each makes all its calls."""
        return self.flights.about(example) if self._share else None

    async def in_thread(self, call: Callable[[], T]) -> T:
        """What `call` returns, run in a thread that carries the caller's context."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, call)
