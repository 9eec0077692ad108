"""Graphs and evaluators that hang are given up, cost what they cost, and hold up nobody."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from tests.run import worlds
from textgrad_lg import Budget, Evals, MemoryRegistry, Settings, Strategy, aoptimize, optimize
from textgrad_lg.errors import DataError
from textgrad_lg.events import ExampleScored
from textgrad_lg.overlay import overlay
from textgrad_lg.overlay.limits import Limits, Places
from textgrad_lg.run.ledger import Ledger
from textgrad_lg.run.metering import Metering
from textgrad_lg.run.patience import Patience
from textgrad_lg.run.prices import Prices
from textgrad_lg.run.schedule import Schedule
from textgrad_lg.run.target import Job, as_target
from textgrad_lg.types import Phase

FAST = {"steps": 1, "batch": 6, "concurrency": 2, "strategy": Strategy.STRUCTURAL}


def told(outputs, reference_outputs):
    return outputs["page"] == reference_outputs["page"], worlds.WANTED


def judging(model, hang):
    """One node; on review 7 it does what `hang` does before it asks its model."""

    def judge(state: worlds.State):
        if state["review"].endswith(" 7"):
            hang()
        return {"page": f"<p>{model.invoke([SystemMessage(worlds.JUDGE), HumanMessage(state['review'])]).text}</p>"}

    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    return graph.compile(name="one")


def scored(events):
    return [event for event in events if isinstance(event, ExampleScored)]


def test_a_graph_that_hangs_scores_0_says_so_and_makes_no_call_afterwards():
    go_on, ended = threading.Event(), threading.Event()
    model, events = worlds.review_model(), []
    others = threading.enumerate()

    def hang():
        try:
            assert go_on.wait(60)
        finally:
            ended.set()

    result = optimize(
        judging(model, hang),
        Evals(worlds.reviews(30), [told]),
        settings=Settings(timeout=1.0, **FAST),
        registry=MemoryRegistry(),
        callbacks=[events.append],
    )
    hung = [event for event in scored(events) if event.error]
    assert {event.scores[0].key for event in hung} == {"timeout"}
    assert all(event.scores[0].value == 0 for event in hung)
    assert "had not ended after 1 seconds, and was given up" in str(hung[0].error)
    assert result.spend.total.calls == len(model.requests)
    go_on.set()
    assert ended.wait(60)
    left = [each for each in threading.enumerate() if each not in others and each.name.startswith("textgrad-lg-")]
    for thread in left:
        thread.join(60)
        assert not thread.is_alive()
    assert result.spend.total.calls == len(model.requests)


async def test_a_call_under_way_is_counted_and_its_place_given_to_others():
    go_on = threading.Event()
    model, events = worlds.review_model(), []
    answer = model.answer

    def slowly(messages):
        if messages[-1].text.endswith((" 7", " 8", " 9")):
            assert go_on.wait(60)
        return answer(messages)

    model.answer = slowly
    # More calls hang than there are places, so those that come after would wait for ever.
    result = await aoptimize(
        judging(model, lambda: None),
        Evals(worlds.reviews(30), [told]),
        settings=Settings(timeout=1.0, **FAST),
        registry=MemoryRegistry(),
        callbacks=[events.append],
    )
    go_on.set()
    assert {event.scores[0].key for event in scored(events) if event.error} == {"timeout"}
    assert len([event for event in scored(events) if not event.error]) > 20
    assert result.spend.total.calls == len(model.requests)


def test_a_thread_that_waits_for_its_turn_ends_when_nobody_waits_for_it(monkeypatch):
    waiting, raised = threading.Event(), []
    model, limits = worlds.review_model(), Limits(1)
    meter = metering().meter(Phase.ROLLOUT)

    class Queue(Places):
        def ask(self, size=1, *, at_once=False):
            place = super().ask(size, at_once=at_once)
            if place.future is not None:
                waiting.set()
            return place

    queue = Queue(1)
    monkeypatch.setattr(limits, "of", lambda model: queue)
    queue.ask()  # somebody else's, who keeps it

    def call():
        with overlay({}, meter=meter, limits=limits):
            try:
                model.invoke("hello")
            except BaseException as error:
                raised.append(type(error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    assert waiting.wait(60)
    meter.stop()
    thread.join(60)
    assert raised == [asyncio.CancelledError]
    assert model.requests == []


async def test_an_async_graph_is_cancelled_and_leaves_no_task():
    cancelled = []

    async def judge(state: worlds.State):
        if state["review"].endswith(" 7"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(state["review"])
                raise
        return {"page": state["review"]}

    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    before = asyncio.all_tasks()
    target, job, meter, schedule = await _parts(graph.compile())
    ran = await Patience(0.05).run(target, job, schedule, meter)
    assert isinstance(ran.error, TimeoutError)
    assert cancelled == [job.inputs["review"]]
    assert meter.stopped
    assert asyncio.all_tasks() == before


def metering():
    return Metering(Ledger(Budget(calls=9), Prices({})), Prices({}))


async def _parts(graph):
    meter = metering().meter(Phase.ROLLOUT)
    job = Job(inputs={"review": "number 7"}, texts={}, config={}, thread="t", trace="0" * 32, example="e", meter=meter)
    return as_target(graph)[0], job, meter, Schedule(1)


async def test_a_graphs_own_timeout_is_the_graphs_own_error():
    def judge(state: worlds.State):
        raise TimeoutError("of the graph itself")

    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    target, job, meter, schedule = await _parts(graph.compile())
    ran = await Patience(60).run(target, job, schedule, meter)
    assert str(ran.error) == "of the graph itself"
    assert not meter.stopped

    async def own():
        raise TimeoutError("of the evaluator itself")

    with pytest.raises(TimeoutError, match="of the evaluator itself"):
        await Patience(60).within(own)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_evaluator_that_hangs_has_no_score_and_the_others_have_theirs(asynchronous):
    go_on, ended = threading.Event(), threading.Event()
    model, events = worlds.review_model(), []

    def stuck(outputs, inputs):
        if inputs["review"].endswith(" 7"):
            assert go_on.wait(60)
            ended.set()
        return 1.0

    async def astuck(outputs, inputs):
        if inputs["review"].endswith(" 7"):
            await asyncio.Event().wait()
        return 1.0

    optimize(
        judging(model, lambda: None),
        Evals(worlds.reviews(30), [told, astuck if asynchronous else stuck]),
        settings=Settings(timeout=1.0, **FAST),
        registry=MemoryRegistry(),
        callbacks=[events.append],
    )
    hung = [event for event in scored(events) if any(score.error for score in event.scores)]
    assert hung
    for event in hung:
        fine, given_up = event.scores
        assert fine.value is not None
        assert given_up.value is None
        assert "it had not ended after 1 seconds, and was given up" in str(given_up.error)
    go_on.set()
    assert asynchronous or ended.wait(60)


def test_a_process_ends_whatever_hangs_in_it():
    command = [sys.executable, "-m", "tests.faults.hanging"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (0, "ended\n"), err


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(DataError, match="seconds above 0"):
        Settings(timeout=timeout)
