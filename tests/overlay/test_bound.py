"""Graphs with their texts built in."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.pregel.remote import RemoteGraph

from textgrad_lg.errors import GraphError, TemplateError
from textgrad_lg.overlay import bind, overlay
from textgrad_lg.prompt import Demo
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel

from .support import (
    CASES,
    OLD,
    WAYS,
    Chat,
    CountingMeter,
    State,
    Watcher,
    by_agent,
    by_constant,
    change,
    scripted,
    sent,
)

SITE = Site(("ask",), "system")
NEW = {SITE: change(OLD, "New.")}
Q = {"question": "Why?"}


def systems(model):
    return [messages[0][1] for messages in sent(model)]


def two_steps(model) -> Any:
    """A graph whose stream has an item between its two calls."""

    def node(state):
        return {"answer": model.invoke([SystemMessage(OLD), HumanMessage("?", id="q")]).text}

    graph = StateGraph(State)
    graph.add_node("ask", node)
    graph.add_node("again", node)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "again")
    graph.add_edge("again", END)
    return graph.compile()


def both(text):
    return {Site((name,), "system"): change(OLD, text) for name in ("ask", "again")}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_every_way_of_running_sends_the_new_text(name, way):
    case = CASES[name]
    model, watcher = scripted(*case.replies), Watcher()
    graph = case.build(model)
    WAYS[way](bind(graph, lambda: case.texts), case.inputs, {"callbacks": [watcher]})
    assert [str(request) for request in model.requests] == case.sent
    assert watcher.calls == sent(model)


def test_the_original_is_untouched(originals):
    model = scripted()
    graph = by_constant(model)
    before = dict(vars(graph))
    bound = bind(graph, lambda: NEW)
    bound.invoke(Q)
    graph.invoke(Q)
    assert systems(model) == ["New.", OLD]
    assert type(graph) is CompiledStateGraph
    assert vars(graph) == before
    assert BaseChatModel.generate is originals["generate"]


def test_the_copy_is_of_the_same_kind_and_keeps_its_parts():
    graph = by_constant(scripted())
    bound = bind(graph, lambda: NEW)
    assert isinstance(bound, Pregel)
    assert isinstance(bound, CompiledStateGraph)
    assert type(bound) is type(bind(by_constant(scripted()), dict))
    assert bound.get_graph().to_json() == graph.get_graph().to_json()
    assert (bound.name, bound.get_name(), bound.nodes.keys()) == (graph.name, graph.get_name(), graph.nodes.keys())


def test_copies_of_the_copy_keep_the_texts():
    model = scripted()
    bound = bind(by_constant(model), lambda: NEW)
    bound.with_config(tags=["x"]).invoke(Q)
    bound.copy({"checkpointer": InMemorySaver()}).invoke(Q, {"configurable": {"thread_id": "1"}})
    bound.with_retry().invoke(Q)
    (RunnableLambda(lambda x: x) | bound).invoke(Q)
    assert systems(model) == ["New."] * 4


def test_a_checkpointer_and_a_thread_work_as_before():
    model = scripted()
    graph = by_constant(model).copy({"checkpointer": InMemorySaver()})
    bound = bind(graph, lambda: NEW)
    config = {"configurable": {"thread_id": "1"}}
    bound.invoke(Q, config)
    assert bound.get_state(config).values == {"question": "Why?", "answer": "fine"}
    assert len(list(graph.get_state_history(config))) == 3


def test_a_namespace_that_a_caller_names_outside_any_graph_is_not_a_node():
    model = scripted()
    bound = bind(by_constant(model).copy({"checkpointer": InMemorySaver()}), lambda: NEW)
    bound.invoke(Q, {"configurable": {"thread_id": "1", "checkpoint_ns": "elsewhere:1"}})
    assert systems(model) == ["New."]


def test_the_source_is_asked_once_a_run_and_anew_for_the_next():
    model, version = scripted(), iter(["1", "2"])
    bound = bind(two_steps(model), lambda: both(next(version)))
    bound.invoke(Q)
    bound.invoke(Q)
    assert systems(model) == ["1", "1", "2", "2"]


def test_the_source_is_asked_when_the_stream_is_read():
    version = ["old"]
    model = scripted()
    items = bind(by_constant(model), lambda: {SITE: change(OLD, version[0])}).stream(Q)
    version[0] = "new"
    list(items)
    assert systems(model) == ["new"]


def test_a_text_that_cannot_be_laid_over_is_refused_before_the_run():
    model = scripted()
    bad = {SITE: change(OLD, "New.", demos=(Demo((("q", "1"),), "2"),))}
    with pytest.raises(TemplateError):
        bind(by_constant(model), lambda: bad).invoke(Q)
    assert model.requests == []


@pytest.mark.parametrize(
    ("thing", "cure"),
    [
        (StateGraph(State), r"StateGraph is not compiled; call \.compile\(\)"),
        (RunnableLambda(lambda x: x), "RunnableLambda; make it a node of a StateGraph"),
        (RemoteGraph("agent", url="http://localhost:1"), "another process"),
        (lambda state: state, "this is a function"),
        (None, "NoneType"),
    ],
)
def test_what_is_not_a_compiled_graph_is_refused(thing, cure):
    with pytest.raises(GraphError, match=cure):
        bind(thing, dict)


class TestInsideAnotherGraph:
    """The texts belong to the graph's own sites, wherever it runs."""

    def outer(self, node) -> Any:
        graph = StateGraph(State)
        graph.add_node("desk", node)
        graph.add_edge(START, "desk")
        graph.add_edge("desk", END)
        return graph.compile()

    @pytest.mark.parametrize("way", WAYS)
    def test_as_a_node(self, way):
        model = scripted()
        WAYS[way](self.outer(bind(by_constant(model), lambda: NEW)), Q, None)
        assert systems(model) == ["New."]

    @pytest.mark.parametrize(
        "config",
        [None, {"tags": ["x"]}, {"configurable": {"user": "u"}}, {"configurable": {"thread_id": "own"}}],
        ids=["plain", "tags", "configurable", "own thread"],
    )
    def test_called_in_a_node(self, config):
        model = scripted()
        bound = bind(by_constant(model), lambda: NEW)
        self.outer(lambda state: bound.invoke(state, config)).invoke(Q)
        assert systems(model) == ["New."]

    def test_called_in_a_node_with_the_nodes_config_and_twice(self):
        model = scripted()
        bound = bind(by_constant(model), lambda: NEW)

        def node(state, config: RunnableConfig):
            bound.invoke(state, config)
            return bound.invoke(state, config)

        self.outer(node).invoke(Q)
        assert systems(model) == ["New."] * 2

    def test_called_in_an_asynchronous_node(self):
        model = scripted()
        bound = bind(by_constant(model), lambda: NEW)

        async def node(state):
            return await bound.ainvoke(state)

        asyncio.run(self.outer(node).ainvoke(Q))
        assert systems(model) == ["New."]

    def test_in_a_tool_of_a_named_agent(self):
        inner = scripted()
        bound = bind(by_constant(inner), lambda: NEW)

        @tool
        def consult(question: str) -> str:
            """Consult the judge."""
            return bound.invoke({"question": question})["answer"]

        outer = ScriptedChatModel(replies=[{"question": "Why?"}, "done"])
        boss: Any = create_agent(outer, [consult], name="boss")
        boss.invoke({"messages": [("human", "Go")]})
        assert systems(inner) == ["New."]

    def test_a_named_agent_as_a_node(self):
        model = scripted("fine")
        agent_graph = by_agent(model)
        texts = {Site(("desk", "model"), "system", agent="clerk"): change(OLD, "New.")}
        graph = StateGraph(Chat)
        graph.add_node("office", bind(agent_graph, lambda: texts))
        graph.add_edge(START, "office")
        compiled: Any = graph.compile()
        compiled.invoke({"messages": [("human", "Why?")]})
        assert systems(model) == ["New."]

    def test_the_texts_do_not_leak_to_the_nodes_around(self):
        model = scripted()
        bound = bind(by_constant(model), lambda: {**NEW, Site(("desk",), "system"): change(OLD, "Leaked.")})

        def node(state):
            bound.invoke(state)
            return {"answer": model.invoke([SystemMessage(OLD)]).text}

        self.outer(node).invoke(Q)
        assert systems(model) == ["New.", OLD]

    def test_a_bound_graph_in_a_bound_graph(self):
        model = scripted()
        inner = bind(two_steps(model), lambda: both("Inner."))
        outer_texts = {Site(("desk", "again"), "system"): change("Inner.", "Outer.")}
        bind(self.outer(inner), lambda: outer_texts).invoke(Q)
        assert systems(model) == ["Inner.", "Outer."]


