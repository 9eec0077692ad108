"""How long a call took is remembered, and told where a replay answers in its stead."""

from __future__ import annotations

import asyncio
import json
import warnings

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from textgrad_lg import Trace
from textgrad_lg.errors import ReplayError
from textgrad_lg.record import record
from textgrad_lg.replay import Entry, Memo, Replay, memorise
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.types import Tools

PROMPT = [HumanMessage("Why?")]


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def slow(clock, seconds=2.0):
    def reply(messages):
        clock.now += seconds
        return AIMessage(f"because of {messages[-1].text}")

    return ScriptedChatModel(replies=reply)


def remembering(clock, memo=None):
    return Replay(memo, tools=Tools.RECORD, clock=clock)


async def _collect(items):
    return [item async for item in items]


async def _v3(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return await (await model.astream_events(PROMPT, version="v3"))


WAYS = {
    "invoke": lambda model: model.invoke(PROMPT),
    "stream": lambda model: list(model.stream(PROMPT)),
    "ainvoke": lambda model: asyncio.run(model.ainvoke(PROMPT)),
    "astream": lambda model: asyncio.run(_collect(model.astream(PROMPT))),
    "async v3": lambda model: asyncio.run(_v3(model)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_replayed_call_says_how_long_it_took_when_it_was_made(way):
    clock = Clock()
    model = slow(clock)
    first = remembering(clock)
    with first.in_force(), record(clock=clock) as live:
        way(model)
    assert [entry.seconds for entry in first.new] == [2.0]
    (span,) = live.trace.spans
    assert "seconds" not in span.attributes
    assert span.end - span.start == 2.0
    with remembering(clock, first.memo).in_force(), record(clock=clock) as again:
        way(model)
    (span,) = again.trace.spans
    assert (span.attributes["replayed"], span.attributes["seconds"]) == (True, 2.0)
    assert span.end - span.start == 0.0
    assert Trace.from_json(again.trace.to_json()) == again.trace


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_replayed_tool_says_how_long_it_took_whether_it_returned_or_raised(raises, is_async):
    clock = Clock()

    @tool
    def look(key: str) -> str:
        """Look."""
        clock.now += 0.25
        if raises:
            raise ValueError(key)
        return key

    def call():
        try:
            return asyncio.run(look.ainvoke({"key": "a"})) if is_async else look.invoke({"key": "a"})
        except ValueError as error:
            return str(error)

    first = remembering(clock)
    with first.in_force():
        assert call() == "a"
    assert [entry.seconds for entry in first.new] == [0.25]
    with Replay(first.memo, clock=clock).in_force(), record(clock=clock) as again:
        assert call() == "a"
    (span,) = again.trace.spans
    assert (span.attributes["replayed"], span.attributes["seconds"]) == (True, 0.25)
    assert span.end == span.start
    assert clock.now == 1000.25


def test_a_refused_tool_call_took_no_time_and_is_not_replayed():
    @tool
    def look(key: str) -> str:
        """Look."""
        return key

    with pytest.raises(ReplayError), Replay().in_force(), record() as recording:
        look.invoke({"key": "a"})
    (span,) = recording.trace.spans
    assert not span.attributes.keys() & {"replayed", "seconds"}


class Told(BaseCallbackHandler):
    def __init__(self):
        self.seconds = []

    def on_chat_model_start(self, serialized, messages, *, metadata=None, **kwargs):
        self.seconds.append((metadata or {}).get("textgrad_lg_seconds"))


def test_prompts_of_one_call_took_as_long_as_the_call():
    clock, told = Clock(), Told()
    model = slow(clock)
    first = remembering(clock)
    with first.in_force():
        model.generate([[HumanMessage("a")], [HumanMessage("b")]])
        model.generate([[HumanMessage("c")]])
    assert [entry.seconds for entry in sorted(first.new, key=lambda entry: json.dumps(entry.value))] == [4.0, 4.0, 2.0]
    model.callbacks = [told]
    with remembering(clock, first.memo).in_force():
        model.generate([[HumanMessage("a")], [HumanMessage("c")]])
    assert told.seconds == [4.0, 4.0]
    assert clock.now == 1006.0
    with remembering(clock, first.memo).in_force():
        model.generate([[HumanMessage("a")], [HumanMessage("new")]])
    assert told.seconds[2:] == [None, None]  # one of them is made, and is told of as such
    assert clock.now == 1008.0


def test_what_a_replay_answers_keeps_the_time_of_the_first_call():
    clock = Clock()
    model = slow(clock)
    first = remembering(clock)
    with first.in_force():
        model.invoke("a")
    second = remembering(clock, Memo.from_rows(first.memo.rows()))
    with second.in_force():
        model.invoke("a")
        model.invoke("b")
    assert [entry.seconds for entry in second.memo.entries] == [2.0, 2.0]
    assert len(second.new) == 1


def test_a_clock_that_is_set_back_makes_no_negative_time():
    clock = Clock()
    run = remembering(clock)
    with run.in_force():
        slow(clock, -5.0).invoke("a")
    assert [entry.seconds for entry in run.new] == [0.0]


def test_seconds_are_measured_where_no_clock_is_given():
    with memorise() as run:
        ScriptedChatModel(replies=["fine"]).invoke("a")
    assert 0.0 < run.new[0].seconds < 60.0


def test_a_memo_of_the_first_version_reads_back_without_times():
    row = ["k", "", 0, "n", 1, None]
    assert Memo.from_rows([row]).entries == (Entry("k", "", 0, "n", 1, None, 0.0),)
    old = Memo.from_json(json.dumps({"version": 1, "entries": [row]}))
    assert old == Memo.from_rows([row])
    assert json.loads(old.to_json()) == {"version": 2, "entries": [[*row, 0.0]]}


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), "2", None])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(ReplayError, match="reason, seconds"):
        Memo.from_rows([["k", "", 0, "n", 1, None, seconds]])
