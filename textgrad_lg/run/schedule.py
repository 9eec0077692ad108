"""Schedule: the one place that holds how much goes on at once."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, Self, TypeVar

from textgrad_lg.executor import Threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

T = TypeVar("T")


class Schedule:
    """Runs jobs side by side, at most `limit` at a time, and calls of blocking code in threads of its own.

    A sync graph runs in these threads and not in the event loop's default ones, of which there are only a few more
    than cores: on a small machine those would hold the rollouts back without a word.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._threads = Threads(limit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        places = asyncio.Semaphore(self._limit)
        stop = False

        async def one(job: Callable[[], Awaitable[T]]) -> T | None:
            nonlocal stop
            async with places:
                if stop:
                    return None
                try:
                    return await job()
                except BaseException:
                    stop = True
                    raise

        results: list[Any] = await asyncio.gather(*(one(job) for job in jobs), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results

    async def in_thread(self, call: Callable[[], T]) -> T:
        """What `call` returns, run in a thread that carries the caller's context."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, call)
