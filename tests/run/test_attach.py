"""`attach`: the registry's texts over a running graph, in place."""

import asyncio
import gc
import logging
import os
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, TypedDict

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.pregel import Pregel

from tests.run import worlds
from textgrad_lg import (
    Follower,
    MemoryRegistry,
    Settings,
    Site,
    Template,
    attach,
    from_registry,
    optimize,
)
from textgrad_lg.errors import GraphError, UnknownVersion
from textgrad_lg.prompt import Demo
from textgrad_lg.registry import NewVersion
from textgrad_lg.run.deploy import default_registry
from textgrad_lg.testing import ScriptedChatModel

OWN = {"draft/system": "You draft.", "check/system": "You check."}
LABEL = "production"


class State(TypedDict, total=False):
    draft: str
    check: str


def echo_model(**options):
    """Replies with the system text it was sent."""
    return ScriptedChatModel(replies=lambda messages: messages[0].text, **options)


def build(name="letters", before=lambda: None, **options):
    """draft -> check, each with a system text of its own; `before` is called between the two."""
    model = echo_model()

    def draft(state):
        return {"draft": model.invoke([SystemMessage(OWN["draft/system"]), HumanMessage("Go.")]).text}

    async def adraft(state):
        return {"draft": (await model.ainvoke([SystemMessage(OWN["draft/system"]), HumanMessage("Go.")])).text}

    def check(state):
        before()
        return {"check": model.invoke([SystemMessage(OWN["check/system"]), HumanMessage("Go.")]).text}

    graph = StateGraph(State)
    graph.add_node("draft", draft if not options.pop("use_async", False) else adraft)
    graph.add_node("check", check)
    graph.add_edge(START, "draft").add_edge("draft", "check")
    return graph.compile(name=name, **options)


def publish(registry, number, graph="letters", **texts):
    """Move the label on both prompts at once to texts that end in `number`."""
    names = {f"{graph}:{site}": own for site, own in OWN.items()}
    for name, own in names.items():
        if name not in registry.names():
            registry.commit([NewVersion(name, Template(own))], label="own", expect={name: None})
    now = {name: registry.labels(name).get(LABEL) for name in names}
    new = [NewVersion(name, Template(f"{own} {number}"), parent=1) for name, own in names.items()]
    registry.commit(new, label=LABEL, expect=now)


def said(graph, **options):
    out = graph.invoke({}, **options)
    return out["draft"], out["check"]


PLAIN = ("You draft.", "You check.")


def version(number):
    return (f"You draft. {number}", f"You check. {number}")


@pytest.fixture(autouse=True)
def no_thread_is_left(monkeypatch):
    """End what the test has started: no other test should find its threads."""
    made, begin = [], Follower._begin
    monkeypatch.setattr(Follower, "_begin", lambda self: (made.append(weakref.ref(self)), begin(self))[1])
    before = set(threading.enumerate())
    yield
    for follower in filter(None, (at() for at in made)):
        follower.close()
    for ticks in Ticks.made:
        ticks.go.release(9)
    Ticks.made.clear()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "textgrad-lg-follow":
            thread.join(60)
            assert not thread.is_alive()


class Ticks:
    """The wait of a Follower, and its clock: time passes only when a test says so."""

    made: ClassVar[list] = []

    def __init__(self):
        Ticks.made.append(self)
        self.now = 0.0
        self.waiting = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def wait(self, event, seconds):
        assert seconds == 10.0
        self.waiting.release()
        self.go.acquire()
        return event.is_set()

    def clock(self):
        return self.now

    def period(self):
        """Let one period pass, and wait until the registry was read."""
        assert self.waiting.acquire(timeout=60)
        self.now += 10.0
        self.go.release()
        assert self.waiting.acquire(timeout=60)
        self.waiting.release()


class Flaky(MemoryRegistry):
    """A registry that can be down, and that counts how often it is asked."""

    down: Exception | None = None
    asked = 0

    def names(self):
        self.asked += 1
        if self.down is not None:
            raise self.down
        return super().names()


