"""Calls that wait for room in the budget: how much of it is used, who goes first, and that nothing stands still."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from textgrad_lg.errors import BudgetExhausted
from textgrad_lg.overlay import overlay
from textgrad_lg.overlay.limits import Limits
from textgrad_lg.run.budget import Budget
from textgrad_lg.run.ledger import Ledger
from textgrad_lg.run.metering import Metering
from textgrad_lg.run.prices import Price, Prices
from textgrad_lg.types import ModelCall, Phase, Usage

TOGETHER = 30
"""Seconds after which a test that waits for others has failed."""
PRICES = Prices({"m": Price(1.0, 2.0)})


def metering(budget, **options):
    return Metering(Ledger(Budget.parse(budget), PRICES, **{"clock": lambda: 0.0, **options}), PRICES)


def call(sent=100, most=0):
    return ModelCall("test", "m", sent, most)


def tokens(kept):
    total = kept.ledger.spend.total
    return total.input_tokens + total.output_tokens


def waiting(taken) -> Future[None]:
    assert isinstance(taken, Future)
    assert not taken.done()
    return taken


class Model(BaseChatModel):
    """May write 1,000 tokens and writes 10. `gate` holds calls up; `began` is told of each."""

    model_name: str = "m"
    used: int = 10
    gate: Any = None
    began: Any = None
    inner: Any = None
    calls: list[str] = []  # noqa: RUF012  pydantic copies it

    @property
    def _llm_type(self) -> str:
        return "test"

    def _get_ls_params(self, stop=None, **kwargs) -> Any:
        return {"ls_provider": "test", "ls_model_name": "m", "ls_max_tokens": 1000}

    def _message(self, messages, kind: Any = AIMessage) -> Any:
        self.calls.append(messages[-1].text)
        return kind(
            "fine", usage_metadata=UsageMetadata(input_tokens=0, output_tokens=self.used, total_tokens=self.used)
        )

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        if self.began is not None:
            self.began.set()
        if self.inner is not None:
            self.inner.invoke(messages)
        if isinstance(self.gate, threading.Event):
            assert self.gate.wait(TOGETHER)
        return ChatResult(generations=[ChatGeneration(message=self._message(messages))])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        if self.began is not None:
            self.began.set()
        if self.inner is not None:
            await self.inner.ainvoke(messages)
        if isinstance(self.gate, asyncio.Event):
            await self.gate.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        return ChatResult(generations=[ChatGeneration(message=self._message(messages))])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        yield ChatGenerationChunk(message=AIMessageChunk(content="o"))
        yield ChatGenerationChunk(message=self._message(messages, AIMessageChunk))


# How much of a budget is used


def in_a_row(budget, used):
    kept, model = metering(budget), Model(used=used)
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        while True:
            try:
                model.invoke("")
            except BudgetExhausted:
                return kept.ledger.spend.total


@settings(max_examples=25)
@given(st.integers(1000, 4000), st.integers(20, 400), st.booleans())
def test_calls_side_by_side_use_as_much_of_a_budget_as_calls_in_a_row(limit, used, dollars):
    budget = Budget(usd=limit * 2e-6) if dollars else Budget(tokens=limit)
    most = in_a_row(budget, used)

    async def tasks():
        kept, model = metering(budget), Model(used=used)
        with overlay({}, meter=kept.meter(Phase.ROLLOUT), limits=Limits(None)):

            async def calls():
                while True:
                    await model.ainvoke("")

            async with asyncio.timeout(TOGETHER):
                ended = await asyncio.gather(*(calls() for _ in range(8)), return_exceptions=True)
        assert all(isinstance(error, BudgetExhausted) for error in ended)
        return kept.ledger.spend.total

    assert asyncio.run(tasks()) == most


def test_threads_side_by_side_use_as_much_of_a_budget_as_calls_in_a_row():
    most = in_a_row("3000 tokens", 10)
    assert most.calls == 201
    kept, model = metering("3000 tokens"), Model()

    def calls():
        with overlay({}, meter=kept.meter(Phase.ROLLOUT)), suppress(BudgetExhausted):
            while True:
                model.invoke("")

    with ThreadPoolExecutor(8) as pool:
        for ended in [pool.submit(calls) for _ in range(8)]:
            ended.result(TOGETHER)
    assert kept.ledger.spend.total == most


def test_what_was_waited_for_and_came_is_no_refusal():
    kept = metering("150 tokens")
    meter = kept.meter(Phase.ROLLOUT)
    ticket = meter.admit(call())
    asked = meter.ask([call()])
    future = waiting(asked.take())
    ticket.settle(10, 0)
    assert future.done()
    [second] = tickets(asked)
    meter.check()
    second.settle(None, None)
    assert tokens(kept) == 110
    with pytest.raises(BudgetExhausted, match="110 tokens spent; for more"):
        meter.ask([call()]).take()
    with pytest.raises(BudgetExhausted):
        meter.check()


def tickets(asked) -> Any:
    taken = asked.take()
    assert not isinstance(taken, Future)
    return taken


# Who is refused at once


def test_what_will_never_fit_waits_for_nothing():
    kept = metering("200 tokens")
    meter = kept.meter(Phase.ROLLOUT)
    meter.admit(call(50))
    with pytest.raises(BudgetExhausted, match="50 tokens reserved"):
        meter.ask([call(201)]).take()
    kept.ledger.hold(Phase.TEST, Usage(0, 100))
    with pytest.raises(BudgetExhausted, match="100 tokens kept"):
        meter.ask([call(101)]).take()
    waiting(meter.ask([call(100)]).take())


def test_what_calls_of_a_phase_give_back_goes_to_what_is_held_for_it():
    kept = metering("200 tokens")
    kept.ledger.hold(Phase.TEST, Usage(0, 150))
    kept.meter(Phase.TEST).admit(call(150))
    # Whatever that one leaves of its worst case is kept for the test.
    with pytest.raises(BudgetExhausted):
        kept.meter(Phase.ROLLOUT).ask([call(51)]).take()
    tickets(kept.meter(Phase.ROLLOUT).ask([call(50)]))


def test_a_batch_does_not_wait_for_itself():
    kept = metering("2500 tokens")
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)), pytest.raises(BudgetExhausted, match="these 3 calls"):
        Model().generate([[AIMessage("a")], [AIMessage("b")], [AIMessage("c")]])
    assert kept.ledger.spend.total == Usage()
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        Model().generate([[AIMessage("a")], [AIMessage("b")]])
    assert kept.ledger.spend.total.calls == 2


def test_what_a_client_tries_again_does_not_wait():
    kept = metering("150 tokens")
    meter = kept.meter(Phase.ROLLOUT)
    meter.admit(call())
    future = waiting(meter.ask([call(80)]).take())
    with pytest.raises(BudgetExhausted):
        meter.admit(call())
    # And goes before those who wait.
    meter.admit(call(50)).settle(1, 0)
    assert future.done()


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_call_inside_a_call_does_not_wait_for_it(way):
    kept = metering("1500 tokens")
    model = Model(inner=Model())
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        made = model.ainvoke("") if way == "ainvoke" else asyncio.to_thread(model.invoke, "")
        with pytest.raises(BudgetExhausted, match="1,000 tokens reserved"):
            await asyncio.wait_for(made, TOGETHER)


async def test_nobody_waits_for_a_stream_in_its_readers_hands():
    kept = metering("1500 tokens")
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        stream = Model().stream("")
        next(stream)
        async with asyncio.timeout(TOGETHER):
            with pytest.raises(BudgetExhausted):
                await Model().ainvoke("")
            with pytest.raises(BudgetExhausted):
                await asyncio.to_thread(Model().invoke, "")
        list(stream)
        await Model().ainvoke("")


def test_who_waits_for_a_stream_is_told_when_it_is_handed_to_its_reader():
    meter = metering("150 tokens").meter(Phase.ROLLOUT)
    ticket: Any = meter.admit(call())
    asked = meter.ask([call()])
    future = waiting(asked.take())
    ticket.lend()
    assert future.done()
    with pytest.raises(BudgetExhausted):
        asked.take()
    ticket.take_back()
    waiting(meter.ask([call()]).take())


async def test_a_thread_waits_for_threads_and_a_task_for_those_and_its_own_loop():
    kept = metering("150 tokens")
    meter = kept.meter(Phase.ROLLOUT)

    def elsewhere(action):
        async def inside():
            return action()

        return asyncio.to_thread(asyncio.run, inside())

    own = meter.admit(call())
    waiting(meter.ask([call()]).take())
    with pytest.raises(BudgetExhausted):
        await asyncio.to_thread(lambda: meter.ask([call()]).take())
    with pytest.raises(BudgetExhausted):
        await elsewhere(lambda: meter.ask([call()]).take())
    own.settle(0, 0)
    await asyncio.to_thread(lambda: meter.admit(call()))
    waiting(await elsewhere(lambda: meter.ask([call()]).take()))
    waiting(await asyncio.to_thread(lambda: meter.ask([call()]).take()))
    waiting(meter.ask([call()]).take())


async def test_a_loop_that_is_held_up_by_a_thread_is_not_waited_for_by_it():
    kept = metering("1500 tokens")
    began = asyncio.Event()
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        under_way = asyncio.create_task(Model(began=began).ainvoke(""))
        await began.wait()
        with ThreadPoolExecutor(1) as pool, pytest.raises(BudgetExhausted):
            # As a sync part of an async node does it: the loop stands still until the thread has ended.
            pool.submit(carrying(lambda: Model().invoke(""))).result(TOGETHER)
        await under_way


def carrying(action):
    return partial(contextvars.copy_context().run, action)


def test_when_the_time_is_up_nobody_waits():
    now = [0.0]
    kept = metering("150 tokens, 10 seconds", clock=lambda: now[0])
    meter = kept.meter(Phase.ROLLOUT)
    ticket = meter.admit(call())
    asked = meter.ask([call()])
    waiting(asked.take())
    now[0] = 10.0
    ticket.settle(1, 0)
    with pytest.raises(BudgetExhausted, match="10 seconds is used up"):
        asked.take()


# Who goes first


def test_a_large_one_is_not_overtaken_by_small_ones():
    kept = metering("300 tokens")
    meter = kept.meter(Phase.ROLLOUT)
    under_way = [meter.admit(call(100)), meter.admit(call(100))]
    large, small = meter.ask([call(250)]), meter.ask([call(10)])
    waiting(large.take())
    waiting(small.take())  # there is room for it
    for ticket in under_way:
        ticket.settle(10, 0)
        waiting(small.take())
    tickets(large)
    tickets(small)


def test_who_leaves_lets_others_have_the_turn():
    kept = metering("300 tokens")
    meter = kept.meter(Phase.ROLLOUT)
    meter.admit(call(100))
    large, small = meter.ask([call(250)]), meter.ask([call(10)])
    waiting(large.take())
    future = waiting(small.take())
    large.leave()
    large.leave()
    assert future.done()
    tickets(small)
    with pytest.raises(asyncio.CancelledError):
        large.take()
    assert not kept._queue


def test_one_that_fits_no_more_leaves_its_turn():
    kept = metering("300 tokens")
    meter = kept.meter(Phase.ROLLOUT)
    first, _ = meter.admit(call(100)), meter.admit(call(100))
    large, small = meter.ask([call(250)]), meter.ask([call(10)])
    waiting(large.take())
    waiting(small.take())
    first.settle(100, 0)
    with pytest.raises(BudgetExhausted):
        large.take()
    tickets(small)


# Who does not wait any longer


async def blocked(kept, begin) -> Any:
    """A call that waits, beside one under way which `begin` has made."""
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        under_way = asyncio.ensure_future(begin())
        while not kept._open:  # noqa: ASYNC110  what is waited for may be in a thread
            await asyncio.sleep(0.001)
    return under_way


@pytest.fixture
def wrapped():
    """Tasks are metered that begin when the block which made them has ended."""
    with overlay():
        yield


async def queued(kept, number=1):
    while len([each for each in kept._queue if not each.gone]) != number:  # noqa: ASYNC110  as above
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("end", ["cancel", "timeout"])
async def test_a_task_that_is_cancelled_while_it_waits_has_used_nothing(wrapped, end):
    kept, gate = metering("1500 tokens"), asyncio.Event()
    under_way = await blocked(kept, lambda: Model(gate=gate).ainvoke(""))
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        first, second = (asyncio.create_task(Model().ainvoke(at)) for at in "ab")
    await queued(kept, 2)
    if end == "cancel":
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    else:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(first, 0)
    await queued(kept, 1)
    gate.set()
    async with asyncio.timeout(TOGETHER):
        await under_way
        await second
    assert kept.ledger.spend.total == Usage(2, 0, 20, 4e-5)
    assert not kept._open


@pytest.mark.parametrize("way", ["thread", "task"])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_stop_wakes_all_who_wait(wrapped, way, whole):
    kept, gate = metering("1500 tokens"), threading.Event()
    under_way = await blocked(kept, lambda: asyncio.to_thread(Model(gate=gate).invoke, ""))
    meter = kept.meter(Phase.ROLLOUT)
    with overlay({}, meter=meter):
        waits = [
            asyncio.create_task(Model().ainvoke("")) if way == "task" else asyncio.ensure_future(run(Model().invoke))
            for _ in range(3)
        ]
    await queued(kept, 3)
    # All calls of a run, or those of a rollout that has taken too long.
    (kept if whole else meter).stop()
    async with asyncio.timeout(TOGETHER):
        ended = await asyncio.gather(*waits, return_exceptions=True)
        gate.set()
        await under_way
    assert [isinstance(error, asyncio.CancelledError) for error in ended] == [True] * 3
    # What was under way ran to its end, and after a stop of the run counts at its worst.
    assert kept.ledger.spend.total.output_tokens == (1000 if whole else 10)
    await queued(kept, 0)


async def run(invoke):
    """In a thread, whose CancelledError is that of asyncio."""
    ended: list[BaseException] = []

    def work():
        try:
            invoke("")
        except BaseException as error:
            ended.append(error)

    await asyncio.to_thread(work)
    raise ended[0]


# Nothing stands still

KINDS = st.sampled_from(["call", "batch", "inside", "stream", "left", "inner thread", "cancelled"])
PLACED = ("call", "batch", "inside", "stream", "cancelled")
PROGRAMS = st.lists(st.tuples(st.booleans(), st.lists(KINDS, min_size=1, max_size=5)), min_size=2, max_size=6)


@settings(max_examples=40)
@given(PROGRAMS, st.integers(800, 9000), st.integers(1, 900), st.none() | st.integers(1, 3))
def test_whatever_goes_on_side_by_side_comes_to_an_end(programs, limit, used, most):
    """Threads and tasks that call, call inside calls, hold up their loop, and leave streams unread."""
    kept, limits = metering(Budget(tokens=limit)), Limits(most)
    if most is not None:
        # A place may be waited for in vain by a thread that holds up the loop of the call that has it; room may not.
        programs = [(in_task, [kind for kind in kinds if kind in PLACED]) for in_task, kinds in programs]
    unread: list[Any] = []
    model, outer = Model(used=used), Model(used=used, inner=Model(used=used))

    def sync(kind):
        if kind in ("call", "cancelled"):
            model.invoke("")
        elif kind == "batch":
            model.generate([[AIMessage("a")], [AIMessage("b")]])
        elif kind == "inside":
            outer.invoke("")
        elif kind == "stream":
            for _ in model.stream(""):
                model.invoke("")
        elif kind == "left":
            unread.append(model.stream(""))
            next(unread[-1])
        else:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(carrying(lambda: model.invoke(""))).result()

    async def in_loop(kind):
        if kind == "call":
            await model.ainvoke("")
        elif kind == "cancelled":
            task = asyncio.create_task(model.ainvoke(""))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
        elif kind == "batch":
            await model.agenerate([[AIMessage("a")], [AIMessage("b")]])
        elif kind == "inside":
            await outer.ainvoke("")
        elif kind == "stream":
            async for _ in model.astream(""):
                await model.ainvoke("")
        else:
            sync(kind)  # holds the loop up

    async def task(kinds):
        with overlay({}, meter=kept.meter(Phase.ROLLOUT), limits=limits):
            for kind in kinds:
                with suppress(BudgetExhausted):
                    await in_loop(kind)

    def thread(kinds):
        with overlay({}, meter=kept.meter(Phase.ROLLOUT), limits=limits):
            for kind in kinds:
                with suppress(BudgetExhausted):
                    sync(kind)

    async def tasks():
        await asyncio.gather(*(task(kinds) for in_task, kinds in programs if in_task))

    works = [lambda: asyncio.run(tasks()), lambda: asyncio.run(tasks())]
    works += [lambda kinds=kinds: thread(kinds) for in_task, kinds in programs if not in_task]
    ended = [threading.Event() for _ in works]

    def do(work, event):
        work()
        event.set()

    for work, event in zip(works, ended, strict=True):
        threading.Thread(target=do, args=(work, event), daemon=True).start()
    try:
        assert all(event.wait(TOGETHER) for event in ended)
    finally:
        limits.close()
    assert tokens(kept) <= limit
    for stream in unread:
        stream.close()
    assert tokens(kept) <= limit
    assert not kept._open
    assert not [each for each in kept._queue if not each.gone]


def test_a_ticket_can_be_settled_in_the_middle_of_what_the_ledger_does():
    """As the garbage collector does it, on the same thread."""
    tickets: list[Any] = []

    def clock():
        while tickets:
            tickets.pop().settle(1, 0)
        return 0.0

    kept = metering("210 tokens, 10 seconds", clock=clock)
    meter = kept.meter(Phase.ROLLOUT)
    tickets.append(meter.admit(call()))
    with pytest.raises(BudgetExhausted):
        meter.admit(call(150))  # the ledger works with the figures that it began with
    assert kept.ledger.spend.total == Usage(1, 1, 0, 1e-6)
    meter.admit(call(150))
