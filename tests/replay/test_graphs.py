"""Replays of whole graphs: what is paid for, and that nothing else differs."""

from __future__ import annotations

import asyncio
import contextvars
import json
import operator
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send

from tests.overlay.support import CountingMeter
from textgrad_lg import Trace
from textgrad_lg.overlay import Replacement, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.record import record
from textgrad_lg.replay import Memo, memorise, replay
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel

from .support import NoStreaming, State, chain, edit, network, noisy, plain, speaker

QUESTION: Any = {"question": "Why?", "said": {}}


def test_of_a_chain_of_six_with_the_fifth_changed_two_calls_are_paid_for():
    model, meter = noisy(), CountingMeter()
    graph = chain(model)
    with memorise() as first:
        before = graph.invoke(QUESTION)
    assert len(model.requests) == 6
    with overlay(edit("n5"), meter=meter), replay(first.memo) as second:
        after = graph.invoke(QUESTION)
    assert [request.messages[0].text for request in model.requests[6:]] == ["You are n5. Be brief.", "You are n6."]
    assert len(meter.admitted) == len(meter.settled) == 2
    assert second.hits == 4
    same = {name for name in before["said"] if before["said"][name] == after["said"][name]}
    assert same == {"n1", "n2", "n3", "n4"}


def test_a_chain_of_candidates_shares_what_was_answered():
    model = noisy()
    graph = chain(model)
    with memorise() as run:
        graph.invoke(QUESTION)
    memo = run.memo
    for texts, paid in [({}, 0), (edit("n5"), 2), (edit("n5"), 0), (edit("n6"), 1), ({}, 0), (edit("n6"), 0)]:
        before = len(model.requests)
        with overlay(texts), replay(memo) as run:
            graph.invoke(QUESTION)
        assert len(model.requests) - before == paid
        memo = run.memo
    assert len(memo) == 6 + 2 + 1


def test_a_change_to_a_node_that_is_not_visited_pays_for_nothing():
    model = noisy()
    graph = StateGraph(State)
    for name in ("left", "right"):
        graph.add_node(name, speaker(model, name))
        graph.add_edge(name, END)
    graph.add_conditional_edges(START, lambda state: "left" if state["question"] == "Why?" else "right")
    routed: Any = graph.compile()
    with memorise() as first:
        before = routed.invoke(QUESTION)
    with overlay(edit("right")), replay(first.memo):
        assert routed.invoke(QUESTION) == before
    assert len(model.requests) == 1


def _names(draw_count):
    return [f"n{at}" for at in range(draw_count)]


@st.composite
def networks(draw):
    """A random graph without cycles: chains, diamonds, and what is in between. Each node but the first hears earlier ones."""
    names = _names(draw(st.integers(1, 6)))
    reads = {names[0]: []}
    for at, name in enumerate(names[1:], 1):
        reads[name] = sorted(draw(st.sets(st.sampled_from(names[:at]), min_size=1, max_size=2)))
    return reads


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(networks(), st.data())
def test_a_replay_gives_what_a_full_run_gives_and_pays_for_what_is_downstream(reads, data):
    changed = data.draw(st.sampled_from(list(reads)))
    model = ScriptedChatModel(replies=lambda messages: f"{hash_of(messages)}")
    graph = network(model, reads)
    with memorise() as first:
        graph.invoke(QUESTION)
    before = len(model.requests)
    with overlay(edit(changed)), replay(first.memo):
        replayed = graph.invoke(QUESTION)
    paid = [request.messages[0].text.split()[2].rstrip(".") for request in model.requests[before:]]
    with overlay(edit(changed)):
        assert replayed == graph.invoke(QUESTION)
    downstream = {changed}
    for name, heard in reads.items():
        if downstream.intersection(heard):
            downstream.add(name)
    assert sorted(paid) == sorted(downstream)


def hash_of(messages):
    """A reply that differs whenever the request does, and only then."""
    import hashlib

    return hashlib.sha256("\n".join(message.text for message in messages).encode()).hexdigest()[:12]