class TestUnderAnOverlay:
    def test_the_overlay_decides_for_the_sites_it_names(self):
        model, meter = scripted(), CountingMeter()
        bound = bind(two_steps(model), lambda: both("Bound."))
        with overlay({SITE: change(OLD, "Tried.")}, meter=meter):
            bound.invoke(Q)
        assert systems(model) == ["Tried.", "Bound."]
        assert len(meter.settled) == 2

    def test_an_overlay_may_start_from_the_bound_text(self):
        model = scripted()
        with overlay({SITE: change("New.", "Newer.")}):
            bind(by_constant(model), lambda: NEW).invoke(Q)
        assert systems(model) == ["Newer."]

    def test_a_meter_alone_leaves_the_bound_texts(self):
        model, meter = scripted(), CountingMeter()
        with overlay(meter=meter):
            bind(by_constant(model), lambda: NEW).invoke(Q)
        assert systems(model) == ["New."]
        assert len(meter.settled) == 1

    def test_bound_twice(self):
        model = scripted()
        once = bind(by_constant(model), lambda: NEW)
        twice = bind(once, lambda: {SITE: change("New.", "Newer.")})
        twice.invoke(Q)
        once.invoke(Q)
        assert systems(model) == ["Newer.", "New."]
        assert type(twice) is type(once)


