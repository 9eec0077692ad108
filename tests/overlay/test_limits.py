"""Limits: how many calls are under way, whoever makes them, and what a server's refusal changes."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from pydantic import PrivateAttr

from textgrad_lg.overlay import overlay
from textgrad_lg.overlay.limits import Limits, Places, later
from textgrad_lg.run.schedule import Schedule
from textgrad_lg.testing import ScriptedChatModel

TOGETHER = 30
"""Seconds after which a test that waits for others has failed."""


class Clock:
    """Time that stands still, and what was put off."""

    def __init__(self):
        self.now = 0.0
        self.put_off: list[Any] = []

    def time(self) -> float:
        return self.now

    def later(self, seconds, call):
        entry = _Entry(self.now + seconds, call)
        self.put_off.append(entry)
        return entry

    def go_to(self, now):
        self.now = now
        due = [entry for entry in self.put_off if entry.at <= now]
        self.put_off = [entry for entry in self.put_off if entry.at > now]
        for entry in due:
            if not entry.cancelled:
                entry.call()


class _Entry:
    def __init__(self, at, call):
        self.at, self.call, self.cancelled = at, call, False

    def cancel(self):
        self.cancelled = True


def held(place) -> bool:
    return place.future is None or place.future.done()


class Counting(BaseChatModel):
    """Notes how many calls are under way; an async call lets the others run before it answers."""

    model_name: str = "counting"
    _now: int = PrivateAttr(0)
    most: int = 0
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "counting"

    def _step(self, by):
        with self._lock:
            self._now += by
            self.most = max(self.most, self._now)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self._step(1)
        threading.Event().wait(0.001)
        self._step(-1)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("fine"))])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        self._step(1)
        for _ in range(5):
            await asyncio.sleep(0)
        self._step(-1)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("fine"))])


class Fan(TypedDict, total=False):
    said: Annotated[list[str], operator.add]


def fan_out(node, branches=50) -> Any:
    graph = StateGraph(Fan)
    graph.add_node("each", node)
    graph.add_conditional_edges(START, lambda _: [Send("each", {"at": at}) for at in range(branches)])
    graph.add_edge("each", END)
    return graph.compile()


def test_first_come_first_served():
    places = Places(2)
    first, second, third, fourth = (places.ask() for _ in range(4))
    assert [held(each) for each in (first, second, third, fourth)] == [True, True, False, False]
    first.leave()
    first.leave()
    assert [held(third), held(fourth)] == [True, False]
    second.leave()
    assert held(fourth)


def test_who_does_not_wait_any_longer_gets_none():
    places = Places(1)
    first, second, third, fourth = (places.ask() for _ in range(4))
    second.leave()
    assert third.future is not None
    third.future.cancel()
    first.leave()
    assert held(fourth)
    assert second.future is not None
    assert not second.future.done()


def test_one_larger_than_the_limit_has_its_turn_alone_and_is_not_overtaken():
    places = Places(4)
    small = places.ask()
    large, after = places.ask(9), places.ask()
    assert not held(large)
    assert not held(after)
    small.leave()
    assert held(large)
    assert not held(after)
    large.leave()
    assert held(after)


def test_a_refusal_halves_what_is_under_way_once_and_answers_raise_it_by_one_a_round():
    places = Places(8)
    wave = [places.ask() for _ in range(8)]
    for place in wave:
        place.leave(refused=True)
    assert places.limit == 4
    for limit in (5, 6, 7, 8, 8):
        for _ in range(limit):
            places.ask().leave(well=True)
        assert places.limit == limit


def test_what_went_well_and_began_before_the_refusal_raises_nothing():
    places = Places(4)
    refused, *others = [places.ask() for _ in range(4)]
    refused.leave(refused=True)
    for place in others:
        place.leave(well=True)
    assert places.limit == 2


def test_it_never_gets_below_one():
    places = Places(3)
    for _ in range(5):
        places.ask().leave(refused=True)
    assert places.limit == 1
    assert held(places.ask())


def test_without_a_limit_all_are_let_in_until_the_server_refuses_and_more_again_after_that():
    places = Places(None)
    wave = [places.ask() for _ in range(50)]
    assert all(held(place) for place in wave)
    wave.pop().leave(well=True)
    assert places.limit == float("inf")
    wave.pop().leave(refused=True)
    assert places.limit == 24
    waiting = places.ask()
    assert not held(waiting)
    for place in wave:
        place.leave(well=True)
    assert held(waiting)
    for _ in range(24):
        places.ask().leave(well=True)
    assert places.limit == 25


def test_nothing_begins_before_the_server_wants_to_be_asked_again():
    clock = Clock()
    places = Places(4, clock=clock.time, later=clock.later)
    first, second = places.ask(), places.ask()
    first.leave(refused=True, after=10.0)
    waiting = places.ask()
    clock.go_to(4)
    second.leave(refused=True, after=20.0)  # until 24
    clock.go_to(10)
    assert not held(waiting)
    clock.go_to(24)
    assert held(waiting)
    assert held(places.ask(at_once=True))


def test_closing_lets_all_through_and_leaves_no_timer():
    clock = Clock()
    limits = Limits(1, clock=clock.time, later=clock.later)
    places = limits.of("model")
    places.ask().leave(refused=True, after=5.0)
    waiting = [places.ask() for _ in range(3)]
    limits.close()
    assert all(held(each) for each in waiting)
    assert all(entry.cancelled for entry in clock.put_off)
    assert all(held(limits.of("another").ask()) for _ in range(3))
    places.ask().leave(refused=True, after=5.0)
    assert len(clock.put_off) == 1


def test_what_is_put_off_is_done_in_a_thread_nobody_waits_for():
    done = threading.Event()
    timer: Any = later(0.0, done.set)
    assert timer.daemon
    assert done.wait(TOGETHER)
    timer.join()


@settings(max_examples=100)
@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), max_size=60))
def test_never_more_than_the_limit_whatever_happens_and_nobody_is_forgotten(most, script):
    places = Places(most)
    asked: list[Any] = []
    for what, at in script:
        if what < 2 or not asked:
            asked.append(places.ask())
        else:
            asked.pop(at % len(asked)).leave(well=what == 2, refused=what == 3)
        running = sum(held(each) for each in asked)
        assert running <= most
        if asked:
            assert running >= 1
    while asked:
        next(each for each in asked if held(each)).leave()
        asked = [each for each in asked if not each.gone]


async def test_a_run_without_a_limit_does_not_hold_back_the_branches_of_a_graph():
    model = Counting()

    async def node(state):
        await model.ainvoke(f"{state['at']}")
        return {}

    with Schedule(2) as schedule, overlay({}, limits=schedule.limits):
        await fan_out(node).ainvoke({})
    assert model.most == 50


def test_sync_branches_in_threads_keep_the_limit():
    model = Counting()
    graph = fan_out(lambda state: {"said": [model.invoke("Hello").text]})
    with overlay({}, limits=Limits(3)):
        assert len(graph.invoke({})["said"]) == 50
    assert 1 <= model.most <= 3


async def test_async_branches_keep_the_limit():
    model = Counting()

    async def node(state):
        return {"said": [(await model.ainvoke("Hello")).text]}

    with overlay({}, limits=Limits(3)):
        assert len((await fan_out(node).ainvoke({}))["said"]) == 50
    assert model.most == 3


async def test_a_batch_counts_for_its_prompts():
    model = Counting()
    prompt: list[Any] = [AIMessage("Hello")]
    with overlay({}, limits=Limits(4)):
        await asyncio.gather(*(model.agenerate([prompt, prompt]) for _ in range(6)))
    assert model.most == 4


async def test_each_model_has_places_of_its_own():
    gate = asyncio.Barrier(2)

    class Meeting(Counting):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            await gate.wait()
            return await super()._agenerate(messages)

    with overlay({}, limits=Limits(1)):
        async with asyncio.timeout(TOGETHER):
            await asyncio.gather(*(Meeting(model_name=name).ainvoke("Hello") for name in ("one", "two")))


class Outer(Counting):
    """A model that asks another one to answer."""

    inner: Any = None

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.inner.invoke(messages)
        return super()._generate(messages)

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        await self.inner.ainvoke(messages)
        return await super()._agenerate(messages)


async def test_a_call_inside_a_call_waits_for_nothing():
    model = Outer(inner=Counting())
    with overlay({}, limits=Limits(1)):
        async with asyncio.timeout(TOGETHER):
            await asyncio.gather(*(model.ainvoke("Hello") for _ in range(5)))
            await asyncio.gather(*(asyncio.to_thread(model.invoke, "Hello") for _ in range(5)))
    assert model.most == 1


async def test_a_sync_call_in_an_event_loop_does_not_wait_for_that_loop():
    model = Counting()
    entered = asyncio.Event()

    class Slow(Counting):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            entered.set()
            await asyncio.sleep(0)
            return await super()._agenerate(messages)

    with overlay({}, limits=Limits(1)):
        under_way = asyncio.create_task(Slow().ainvoke("Hello"))
        await entered.wait()
        assert model.invoke("Hello").text == "fine"
        await under_way


def words(model) -> Iterator[Any]:
    return model.stream("Hello")


def test_who_reads_a_stream_may_call_before_it_ends():
    model = ScriptedChatModel(replies=lambda _: "one two three")
    limits = Limits(1)
    with overlay({}, limits=limits, meter=Free()):
        assert [(chunk.text, model.invoke("Hm?").text[:3]) for chunk in words(model)] == [
            ("one ", "one"),
            ("two ", "one"),
            ("three", "one"),
        ]
        for _ in words(model):
            break
        assert model.invoke("Hello").text == "one two three"
        assert [held(each.ask()) for each in limits._places.values()] == [True]


async def test_who_reads_an_async_stream_may_call_before_it_ends():
    model = ScriptedChatModel(replies=lambda _: "one two three")
    with overlay({}, limits=Limits(1), meter=Free()):
        async with asyncio.timeout(TOGETHER):
            assert [(await model.ainvoke("Hm?")).text async for _ in model.astream("Hello")] == ["one two three"] * 3


class Free:
    """A Meter that admits all, and counts how many are admitted and not settled."""

    def __init__(self):
        self.now = self.most = 0

    def admit(self, call):
        self.now += 1
        self.most = max(self.most, self.now)
        return self

    def settle(self, input_tokens, output_tokens):
        self.now -= 1


async def test_a_call_that_waits_has_reserved_nothing():
    meter = Free()
    with overlay({}, limits=Limits(2), meter=meter):
        await asyncio.gather(*(Counting().ainvoke("Hello") for _ in range(10)))
    assert (meter.most, meter.now) == (2, 0)


async def test_a_cancelled_wait_leaves_its_place_to_others():
    model = Counting()
    names = []

    class Told(Limits):
        def of(self, model):
            names.append(model)
            return super().of(model)

    limits = Told(1)
    with overlay({}, limits=limits, meter=Free()):
        await model.ainvoke("Hello")
        blocking = limits.of(names[0]).ask()
        waiting = [asyncio.create_task(model.ainvoke("Hello")) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        blocking.leave()
        async with asyncio.timeout(TOGETHER):
            assert (await waiting[1]).text == "fine"


class RefusedError(Exception):
    """As OpenAI's client raises it."""

    def __init__(self, status, **headers):
        super().__init__("too much")
        self.status_code = status
        self.response = type("Response", (), {"headers": headers})()


