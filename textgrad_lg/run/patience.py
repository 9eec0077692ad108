"""Patience: how long a rollout or an evaluator is waited for, and how often a call that failed is made again."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from textgrad_lg.evals.call import Limit, limited
from textgrad_lg.executor import Threads
from textgrad_lg.run.schedule import Schedule
from textgrad_lg.run.target import Job, Ran, Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from textgrad_lg.run.metering import Watched

AGAIN = 5
"""How often a rollout is made whose model calls fail, where these may succeed later; its clients try again before that."""
_PAUSE = 0.5
"""Seconds before the second time; before each further one, twice as many."""


@dataclass(frozen=True, slots=True)
class Patience(Limit):
    """How long things are waited for.

    Attributes:
        seconds: For each run of the graph and each evaluator; None for as long as they take.
    """

    seconds: float | None = None

    async def run(self, target: Target, job: Job, schedule: Schedule, meter: Watched) -> Ran:
        """What became of a job: where it takes too long, a TimeoutError. It then makes no further model call."""
        if self.seconds is None:
            return await target.run(job, schedule)
        deadline = asyncio.timeout(self.seconds)
        try:
            async with deadline:
                # A thread of its own: one that hangs is left behind, and takes nobody else's place.
                with Schedule(1) as own:
                    return await target.run(job, own)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            meter.stop()
            return Ran(None, None, self._too_long("the graph", error))

    def evaluators(self) -> AbstractContextManager[None]:
        """Have evaluators that are called inside the block waited for no longer."""
        return limited(self if self.seconds is not None else None)

    async def within(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """What `call` gives; see `Limit`.

        Raises:
            TimeoutError: It took too long.
        """
        deadline = asyncio.timeout(self.seconds)
        try:
            async with deadline:
                return await call()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise self._too_long("it", error) from None

    async def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What blocking code gives, run in this context and in a thread that can be left behind; see `Limit`."""
        threads = Threads(1, "textgrad-lg-evaluator")
        try:
            todo = partial(contextvars.copy_context().run, call, *arguments)
            return await asyncio.get_running_loop().run_in_executor(threads, todo)
        finally:
            threads.leave()

    def _too_long(self, what: str, cause: TimeoutError) -> TimeoutError:
        error = TimeoutError(
            f"{what} had not ended after {self.seconds:g} seconds, and was given up; for more, raise "
            f"Settings(timeout={self.seconds:g})"
        )
        error.__cause__ = cause
        return error


async def pause(times: int) -> None:
    """Wait before a rollout is made again that has failed so many times."""
    await asyncio.sleep(_PAUSE * 2 ** (times - 1))