class TestStreamsInTurns:
    def test_synchronous(self):
        model = scripted()
        plain = two_steps(model)
        one, two = bind(plain, lambda: both("One.")), bind(plain, lambda: both("Two."))
        streams = [graph.stream(Q, stream_mode="updates") for graph in (one, plain, two, one)]
        for _ in range(2):
            for items in streams:
                next(items)
        assert [list(items) for items in streams] == [[]] * 4
        assert systems(model) == ["One.", OLD, "Two.", "One."] * 2

    async def test_asynchronous(self):
        model = scripted()
        plain = two_steps(model)
        one, two = bind(plain, lambda: both("One.")), bind(plain, lambda: both("Two."))
        streams = [graph.astream(Q, stream_mode="updates") for graph in (one, plain, two, one)]
        for _ in range(2):
            for items in streams:
                await anext(items)
        assert [[item async for item in items] for items in streams] == [[]] * 4
        assert systems(model) == ["One.", OLD, "Two.", "One."] * 2

    @pytest.mark.parametrize("end", ["close", "forget"])
    def test_abandoned(self, end, originals):
        model = scripted()
        plain = two_steps(model)
        items = bind(plain, lambda: both("New.")).stream(Q, stream_mode="updates")
        next(items)
        plain.invoke(Q)
        if end == "close":
            items.close()
        del items
        gc.collect()
        plain.invoke(Q)
        assert systems(model) == ["New.", OLD, OLD, OLD, OLD]
        assert BaseChatModel.generate is originals["generate"]

    async def test_abandoned_asynchronous(self, originals):
        model = scripted()
        plain = two_steps(model)
        items = bind(plain, lambda: both("New.")).astream(Q, stream_mode="updates")
        await anext(items)
        await plain.ainvoke(Q)
        await items.aclose()
        await plain.ainvoke(Q)
        assert systems(model) == ["New.", OLD, OLD, OLD, OLD]
        assert BaseChatModel.generate is originals["generate"]

    def test_a_graph_that_raises(self):
        model = scripted(ZeroDivisionError("theirs"))
        with pytest.raises(ZeroDivisionError, match="theirs"):
            bind(by_constant(model), lambda: NEW).invoke(Q)

    def test_a_source_that_raises(self):
        def source():
            raise ZeroDivisionError("theirs")

        with pytest.raises(ZeroDivisionError, match="theirs"):
            bind(by_constant(scripted()), source).invoke(Q)


def test_the_functional_api():
    model = scripted()

    @task
    def draft(question: str) -> str:
        return model.invoke([SystemMessage(OLD), HumanMessage(question, id="q")]).text

    @entrypoint()
    def essay(question: str) -> str:
        return draft(question).result()

    graph: Any = bind(essay, lambda: {Site(("essay", "draft"), "system"): change(OLD, "New.")})
    graph.invoke("Why?")
    assert systems(model) == ["New."]
