"""A run on a server of which every fifth answer fails comes to the right result, and its spend is what the server counted."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.faults import world
from tests.faults.server import CONTENT, OK, TRANSPORT, Faults, serving, unverified
from textgrad_lg import TGD, MemoryRegistry, Settings, Strategy, aoptimize, optimize
from textgrad_lg.errors import BudgetError
from textgrad_lg.events import ExampleScored
from textgrad_lg.llm import ask
from textgrad_lg.record import record
from textgrad_lg.run import patience

pytestmark = [
    pytest.mark.loopback,
    # LangChain keeps clients, and their connections, for the process; a reply that is cut off leaves one behind.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    import openai._base_client as client

    monkeypatch.setattr(client.BaseClient, "_calculate_retry_timeout", lambda *_, **__: 0.01)
    monkeypatch.setattr(patience, "_PAUSE", 0.01)
    monkeypatch.setattr("textgrad_lg.llm._wait", lambda *_: 0.01)


def fates(share, seed=1):
    """Any call may meet a fault of the network; what a critic says may be of no use besides."""
    chance = random.Random(seed)

    def fate(at, body):
        if chance.random() >= share:
            return OK
        return chance.choice(TRANSPORT + (CONTENT if body["model"] == "critic" else ()))

    return fate


def models(faults, **options):
    given: dict[str, Any] = {"base_url": faults.url, "api_key": SecretStr("key"), "max_tokens": 100}
    given |= {**unverified(faults.url), **options}
    made = [ChatOpenAI(model=name, **given) for name in ("worker", "critic")]
    return made[0], made[1]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_every_fifth_call_fails(asynchronous):
    faults = Faults(plan=fates(0.2), answer=world.answer, hang=20)
    with serving(faults):
        worker, critic = models(faults, timeout=0.5)
        result = optimize(
            world.graph(worker, asynchronous=asynchronous),
            world.evals(24),
            model=critic,
            optimizer=TGD(),
            budget="5000 calls",
            settings=Settings(strategy=Strategy.CHAIN, steps=1, batch=6, concurrency=16),
            registry=MemoryRegistry(),
        )
        assert result.improved
        assert result.test.after == 1.0
        assert result.spend.total.calls == faults.count
    assert result.spend.unwatched == ()
    met = {fate for fate in faults.seen if fate != OK}
    assert len(met) >= 6


def test_a_fault_that_stays_is_the_rollouts_error_and_spend_is_exact_all_the_same():
    down = Faults(plan=lambda at, body: "503", answer=world.answer)
    with serving(down):
        worker, critic = models(down, max_retries=1)
        result = optimize(
            world.graph(worker),
            world.evals(12),
            model=critic,
            optimizer=TGD(),
            budget="500 calls",
            settings=Settings(strategy=Strategy.CHAIN, steps=1, batch=2, concurrency=4),
            registry=MemoryRegistry(),
        )
        assert not result.improved
        assert result.spend.total.calls == down.count > 0
        assert result.spend.total.output_tokens == 0


def test_a_storm_beyond_the_budget_stops_at_the_budget():
    faults = Faults(plan=fates(0.5), answer=world.answer)
    with serving(faults):
        worker, critic = models(faults, timeout=0.5)
        try:
            result = optimize(
                world.graph(worker),
                world.evals(24),
                model=critic,
                optimizer=TGD(),
                budget="200 calls",
                settings=Settings(strategy=Strategy.CHAIN, steps=1, batch=4, concurrency=8),
                registry=MemoryRegistry(),
            )
        except BudgetError:
            pass
        else:
            assert result.spend.total.calls == faults.count
        assert 0 < faults.count <= 200


def test_clocks_that_jump_change_nothing(monkeypatch):
    chance, real, traces = random.Random(3), time.time, []

    def jumping():
        return real() + chance.choice([-86_400.0, -3.0, 0.0, 7_200.0])

    monkeypatch.setattr(time, "time", jumping)
    for function in (record, ask):  # which have taken hold of it by now
        monkeypatch.setitem(function.__kwdefaults__, "clock", jumping)
    faults = Faults(answer=world.answer)
    with serving(faults):
        worker, critic = models(faults)
        result = optimize(
            world.graph(worker),
            world.evals(24),
            model=critic,
            optimizer=TGD(),
            budget="2000 calls, 10 minutes",
            settings=Settings(strategy=Strategy.CHAIN, steps=1, batch=6, concurrency=8),
            registry=MemoryRegistry(),
            callbacks=[lambda event: traces.append(event.trace) if isinstance(event, ExampleScored) else None],
        )
    assert result.improved
    assert 0 <= result.spend.seconds < 600
    assert result.spend.total.calls == faults.count
    assert traces
    assert all(0 <= span.start <= span.end < 600 for trace in traces for span in trace.spans)


async def _until(deadline, run):
    async with deadline:
        return await run


async def test_a_cancelled_run_leaves_no_task_goes_on_and_counts_all_calls(tmp_path):
    faults = Faults(plan=fates(0.2), answer=world.answer, hang=20)
    with serving(faults):
        worker, critic = models(faults, timeout=0.5)
        options = {
            "model": critic,
            "optimizer": TGD(),
            "budget": "5000 calls",
            "settings": Settings(strategy=Strategy.CHAIN, steps=1, batch=6, concurrency=8),
            "registry": MemoryRegistry(),
            "run_dir": tmp_path / "run",
        }
        sought, before = world.graph(worker, asynchronous=True), asyncio.all_tasks()
        for stop_at, raised in ((20, asyncio.CancelledError), (60, TimeoutError)):
            deadline = asyncio.timeout(None)
            task = asyncio.create_task(_until(deadline, aoptimize(sought, world.evals(24), **options)))
            while faults.count < stop_at and not task.done():  # noqa: ASYNC110  the server counts in another thread
                await asyncio.sleep(0.005)
            if raised is TimeoutError:
                deadline.reschedule(asyncio.get_running_loop().time())
            else:
                task.cancel()
            with pytest.raises(raised):
                await task
            assert asyncio.all_tasks() == before
        result = await aoptimize(sought, world.evals(24), **options)
        assert result.improved
        assert result.spend.total.calls == faults.count
        assert asyncio.all_tasks() == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("textgrad-lg-evaluator")]