@pytest.mark.parametrize(("status", "limit"), [(429, 2), (503, 2), (529, 2), (500, 4), (400, 4)])
async def test_what_the_server_says_reaches_the_limit_by_graphs_own_calls(status, limit):
    clock, names = Clock(), []

    class Told(Limits):
        def of(self, model):
            names.append(model)
            return super().of(model)

    limits = Told(4, clock=clock.time, later=clock.later)
    gate = asyncio.Barrier(4)

    class Failing(Counting):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            await gate.wait()
            raise RefusedError(status, **{"retry-after": "7"})

    with overlay({}, limits=limits):
        found = await asyncio.gather(*(Failing().ainvoke("Hello") for _ in range(4)), return_exceptions=True)
    assert [type(each) for each in found] == [RefusedError] * 4
    assert limits.of(names[0]).limit == limit
    assert [entry.at for entry in clock.put_off] == ([7.0] if limit == 2 else [])


async def test_a_thread_that_holds_up_the_loop_does_not_wait_for_calls_of_the_loop():
    # An async node that calls `batch` blocks its loop: what threads wait for must not need that loop.
    places = Places(1)
    own = places.ask()
    assert own.loop is not None
    waiting = places.ask()
    assert not held(waiting)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(places.ask).result()
        assert held(first)
        # Another thread waits for the first one, and goes on when that was the last it could wait for.
        second = threads.submit(places.ask).result()
        assert not held(second)
        first.leave()
    assert held(second)
    assert not held(waiting)
    second.leave()
    own.leave()
    assert held(waiting)


async def test_a_node_that_holds_up_its_loop_comes_to_an_end():
    model = Counting()

    async def slow():
        return await model.ainvoke("Slow?")

    async def blocking():
        await asyncio.sleep(0)
        return model.batch(["a", "b", "c"])

    async with asyncio.timeout(TOGETHER):
        with overlay({}, limits=Limits(1)):
            _, replies = await asyncio.gather(slow(), blocking())
    assert len(replies) == 3
