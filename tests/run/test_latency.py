"""How long a run takes: by what waits for what, whatever was replayed and whatever ran beside it."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Annotated, Any, TypedDict, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send

from tests.replay.support import network
from textgrad_lg import Trace
from textgrad_lg.record import record
from textgrad_lg.replay import Replay
from textgrad_lg.run.latency import critical_path, work
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.testing.traces import TraceBuilder
from textgrad_lg.trace import Edge, Span
from textgrad_lg.types import SpanKind, Tools
from textgrad_lg.variable import Variable

ONE_BY_ONE: Any = {"max_concurrency": 1}
SECONDS = st.floats(0, 100).map(lambda value: round(value, 3))


class World:
    """A clock, and calls that take their time by it. All run one after another, so that each takes its own time."""

    def __init__(self, **seconds: float):
        self.now, self.seconds = 0.0, seconds

    def spend(self, name):
        self.now += self.seconds[name]

    def model(self, reply: Any = None) -> ScriptedChatModel:
        """A model whose reply takes as long as its system text says: "You are a." takes `seconds["a"]`."""

        def answer(messages):
            name = messages[0].text.removeprefix("You are ").removesuffix(".")
            self.spend(name)
            return reply(messages) if reply else AIMessage(f"reply of {name}")

        return ScriptedChatModel(replies=answer)

    def clock(self) -> float:
        return self.now

    def traces(self, run) -> tuple[Trace, Trace]:
        """The Trace of a live run, and of its replay."""
        found = []
        memo = None
        for _ in range(2):
            replay = Replay(memo, tools=Tools.RECORD, clock=self.clock)
            with replay.in_force(), record(clock=self.clock) as recording:
                run()
            memo = replay.memo
            found.append(recording.trace)
        assert any(span.attributes.get("replayed") for span in found[1].spans)
        return found[0], found[1]

    def paths(self, run) -> tuple[float, float]:
        live, again = self.traces(run)
        assert [(at.span, round(at.seconds, 6)) for at in work(live)] == [
            (at.span, round(at.seconds, 6)) for at in work(again)
        ]
        return round(critical_path(live), 6), round(critical_path(again), 6)


def ask(graph):
    return lambda: graph.invoke({"question": "Why?", "said": {}}, ONE_BY_ONE)


def test_a_chain_takes_the_sum():
    world = World(a=1, b=2, c=4)
    assert world.paths(ask(network(world.model(), {"a": [], "b": ["a"], "c": ["b"]}))) == (7, 7)


def test_a_fan_out_takes_its_longest_branch_though_all_ran_one_by_one():
    world = World(a=1, b=2, c=4, d=8)
    graph = network(world.model(), {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]})
    assert world.paths(ask(graph)) == (13, 13)


def test_a_step_waits_for_the_slowest_of_the_step_before():
    world = World(a=1, b=16, c=2, d=4)
    assert world.paths(ask(network(world.model(), {"a": [], "b": ["a"], "c": ["a"], "d": ["c"]}))) == (21, 21)


def test_what_is_sent_runs_side_by_side():
    class State(TypedDict, total=False):
        parts: list[str]
        done: Annotated[list[str], operator.add]

    world = World(x=1, y=5, z=2)
    model = world.model()
    graph = StateGraph(State)
    graph.add_node("each", lambda state: {"done": [model.invoke([SystemMessage(f"You are {state}.")]).text]})
    graph.add_conditional_edges(START, lambda state: [Send("each", part) for part in state["parts"]])
    graph.add_edge("each", END)
    app: Any = graph.compile()
    assert world.paths(lambda: app.invoke({"parts": ["x", "y", "z"]}, ONE_BY_ONE)) == (5, 5)


def test_a_loop_of_calls_and_tools_takes_the_sum_of_its_turns_and_the_longest_of_tools_called_at_once():
    world = World(clerk=1, quick=2, thorough=8)
    calls = [{"name": name, "args": {"key": name}, "id": name} for name in ("quick", "thorough")]

    def reply(messages):
        return AIMessage("done") if messages[-1].type == "tool" else AIMessage("", tool_calls=calls)

    @tool
    def quick(key: str) -> str:
        """Look."""
        world.spend("quick")
        return f"found {key}"

    @tool
    def thorough(key: str) -> str:
        """Look everywhere."""
        world.spend("thorough")
        return f"searched {key}"

    agent: Any = create_agent(world.model(reply), [quick, thorough], system_prompt="You are clerk.")
    assert world.paths(lambda: agent.invoke({"messages": [HumanMessage("Look.")]}, ONE_BY_ONE)) == (10, 10)


def test_a_failed_attempt_comes_before_the_next():
    world = World(a=2)
    model, tries = world.model(), []

    def node(state):
        said = model.invoke([SystemMessage("You are a.")]).text
        tries.append(said)
        if len(tries) % 2:
            raise ConnectionError
        return {"text": said}

    graph = StateGraph(cast("Any", dict)).add_node(
        "node", node, retry_policy=RetryPolicy(initial_interval=0, jitter=False)
    )
    app: Any = graph.add_edge(START, "node").compile()
    live, _ = world.traces(lambda: app.invoke({}, ONE_BY_ONE))
    assert critical_path(live) == 4


def test_a_router_that_asks_a_model_comes_after_its_node():
    class State(TypedDict, total=False):
        text: str

    world = World(a=1, router=2, b=4)
    model = world.model()

    def router(state):
        model.invoke([SystemMessage("You are router.")])
        return "b"

    graph = StateGraph(State)
    graph.add_node("a", lambda state: {"text": model.invoke([SystemMessage("You are a.")]).text})
    graph.add_node("b", lambda state: {"text": model.invoke([SystemMessage("You are b.")]).text})
    graph.add_edge(START, "a")
    graph.add_conditional_edges("a", router, ["b"])
    app: Any = graph.compile()
    assert world.paths(lambda: app.invoke({}, ONE_BY_ONE)) == (7, 7)


def test_a_subgraph_and_code_without_a_call_take_their_time():
    class State(TypedDict, total=False):
        text: str

    world = World(inner=1, code=2)
    model = world.model()

    def code(state):
        world.spend("code")
        return {"text": state["text"].upper()}

    inside = StateGraph(State)
    inside.add_node("inner", lambda state: {"text": model.invoke([SystemMessage("You are inner.")]).text})
    inside.add_node("code", code)
    inside.add_edge(START, "inner").add_edge("inner", "code")
    graph = StateGraph(State).add_node("sub", inside.compile()).add_node("code", code)
    app: Any = graph.add_edge(START, "sub").add_edge("sub", "code").compile()
    assert world.paths(lambda: app.invoke({"text": ""}, ONE_BY_ONE)) == (5, 5)


def test_tasks_that_use_no_result_of_each_other_count_as_if_run_side_by_side():
    world = World(a=1, b=2, c=4)
    model = world.model()

    @task
    def one(name: str, given: str) -> str:
        return model.invoke([SystemMessage(f"You are {name}."), HumanMessage(given)]).text

    @entrypoint()
    def flow(question: str):
        parts = [one("a", question).result(), one("b", question).result()]
        return one("c", " | ".join(parts)).result()

    assert world.paths(lambda: flow.invoke("Why?")) == (6, 6)


@st.composite
def traces(draw, reads=None):
    """Nodes with a call, with a tool or without either; each is given the results of some before it."""
    build = TraceBuilder()
    made = [build.input("question", "Why?")]
    for at in range(draw(st.integers(1, 6))):
        given = reads(made) if reads else draw(st.lists(st.sampled_from(made), unique=True))
        kind = draw(st.sampled_from(["llm", "tool", "node"]))
        match kind:
            case "llm":
                made.append(build.llm(f"n{at}", reply=f"reply {at}", reads=given))
            case "tool":
                made.append(build.tool(f"n{at}", result=f"result {at}", reads=given))
            case _:
                made.append(build.node(f"n{at}", value=f"value {at}", reads=given))
    trace = build.finish({"answer": made[-1]})
    spans = [replace(span, end=draw(SECONDS)) for span in trace.spans]
    for at in draw(st.lists(st.sampled_from(range(len(spans))), unique=True)):
        told: Any = {"replayed": True, "seconds": spans[at].end}
        spans[at] = replace(spans[at], end=0.0, attributes=told)
    return replace(trace, spans=tuple(spans))


@settings(max_examples=60)
@given(traces())
def test_it_takes_as_long_as_its_longest_part_and_no_longer_than_all(trace):
    seconds = [part.seconds for part in work(trace)]
    assert max(seconds) - 1e-9 <= critical_path(trace) <= sum(seconds) + 1e-9


@settings(max_examples=30)
@given(traces(reads=lambda made: made[-1:]))
def test_any_chain_takes_the_sum(trace):
    assert critical_path(trace) == pytest.approx(sum(part.seconds for part in work(trace)))


@settings(max_examples=30)
@given(traces(reads=lambda made: made[:1]))
def test_any_fan_out_takes_its_longest_branch(trace):
    assert critical_path(trace) == max(part.seconds for part in work(trace))


def test_nothing_counts_twice_and_a_call_inside_a_tool_counts_for_it():
    spans = (
        Span("s0", SpanKind.GRAPH, "g", end=9),
        Span("s1", SpanKind.NODE, "n", "s0", end=9),
        Span("s2", SpanKind.TOOL, "t", "s1", end=8),
        Span("s3", SpanKind.LLM, "m", "s2", end=5),
        Span("s4", SpanKind.NODE, "plain", "s0", end=2),
        Span("s5", SpanKind.FUNCTION, "router", "s4", end=1),
        Span("s6", SpanKind.EVAL, "e", "s0", end=100),
    )
    assert [(part.span, part.seconds) for part in work(Trace("1", "g", spans))] == [("s3", 5), ("s4", 2)]


def test_an_edge_that_is_only_possible_does_not_make_one_wait():
    build = TraceBuilder()
    question = build.input("question", "Why?")
    first = build.tool("first", result="a", reads=[question])
    second = build.node("second", value="b", reads=[first], weight=0.1)
    trace = build.finish({"answer": second})
    trace = replace(trace, spans=tuple(replace(span, end=3.0) for span in trace.spans))
    assert critical_path(trace) == 3
    chosen = tuple(replace(edge, via="control") if edge.weight < 1 else edge for edge in trace.edges)
    assert critical_path(replace(trace, edges=chosen)) == 6


def test_a_trace_that_no_run_gives_is_read_all_the_same():
    spans = (
        Span("s1", SpanKind.LLM, "a", "gone", end=1),
        Span("s2", SpanKind.LLM, "b", "s3", end=2),
        Span("s3", SpanKind.NODE, "late", end=4, attributes={"replayed": True, "seconds": "?"}),
        Span("s4", SpanKind.LLM, "c", start=3, end=1),
    )
    made = tuple(Variable(f"v{at}", at, "value", f"s{at}") for at in (4, 1, 2))
    trace = Trace("1", "g", spans, made, (Edge("v4", "v1", "s1"), Edge("v1", "v2", "s2")))
    assert critical_path(trace) == 3
    assert critical_path(Trace("1", "empty")) == 0