def quiet(registry, **options):
    """A Follower that reads once, and then only when it is told to."""
    return Follower(registry, wait=lambda event, seconds: event.wait(60), **options)


def test_the_very_graph_that_others_hold_has_the_texts_of_the_registry():
    registry, graph = MemoryRegistry(), build()
    held_elsewhere = {"app": graph}
    publish(registry, 1)
    kind = type(graph)
    attach(graph, registry)
    assert said(held_elsewhere["app"]) == version(1)
    assert isinstance(graph, Pregel)
    assert isinstance(graph, kind)
    assert graph.get_name() == "letters"


def test_a_new_version_is_there_one_period_later_and_a_rollback_too():
    registry, graph, ticks = MemoryRegistry(), build(), Ticks()
    Follower(registry, wait=ticks.wait, clock=ticks.clock).attach(graph)
    assert said(graph) == PLAIN
    publish(registry, 1)
    assert said(graph) == PLAIN  # nobody asks the registry for a run
    ticks.period()
    assert said(graph) == version(1)
    publish(registry, 2)
    ticks.period()
    assert said(graph) == version(2)
    registry.rollback(LABEL, [f"letters:{site}" for site in OWN])
    ticks.period()
    assert said(graph) == version(1)
    registry.rollback(LABEL, [f"letters:{site}" for site in OWN])
    ticks.period()
    assert said(graph) == PLAIN


def test_runs_do_not_ask_the_registry():
    registry, graph = Flaky(), build()
    publish(registry, 1)
    quiet(registry).attach(graph)
    asked = registry.asked
    for _ in range(20):
        assert said(graph) == version(1)
    assert registry.asked == asked


def test_a_text_that_did_not_change_is_not_read_again():
    registry, graph = MemoryRegistry(), build()
    publish(registry, 1)
    follower = quiet(registry)
    follower.attach(graph)
    before = follower.texts("letters")
    follower.refresh()
    assert follower.texts("letters") is before


def test_detach_makes_it_what_it_was():
    registry, graph = MemoryRegistry(), build()
    publish(registry, 1)
    kind, attributes = type(graph), dict(vars(graph))
    attachment = attach(graph, registry)
    assert said(graph) == version(1)
    attachment.detach()
    assert type(graph) is kind
    assert vars(graph) == attributes
    assert said(graph) == PLAIN
    attachment.detach()
    with attach(graph, registry):
        assert said(graph) == version(1)
    assert type(graph) is kind
    assert said(graph.copy()) == PLAIN


def test_a_run_that_was_begun_outlives_the_attachment():
    registry, graph = MemoryRegistry(), build()
    publish(registry, 1)
    attachment = attach(graph, registry)
    not_yet_stepped = graph.stream({}, stream_mode="values")
    begun = graph.stream({}, stream_mode="updates")
    first = next(begun)
    attachment.detach()
    assert list(not_yet_stepped)[-1] == {"draft": "You draft. 1", "check": "You check. 1"}
    assert [first, *begun] == [{"draft": {"draft": "You draft. 1"}}, {"check": {"check": "You check. 1"}}]


def test_a_run_never_mixes_two_versions():
    registry = MemoryRegistry()
    publish(registry, 1)
    follower = quiet(registry)

    def meanwhile():
        publish(registry, 2)
        follower.refresh()

    graph = build(before=meanwhile)
    follower.attach(graph)
    assert said(graph) == version(1)
    assert follower.texts("letters")[Site.parse("draft/system")].new.text == "You draft. 2"


def test_a_label_that_moves_while_it_is_read_is_read_again():
    class Moving(MemoryRegistry):
        left = 2

        def get(self, name, **which):
            if name == "letters:draft/system" and self.left:
                self.left -= 1
                publish(self, 9 - self.left)
            return super().get(name, **which)

    registry, graph = Moving(), build()
    publish(registry, 1)
    quiet(registry).attach(graph)
    assert said(graph) == version(9)