def _quiet(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


async def _alast(items):
    found = None
    async for item in items:
        found = item
    return found


async def _aevents_v3(graph):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = await graph.astream_events(QUESTION, version="v3")
        return await run.output()


WAYS = {
    "invoke": lambda graph: graph.invoke(QUESTION),
    "batch": lambda graph: graph.batch([QUESTION])[0],
    "stream values": lambda graph: list(graph.stream(QUESTION, stream_mode="values"))[-1],
    "stream messages": lambda graph: _state(list(graph.stream(QUESTION, stream_mode=["messages", "values"]))),
    "stream events v3": lambda graph: _quiet(lambda: graph.stream_events(QUESTION, version="v3").output),
    "ainvoke": lambda graph: asyncio.run(graph.ainvoke(QUESTION)),
    "astream messages": lambda graph: _state(
        [asyncio.run(_alast(graph.astream(QUESTION, stream_mode=["messages", "values"])))]
    ),
    "astream events v2": lambda graph: asyncio.run(_alast(graph.astream_events(QUESTION, version="v2")))["data"][
        "output"
    ],
    "astream events v3": lambda graph: asyncio.run(_aevents_v3(graph)),
}


def _state(parts):
    return [value for mode, value in parts if mode == "values"][-1]


@pytest.mark.parametrize("kind", [ScriptedChatModel, NoStreaming])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_of_running_replays_what_any_other_recorded(way, kind):
    made = noisy()
    model = kind(replies=made.replies)
    graph = chain(model, 3)
    with memorise() as first, record() as recorded:
        before = way(graph)
    assert len(model.requests) == 3
    with replay(first.memo) as second, record() as again:
        assert way(graph) == before
        assert graph.invoke(QUESTION) != before  # one block is one run, and this is its second question
    assert second.hits == 3
    assert len(model.requests) == 6
    assert re.sub(r'"replayed":true,"seconds":[-0-9.e]+,', "", plain(again.traces[0])) == plain(recorded.trace)
    for other in WAYS.values():
        with replay(first.memo):
            assert other(graph) == before
    assert len(model.requests) == 6


def test_a_replayed_trace_is_the_first_one_and_says_that_it_was_replayed():
    graph = chain(noisy(), 3)
    with memorise() as first, record(ids=lambda: "a" * 32) as recorded:
        graph.invoke(QUESTION)
    with overlay(edit("n3")), replay(first.memo), record(ids=lambda: "a" * 32) as again:
        graph.invoke(QUESTION)
    spans = [span for span in again.trace.spans if span.kind == "llm"]
    assert [span.attributes.get("replayed") for span in spans] == [True, True, None]
    assert not any("replayed" in span.attributes for span in recorded.trace.spans)
    assert [span.attributes["input_tokens"] for span in spans] == [7, 7, 7]
    assert [span.id for span in again.trace.spans] == [span.id for span in recorded.trace.spans]
    assert Trace.from_json(again.trace.to_json()) == again.trace


def test_streamed_messages_of_a_replay_are_whole_and_bring_their_usage():
    graph = chain(noisy(), 2)
    with memorise() as first:
        graph.invoke(QUESTION)
    with replay(first.memo):
        parts = [chunk for chunk, _ in graph.stream(QUESTION, stream_mode="messages")]
    said = [part for part in parts if part.text]
    assert [part.text for part in said] == ["reply 1 to <Why?>", "reply 2 to <Why? | reply 1 to <Why?>>"]
    assert [part.usage_metadata["total_tokens"] for part in said] == [10, 10]
    assert len({part.id for part in said}) == 2


def test_a_loop_that_asks_the_same_twice_gets_both_answers_in_their_order():
    model = noisy()

    def ask(state):
        return {"said": {str(len(state["said"])): model.invoke([HumanMessage("Again?")]).text}}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", lambda state: "ask" if len(state["said"]) < int(state["question"]) else END)
    loop: Any = graph.compile()
    with memorise() as first:
        before = loop.invoke({"question": "3", "said": {}})["said"]
    assert len(set(before.values())) == 3
    with replay(first.memo) as second:
        assert loop.invoke({"question": "3", "said": {}})["said"] == before
    assert len(model.requests) == 3
    with replay(second.memo):
        longer = loop.invoke({"question": "4", "said": {}})["said"]
    assert {**longer, **before} == longer
    assert len(model.requests) == 4


class Work(TypedDict, total=False):
    items: list[str]
    done: Annotated[list[str], operator.add]


def fan_out(model, barrier=None):
    """A worker an item. Where the items are the same, so are the requests."""

    def work(state):
        if barrier is not None:
            barrier(state["at"])
        return {"done": [f"{state['at']}: " + model.invoke([HumanMessage(f"Do {state['item']}")]).text]}

    graph = StateGraph(Work)
    graph.add_node("work", work)
    graph.add_conditional_edges(
        START, lambda state: [Send("work", {"item": item, "at": at}) for at, item in enumerate(state["items"])]
    )
    return graph.compile()


class Turns:
    """Lets the branches of a fan-out go one after the other, in the order wanted."""

    def __init__(self, order):
        self.order, self.condition = list(order), threading.Condition()

    def __call__(self, at):
        with self.condition:
            assert self.condition.wait_for(lambda: self.order[0] == at, timeout=30)

    def done(self):
        with self.condition:
            self.order.pop(0)
            self.condition.notify_all()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_which_of_equal_branches_is_faster_decides_nothing(order):
    model = noisy()
    inputs: Any = {"items": ["it", "it", "it"]}
    with memorise() as first:
        before = fan_out(model).invoke(inputs)
    assert len(set(before["done"])) == 3
    turns = Turns(order)

    def barrier(at):
        turns(at)
        turns.done()

    with replay(first.memo):
        assert fan_out(model, barrier).invoke(inputs) == before
    assert len(model.requests) == 3


def test_a_fan_out_in_another_order_pays_for_what_is_new():
    model = noisy()
    with memorise() as first:
        fan_out(model).invoke({"items": ["a", "b", "c"]})
    with replay(first.memo):
        after = fan_out(model).invoke({"items": ["c", "d", "a", "b"]})
    assert [request.messages[-1].text for request in model.requests[3:]] == ["Do d"]
    assert len(after["done"]) == 4


def test_twenty_replays_at_once_stay_apart():
    model = noisy()
    graph = chain(model, 3)
    with memorise() as first:
        graph.invoke(QUESTION)
    start = threading.Barrier(20)

    def one(at):
        with overlay(edit("n2", f"You are n2, number {at}.")), replay(first.memo) as run:
            start.wait(timeout=30)
            said = graph.invoke(QUESTION)["said"]
        return said, run

    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(contextvars.copy_context().run, one, at) for at in range(20)]
        results = [future.result() for future in futures]
    assert len(model.requests) == 3 + 20 * 2
    assert {said["n1"] for said, _ in results} == {"reply 1 to <Why?>"}
    assert len({said["n2"] for said, _ in results}) == 20
    for said, run in results:
        assert (run.hits, len(run.new)) == (1, 2)
        values: list[Any] = [entry.value for entry in run.new]
        assert {json.loads(value)["replies"][0][0]["data"]["content"] for value in values} == {said["n2"], said["n3"]}


