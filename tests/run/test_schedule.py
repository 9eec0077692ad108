import asyncio
import contextvars
import threading

import pytest

from textgrad_lg.run.schedule import Schedule


async def test_results_come_in_the_order_of_the_jobs_whatever_the_timing():
    gates = [asyncio.Event() for _ in range(4)]

    def job(at):
        async def run():
            if at < 3:
                await gates[at + 1].wait()
            gates[at].set()
            return at

        return run

    with Schedule(4) as schedule:
        assert await schedule.gather([job(at) for at in range(4)]) == [0, 1, 2, 3]


async def test_never_more_than_the_limit_at_once():
    now = most = 0

    async def job():
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    with Schedule(3) as schedule:
        await schedule.gather([job] * 20)
    assert most == 3


async def test_the_first_failure_is_raised_and_what_has_not_begun_is_dropped():
    begun = []

    def job(at):
        async def run():
            begun.append(at)
            if at == 1:
                raise KeyError("first")
            return at

        return run

    with Schedule(1) as schedule, pytest.raises(KeyError, match="first"):
        await schedule.gather([job(at) for at in range(5)])
    assert begun == [0, 1]


async def test_threads_carry_the_context_and_are_their_own():
    var = contextvars.ContextVar("var", default="none")
    var.set("caller")
    with Schedule(2) as schedule:
        assert await schedule.in_thread(lambda: (var.get(), threading.current_thread().name[:11])) == (
            "caller",
            "textgrad-lg",
        )


async def test_a_blocking_graph_gets_as_many_threads_as_the_limit():
    together = threading.Barrier(12, timeout=30)
    with Schedule(12) as schedule:
        await schedule.gather([lambda: schedule.in_thread(together.wait)] * 12)