def test_a_label_that_never_rests_leaves_the_texts_as_they_were(caplog):
    class Restless(MemoryRegistry):
        moving = False

        def get(self, name, **which):
            if self.moving and name == "letters:draft/system":
                publish(self, 7)
            return super().get(name, **which)

    registry, graph = Restless(), build()
    publish(registry, 1)
    follower = quiet(registry)
    follower.attach(graph)
    publish(registry, 2)
    registry.moving = True
    follower.refresh()
    assert said(graph) == version(1)
    assert "could not be read" in caplog.text


def test_while_the_registry_is_down_runs_have_the_texts_last_known_and_one_warning_says_so(caplog):
    caplog.set_level(logging.INFO)
    registry, graph = Flaky(), build()
    publish(registry, 1)
    follower = quiet(registry)
    follower.attach(graph)
    registry.down = ConnectionError("postgres://app:hunter2@db is down")
    for _ in range(5):
        follower.refresh()
        assert said(graph) == version(1)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "ConnectionError" in record.getMessage()
    assert "hunter2" not in caplog.text
    registry.down = None
    publish(registry, 2)
    follower.refresh()
    assert said(graph) == version(2)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    registry.down = OSError()
    follower.refresh()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_where_the_registry_never_answered_runs_have_the_graphs_own_texts(caplog):
    registry, graph = Flaky(), build()
    registry.down = TimeoutError()
    quiet(registry).attach(graph)
    assert said(graph) == PLAIN
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("letters:no site", Template("You draft.")),
        ("letters:draft/system", Template("You draft. {tone}", ("tone",))),
        ("letters:draft/system", Template("You draft.", (), (Demo((("question", "?"),), "!"),))),
    ],
)
def test_what_cannot_be_used_is_not_used_and_fails_no_run(name, template, caplog):
    registry, graph = MemoryRegistry(), build()
    registry.commit([NewVersion(name, Template("You draft."))], label=LABEL, expect={name: None})
    registry.commit([NewVersion(name, template, parent=1)], label=LABEL, expect={name: 1})
    attach(graph, registry)
    assert said(graph) == PLAIN
    assert "could not be read" in caplog.text


def test_a_version_without_its_ancestors_is_not_used(caplog):
    class Torn(MemoryRegistry):
        def history(self, name):
            return super().history(name)[1:]

    registry, graph = Torn(), build()
    publish(registry, 1)
    attach(graph, registry)
    assert said(graph) == PLAIN
    assert UnknownVersion.__name__ in caplog.text


def test_what_is_wrong_with_one_graphs_texts_does_not_stop_anothers(caplog):
    registry, letters, notes = MemoryRegistry(), build(), build("notes")
    registry.commit([NewVersion("letters:no site", Template("x"))], label=LABEL, expect={"letters:no site": None})
    follower = quiet(registry)
    follower.attach(letters)
    follower.attach(notes)
    publish(registry, 1, "notes")
    follower.refresh()
    assert (said(letters), said(notes)) == (PLAIN, version(1))


def test_a_slow_registry_delays_the_start_by_no_more_than_the_patience_and_no_run(caplog, monkeypatch):
    monkeypatch.setattr(sys.modules[Follower.__module__], "PATIENCE", 0.01)
    answer = threading.Event()

    class Slow(MemoryRegistry):
        def names(self):
            answer.wait(60)
            return super().names()

    registry, graph = Slow(), build()
    follower = Follower(registry, wait=lambda event, seconds: event.wait(60))
    follower.attach(graph)
    assert said(graph) == PLAIN
    assert "has not answered yet" in caplog.text
    answer.set()
    publish(registry, 1)
    follower.refresh()
    assert said(graph) == version(1)


def test_a_registry_that_hangs_is_warned_of_once(caplog):
    registry, graph, ticks = MemoryRegistry(), build(), Ticks()
    follower = Follower(registry, wait=ticks.wait, clock=ticks.clock)
    follower.attach(graph)
    assert not caplog.records
    ticks.now += 31.0
    assert said(graph) == said(graph) == PLAIN
    assert [record.getMessage() for record in caplog.records] == [
        "the prompt registry has not answered for some time; graphs run on with the texts last known under 'production', or with their own"
    ]