async def test_twenty_replays_in_one_event_loop_stay_apart():
    async def call(state: State):
        text = (await model.ainvoke([SystemMessage("You are n1."), HumanMessage(state["question"])])).text
        await asyncio.sleep(0)
        return {"said": {"n1": text}}

    model = noisy()
    made = StateGraph(State)
    made.add_node("n1", call)
    made.add_edge(START, "n1")
    graph: Any = made.compile()
    with memorise() as first:
        await graph.ainvoke(QUESTION)

    async def one(at):
        with overlay(edit("n1", f"You are {at}.") if at % 2 else {}), replay(first.memo) as run:
            return (await graph.ainvoke(QUESTION))["said"]["n1"], run.hits

    results = await asyncio.gather(*(one(at) for at in range(20)))
    assert [hits for _, hits in results] == [1, 0] * 10
    assert len({text for text, _ in results}) == 11
    assert len(model.requests) == 11


def test_outside_the_block_nothing_is_remembered():
    model = noisy()
    graph = chain(model, 1)
    with memorise() as first:
        graph.invoke(QUESTION)
    graph.invoke(QUESTION)
    assert (len(model.requests), len(first.memo)) == (2, 1)


def test_a_retry_finds_the_answer_that_the_retry_got():
    calls = []

    def reply(messages):
        calls.append(messages)
        return ConnectionError("down") if len(calls) == 1 else "fine"

    graph = StateGraph(State)
    model = ScriptedChatModel(replies=reply)
    graph.add_node(
        "ask",
        lambda state: {"said": {"ask": model.invoke([HumanMessage("Why?")]).text}},
        retry_policy=RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ConnectionError),
    )
    graph.add_edge(START, "ask")
    retried: Any = graph.compile()
    with memorise() as first:
        retried.invoke(QUESTION)
    with replay(first.memo):
        assert retried.invoke(QUESTION)["said"] == {"ask": "fine"}
    assert len(calls) == 2


def test_an_edit_that_changes_nothing_in_a_reply_stops_there():
    model = ScriptedChatModel(replies=lambda messages: AIMessage("always this"))
    graph = chain(model)
    with memorise() as first:
        graph.invoke(QUESTION)
    with overlay(edit("n2")), replay(first.memo):
        graph.invoke(QUESTION)
    assert len(model.requests) == 6 + 1


def test_the_memo_of_a_run_replays_in_another_process_too():
    graph = chain(noisy())
    with memorise() as first:
        before = graph.invoke(QUESTION)
    with replay(Memo.from_json(first.memo.to_json())):
        assert chain(ScriptedChatModel(replies=[])).invoke(QUESTION) == before


def test_demonstrations_and_slots_are_a_part_of_what_is_asked():
    model = noisy()
    graph = chain(model, 1)
    site = Site(("n1",), "system")
    with memorise() as first:
        graph.invoke(QUESTION)
    for new in (Template("You are n1. "), Template("You are n2.")):
        with overlay({site: Replacement(Template("You are n1."), new)}), replay(first.memo) as run:
            graph.invoke(QUESTION)
        assert run.hits == 0