async def test_async_streaming_and_events():
    registry, graph = MemoryRegistry(), build(use_async=True)
    publish(registry, 3)
    follower = quiet(registry)
    # Inside an event loop the first reading is not waited for.
    follower.attach(graph)
    await asyncio.to_thread(follower.refresh)
    assert (await graph.ainvoke({}))["check"] == "You check. 3"
    updates = [part async for part in graph.astream({}, stream_mode="updates")]
    assert updates == [{"draft": {"draft": "You draft. 3"}}, {"check": {"check": "You check. 3"}}]
    sent = [
        event["data"]["input"]["messages"][0][0].text
        async for event in graph.astream_events({}, version="v2")
        if event["event"] == "on_chat_model_start"
    ]
    assert sent == list(version(3))


def test_a_graph_that_is_a_part_of_another_is_attached_where_it_stands():
    registry, inner = MemoryRegistry(), build()
    publish(registry, 4)
    parent = StateGraph(State).add_node("post", inner).add_edge(START, "post").compile(name="office")
    attach(inner, registry)
    assert parent.invoke({}) == {"draft": "You draft. 4", "check": "You check. 4"}
    steps = [part for _, part in parent.stream({}, stream_mode="updates", subgraphs=True)]
    assert {"draft": {"draft": "You draft. 4"}} in steps


def test_the_texts_of_a_subgraph_are_laid_by_attaching_its_parent():
    registry, inner = MemoryRegistry(), build()
    parent = StateGraph(State).add_node("post", inner).add_edge(START, "post").compile(name="office")
    name = "office:post/draft/system"
    registry.commit([NewVersion(name, Template("You draft."))], label=LABEL, expect={name: None})
    registry.commit([NewVersion(name, Template("Draft!"), parent=1)], label=LABEL, expect={name: 1})
    attach(parent, registry)
    assert parent.invoke({})["draft"] == "Draft!"


def test_many_threads_at_once():
    registry, graph = MemoryRegistry(), build()
    publish(registry, 1)
    follower = quiet(registry)
    follower.attach(graph)

    one_writer = threading.Lock()

    def work(at):
        if at % 10 == 5:
            with one_writer:  # A second one would be refused, which is not what this is about.
                publish(registry, at)
            follower.refresh()
        draft, check = said(graph)
        return draft.removeprefix("You draft. ") == check.removeprefix("You check. ")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(60)))


def test_the_same_graph_attached_again_takes_the_earlier_ones_place():
    one, other, graph = MemoryRegistry(), MemoryRegistry(), build()
    publish(one, 1)
    publish(other, 2)
    kind = type(graph)
    first, second = attach(graph, one), attach(graph, other)
    assert said(graph) == version(2)
    first.detach()
    assert said(graph) == version(2)
    second.detach()
    assert type(graph) is kind
    assert said(graph) == PLAIN


def test_over_a_bound_graph_the_texts_lie_on_top_and_come_off_again():
    below, above, graph = MemoryRegistry(), MemoryRegistry(), build()
    publish(below, 1)
    bound = from_registry(graph, below)
    name = "letters:check/system"
    above.commit([NewVersion(name, Template("You check."))], label=LABEL, expect={name: None})
    above.commit([NewVersion(name, Template("Check!"), parent=1)], label=LABEL, expect={name: 1})
    attachment = attach(bound, above)
    assert said(bound) == ("You draft. 1", "Check!")
    attachment.detach()
    assert said(bound) == version(1)
    publish(below, 2)
    assert said(bound) == version(2)


def test_a_factory_that_makes_a_graph_for_each_request_holds_a_follower():
    registry = Flaky()
    publish(registry, 5)
    follower = quiet(registry)

    def make_graph():
        graph = build()
        follower.attach(graph)
        return graph

    assert said(make_graph()) == version(5)
    asked = registry.asked
    assert all(said(make_graph()) == version(5) for _ in range(5))
    assert registry.asked == asked


async def test_a_factory_inside_an_event_loop_does_not_block_it():
    answer = threading.Event()

    class Slow(MemoryRegistry):
        def names(self):
            answer.wait(60)
            return super().names()

    graph = build()
    Follower(Slow()).attach(graph)  # would wait for the registry otherwise
    assert (await graph.ainvoke({}))["check"] == "You check."
    answer.set()


def test_the_thread_ends_when_nobody_holds_the_follower():
    ticks, graph = Ticks(), build()
    follower = Follower(MemoryRegistry(), wait=ticks.wait, clock=ticks.clock)
    follower.attach(graph).detach()
    assert ticks.waiting.acquire(timeout=60)
    gone, thread = weakref.ref(follower), follower._thread
    del follower
    gc.collect()
    assert gone() is None
    ticks.go.release()
    thread.join(60)
    assert not thread.is_alive()


def test_close_ends_the_thread_and_leaves_the_texts():
    registry, graph = MemoryRegistry(), build()
    publish(registry, 1)
    follower = Follower(registry, every=1000)
    follower.attach(graph)
    follower.close()
    follower._thread.join(60)
    assert not follower._thread.is_alive()
    assert said(graph) == version(1)


def test_a_process_that_was_forked_follows_by_itself(monkeypatch):
    registry, graph, ticks = MemoryRegistry(), build(), Ticks()
    publish(registry, 1)
    follower = Follower(registry, wait=ticks.wait, clock=ticks.clock)
    follower.attach(graph)
    assert ticks.waiting.acquire(timeout=60)
    publish(registry, 2)
    # As a fork leaves it: another process, in which the thread does not run.
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert said(graph) in (version(1), version(2))  # the run started the thread, and did not wait for it
    assert ticks.waiting.acquire(timeout=60)
    assert said(graph) == version(2)


def test_with_a_checkpointer_and_a_config():
    registry, graph = MemoryRegistry(), build(checkpointer=InMemorySaver())
    publish(registry, 1)
    attach(graph, registry)
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    assert said(graph, config=config) == version(1)
    assert graph.get_state(config).values["draft"] == "You draft. 1"
    assert said(graph.with_config(tags=["x"]), config=config) == version(1)


def test_the_default_registry_and_another_label(home):
    registry, graph = default_registry(), build()
    publish(registry, 1)
    registry.move("canary", {f"letters:{site}": 1 for site in OWN}, expect=dict.fromkeys(f"letters:{s}" for s in OWN))
    with attach(graph):
        assert said(graph) == version(1)
    with attach(graph, label="canary"):
        assert said(graph) == PLAIN


def test_what_an_optimisation_publishes_an_attached_graph_runs_with():
    registry = MemoryRegistry()
    model = worlds.review_model()
    served, trained = worlds.three_nodes(model), worlds.three_nodes(model)
    follower = quiet(registry)
    follower.attach(served)

    def told(outputs, reference_outputs):
        return outputs["page"] == reference_outputs["page"], worlds.WANTED

    result = optimize(
        trained, (worlds.reviews(), [told]), registry=registry, settings=Settings(steps=1, batch=4, concurrency=1)
    )
    assert result.published
    follower.refresh()
    assert served.invoke({"review": "a good film"})["page"] == "<p>positive</p>"
    result.rollback()
    follower.refresh()
    assert "I think" in served.invoke({"review": "a good film"})["page"]


@pytest.mark.parametrize("graph", [object(), StateGraph(State), "letters:graph", None])
def test_only_compiled_graphs(graph):
    with pytest.raises(GraphError):
        attach(graph, MemoryRegistry())


@pytest.mark.parametrize("every", [0, -1.0, float("nan")])
def test_a_period_has_to_be_above_zero(every):
    with pytest.raises(GraphError, match="above 0"):
        attach(build(), MemoryRegistry(), every=every)
