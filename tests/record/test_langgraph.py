"""What a run becomes: Spans, their attributes, the Variables, and values as JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import uuid
from typing import Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from langchain.agents import create_agent
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import NodeError
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState
from langgraph.types import CachePolicy, Command, Overwrite, RetryPolicy, Send, interrupt
from pydantic import BaseModel

from textgrad_lg.record.order import tasks
from textgrad_lg.record.snapshot import snapshot as copied
from textgrad_lg.record.values import Converter, same, state_fields, update_fields
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.trace import Trace
from textgrad_lg.variable import text_of

from .graphs import (
    State,
    blank,
    chain,
    echo,
    fan_out,
    into,
    linear,
    looping,
    map_reduce,
    printed,
    record,
    routed,
    says,
    span_of,
)


class Question(TypedDict):
    question: str


def recorded(graph, inputs, **options) -> Any:
    with record() as recording:
        graph.invoke(inputs, **options)
    trace = recording.trace
    assert Trace.from_json(trace.to_json()) == trace
    assert trace.warnings == ()
    return trace


class TestSpans:
    def test_a_whole_trace(self):
        assert printed(recorded(linear(), {"question": "Where is my money?"})) == snapshot("""\
s0 graph LangGraph in None at #0
s1 node classify in s0 at classify#0
s2 llm double in s1 at classify#0
s3 node answer in s0 at answer#0
s4 llm double in s3 at answer#0
s0.in.question = Where is my money? (input `question`)
s2.in0 = Classify the question. (system prompt of `classify`) classify/system
s2.in1 = Where is my money? (human prompt of `classify`) classify/human
s2.out = {'role': 'assistant', 'content': 'Label: BILLING'} (reply of `classify`)
s1.out.label = billing (channel `label` written by `classify`)
s4.in0 = You answer questions about billing. (system prompt of `answer`) answer/system
s4.in1 = Where is my money? (human prompt of `answer`) answer/human
s4.out = {'role': 'assistant', 'content': 'reply to Where is my money?'} (reply of `answer`)
s3.out.answer = reply to Where is my money? (channel `answer` written by `answer`)
s0.out.question = Where is my money? (output `question`)
s0.out.label = billing (output `label`)
s0.out.answer = reply to Where is my money? (output `answer`)
s0.out.parts = [] (output `parts`)
s0.in.question -> s2.out by s2 text
s2.in0 -> s2.out by s2 call
s2.in1 -> s2.out by s2 call
s2.out -> s1.out.label by s1 text
s0.in.question -> s4.out by s4 text
s1.out.label -> s4.out by s4 text
s4.in0 -> s4.out by s4 call
s4.in1 -> s4.out by s4 call
s4.out -> s3.out.answer by s3 text
s0.in.question -> s0.out.question by s0 text
s1.out.label -> s0.out.label by s0 text
s3.out.answer -> s0.out.answer by s0 text\
""")

    def test_a_loop_counts_visits(self):
        trace = recorded(looping(3), {"messages": "start"})
        assert [(s.kind, s.name, s.visit) for s in trace.spans if s.kind != "function"] == [
            ("graph", "LangGraph", 0),
            *((kind, name, at) for at in range(3) for kind, name in (("node", "talk"), ("llm", "double"))),
        ]
        assert [s.visit for s in trace.spans if s.kind == "function"] == [0, 1, 2]

    def test_a_subgraph_and_its_paths(self):
        inner = chain(("draft", lambda state: {"draft": echo().invoke(state["question"]).text}))
        trace = recorded(chain(("desk", inner), ("end", lambda s: {"answer": s["draft"]})), {"question": "why"})
        assert [(s.kind, s.name, s.parent, s.path) for s in trace.spans] == [
            ("graph", "LangGraph", None, ()),
            ("node", "desk", "s0", ("desk",)),
            ("graph", "LangGraph", "s1", ("desk",)),
            ("node", "draft", "s2", ("desk", "draft")),
            ("llm", "double", "s3", ("desk", "draft")),
            ("node", "end", "s0", ("end",)),
        ]

    def test_a_graph_invoked_twice_inside_a_node(self):
        inner = chain(("draft", lambda state: {"draft": echo().invoke(state["question"]).text}))
        outer = chain(
            (
                "twice",
                lambda s: {
                    "answer": [inner.invoke({"question": f"{s['question']} {at}"}) for at in (1, 2)][1]["draft"]
                },
            )
        )
        trace = recorded(outer, {"question": "why"})
        assert [(s.path, s.visit) for s in trace.spans if s.name == "draft"] == [
            (("twice", "draft"), 0),
            (("twice", "draft"), 1),
        ]

    def test_a_retry_keeps_its_failed_attempts(self):
        left = [ValueError("first"), ValueError("second")]

        def flaky(state):
            reply = echo().invoke(state["question"])
            if left:
                raise left.pop(0)
            return {"answer": reply.text}

        build = blank(State)
        build.add_node(
            "flaky", flaky, retry_policy=RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ValueError)
        )
        build.add_edge(START, "flaky")
        trace = recorded(build.compile(), {"question": "why"})
        nodes = [span for span in trace.spans if span.kind == "node"]
        assert [(s.error, s.visit) for s in nodes] == [("ValueError: first", 0), ("ValueError: second", 0), (None, 0)]
        assert len({span.attributes["task"] for span in nodes}) == 1
        assert [v.id for v in trace.variables if v.id.endswith(".answer")] == [
            f"{nodes[2].id}.out.answer",
            "s0.out.answer",
        ]
        assert trace.spans[0].error is None

    def test_a_node_that_raises(self):
        def bad(state):
            return {"answer": json.loads(echo().invoke([("system", "JSON."), state["question"]]).text)}

        with record() as recording, pytest.raises(ValueError):
            chain(("bad", bad)).invoke({"question": "why"})
        trace = recording.trace
        assert Trace.from_json(trace.to_json()) == trace
        assert [bool(span.error) for span in trace.spans] == [True, True, False]
        assert trace.outputs == {"error": "s0.out.error"}
        assert trace.output()["error"].startswith("JSONDecodeError: Expecting value")
        assert {e.source for e in trace.incoming["s0.out.error"]} == {"s1.error"}
        assert {e.source for e in trace.incoming["s1.error"]} == {"s2.out"}

    def test_a_model_that_raises(self):
        with record() as recording, pytest.raises(ZeroDivisionError):
            chain(("bad", lambda s: {"answer": says(ZeroDivisionError()).invoke(s["question"])})).invoke(
                {"question": "why"}
            )
        trace = recording.trace
        assert [span.error for span in trace.spans] == ["ZeroDivisionError"] * 3
        assert [str(p.site) for p in trace.parameters] == ["bad/human"]
        assert "s2.out" not in trace.variable_by_id

    def test_a_graph_that_raises_before_its_first_node(self):
        with record() as recording, pytest.raises(Exception, match=r"recursion|Recursion"):
            looping(9).invoke({"messages": "hi"}, {"recursion_limit": 2})
        assert "GraphRecursionError" in recording.trace.spans[0].error
        assert recording.trace.output()["error"].startswith("GraphRecursionError")

    def test_an_error_that_a_node_catches_from_a_graph_inside(self):
        def bad(state):
            raise KeyError("deep")

        inner = chain(("bad", bad))

        def careful(state):
            try:
                inner.invoke(state)
            except KeyError:
                return {"answer": "rescued"}
            return {}

        trace = recorded(chain(("careful", careful)), {"question": "why"})
        assert [bool(span.error) for span in trace.spans] == [False, False, True, True]
        assert trace.output()["answer"] == "rescued"

    def test_the_error_of_a_node_is_what_its_handler_goes_by(self):
        def broken(state):
            raise ValueError("shelf seven is empty")

        def rescue(state, error: NodeError):
            return {"answer": f"sorry: {error.error}"}

        build = blank(State)
        build.add_node("first", lambda state: {"draft": "a draft"})
        build.add_node("broken", broken, error_handler=rescue)
        build.add_edge(START, "first")
        build.add_conditional_edges("first", lambda state: "broken", ["broken"])
        trace = recorded(build.compile(), {"question": "q"})
        handler = span_of(trace, "__error_handler__broken")
        assert into(trace, f"{handler.id}.out.answer") == {
            "s3.error": "text",
            "s0.in.question": "channel?",
            "s1.out.draft": "channel?",
            "s2.out": "control?",
        }
        assert trace.variable_by_id["s3.error"].value == "ValueError: shelf seven is empty"
        assert into(trace, "s0.out.answer") == {f"{handler.id}.out.answer": "text"}

    def test_a_handler_of_all_nodes_gets_the_error_of_the_one_that_was_sent_a_value(self):
        def work(state):
            if state["item"] == "two":
                raise ValueError("cannot do two")
            return {"parts": [state["item"]]}

        def rescue(state, error: NodeError):
            return {"parts": [f"left out, because {error.error}"]}

        build = blank(State)
        build.set_node_defaults(error_handler=rescue)
        build.add_node("split", lambda state: {"data": ["one", "two"]})
        build.add_node("work", work)
        build.add_edge(START, "split")
        build.add_conditional_edges("split", lambda s: [Send("work", {"item": at}) for at in s["data"]], ["work"])
        trace = recorded(build.compile(), {})
        (handler,) = [at for at in trace.spans if "error_handler" in at.name]
        (failed_at,) = [at for at in trace.variables if at.id.endswith(".error")]
        assert into(trace, f"{handler.id}.out.parts")[failed_at.id] == "text"
        assert f"{handler.id}.out.parts" in into(trace, "s0.out.parts")

    def test_a_graph_of_the_same_name_does_not_count_as_a_visit_of_its_node(self):
        inner = chain(("draft", lambda state: {"draft": "a draft"}), name="desk")
        build = blank(State)
        build.add_node("desk", inner)
        build.add_edge(START, "desk")
        build.add_conditional_edges("desk", lambda s: "more", {"more": "count"})
        build.add_node("count", lambda state: {"count": (state.get("count") or 0) + 1})
        build.add_conditional_edges("count", lambda s: "desk" if s["count"] < 2 else END, ["desk", END])
        trace = recorded(build.compile(), {})
        assert [s.visit for s in trace.spans if (s.name, s.kind) == ("desk", "node")] == [0, 1]
        assert [s.visit for s in trace.spans if (s.name, s.kind) == ("desk", "graph")] == [0, 1]

    def test_a_question_and_its_answer_go_through_the_graph_around(self):
        def ask(state):
            return {"draft": f"{state['question']}, and {interrupt('how many')} of them"}

        graph = chain(("desk", chain(("ask", ask))), checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        first = recorded(graph, {"question": "pears"}, config=config)
        assert into(first, "s1.out.__interrupt__") == {"s3.out.__interrupt__": "value"}
        assert into(first, "s3.out.__interrupt__")["s2.in.question"] == "channel?"
        second = recorded(graph, Command(resume="a dozen"), config=config)
        assert "a dozen" in second.variable_by_id["s3.out.draft"].value
        assert into(second, "s3.out.draft")["s0.in.resume"] == "text"

    def test_only_the_first_step_of_a_resumed_run_may_use_the_answer(self):
        graph = chain(
            ("ask", lambda s: {"draft": interrupt("what")}),
            ("next", lambda s: {"answer": "done"}),
            checkpointer=InMemorySaver(),
        )
        config = {"configurable": {"thread_id": "1"}}
        recorded(graph, {"question": "pears"}, config=config)
        trace = recorded(graph, Command(resume="a dozen"), config=config)
        assert "s0.in.resume" in into(trace, "s1.out.draft")
        assert "s0.in.resume" not in into(trace, "s2.out.answer")

    def test_a_branch_that_had_ended_before_the_run_was_resumed(self):
        build = blank(MessagesState)
        build.add_node("left", lambda s: {"messages": [AIMessage("from the left", id="l")]})
        build.add_node("right", lambda s: {"messages": [AIMessage(interrupt("what"), id="r")]})
        build.add_node("join", lambda s: {"messages": [AIMessage(s["messages"][1].text, id="j")]})
        for name in ("left", "right"):
            build.add_edge(START, name)
            build.add_edge(name, "join")
        graph = build.compile(checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        recorded(graph, {"messages": [HumanMessage("go", id="h")]}, config=config)
        trace = recorded(graph, Command(resume="from the right"), config=config)
        there = {at.id: at.value for at in trace.variables if at.role == "state `messages`, there before the run"}
        assert {name: [m["id"] for m in value] for name, value in there.items()} == {
            "s0.in.messages": ["h"],
            "s0.in.messages.2": ["l"],
        }
        (join,) = [at.id for at in trace.spans if at.name == "join"]
        assert into(trace, f"{join}.out.messages")["s0.in.messages.2"] == "text"

    def test_an_interrupt_is_no_error_and_the_resumed_run_is_a_second_trace(self):
        build = chain(("ask", lambda s: {"answer": interrupt({"sure": s["question"]})}), checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        with record() as recording:
            build.invoke({"question": "really"}, config)
            build.invoke(Command(resume="yes indeed"), config)
        first, second = recording.traces
        assert [span.error for span in (*first.spans, *second.spans)] == [None] * 4
        assert first.spans[1].attributes["interrupt"] == [{"sure": "really"}]
        assert "answer" not in first.outputs
        assert second.inputs == {"resume": "s0.in.resume"}
        assert second.output()["answer"] == "yes indeed"
        assert second.variable_by_id["s0.in.question"].value == "really"

    def test_a_command_is_control_flow(self):
        build = blank(State)
        build.add_node("first", lambda s: Command(update={"label": echo().invoke("abc").text}, goto="second"))
        build.add_node("second", lambda s: {"answer": "done"})
        build.add_edge(START, "first")
        trace = recorded(build.compile(), {"question": "why"})
        assert trace.variable_by_id["s1.goto"].value == "second"
        assert trace.output()["label"] == "reply to abc"

    def test_a_handoff_to_the_parent_graph(self):
        inner = blank(State)
        inner.add_node(
            "hand", lambda s: Command(graph=Command.PARENT, update={"draft": echo().invoke("abc").text}, goto="after")
        )
        inner.add_edge(START, "hand")
        build = blank(State)
        build.add_node("desk", inner.compile())
        build.add_node("after", lambda s: {"answer": s["draft"]})
        build.add_edge(START, "desk")
        trace = recorded(build.compile(), {"question": "why"})
        assert [span.error for span in trace.spans] == [None] * len(trace.spans)
        assert trace.variable_by_id["s1.out.draft"].value == "reply to abc"
        assert [e.source for e in trace.incoming["s1.out.draft"]] == ["s3.out.draft"]
        assert [e.source for e in trace.incoming["s3.out.draft"] if e.weight == 1] == ["s4.out"]
        assert "s1.out.draft" in {e.source for e in trace.incoming["s5.out.answer"] if e.weight == 1}

    def test_a_handoff_from_two_graphs_down(self):
        inner = blank(State)
        inner.add_node("hand", lambda s: Command(graph=Command.PARENT, update={"draft": "a draft"}, goto="after"))
        inner.add_edge(START, "hand")
        middle = blank(State)
        middle.add_node("desk", inner.compile())
        middle.add_node("after", lambda s: {"answer": s["draft"]})
        middle.add_edge(START, "desk")
        trace = recorded(chain(("top", middle.compile())), {"question": "why"})
        after = span_of(trace, "after")
        assert after.path == ("top", "after")
        assert trace.output()["answer"] == "a draft"
        assert f"{span_of(trace, 'desk').id}.out.draft" in {e.source for e in trace.incoming[f"{after.id}.out.answer"]}

    def test_times_are_seconds_since_the_start(self):
        now = iter(range(100, 200))
        with record(clock=lambda: float(next(now))) as recording:
            linear().invoke({"question": "why"})
        assert [(s.start, s.end) for s in recording.trace.spans] == [(0, 9), (1, 4), (2, 3), (5, 8), (6, 7)]
        assert recording.trace.started == 100

    def test_what_runs_on_after_its_run_has_ended_is_named(self):
        with record() as recording:
            graph = linear()
            graph.invoke({"question": "why"})
            notes = recording._entries[0].notes
            del notes[-3]  # the end of the second call, before those of its node and of the graph
        trace = recording.trace
        assert trace.warnings == ("llm `double` had not ended when its run did",)
        assert trace.spans[4].end == trace.spans[0].end


class TestFunctions:
    def test_a_router(self):
        trace = recorded(routed(), {"question": "Where is my money?"})
        router = next(span for span in trace.spans if span.kind == "function")
        assert (router.name, router.parent) == ("choose", "s1")
        assert trace.variable_by_id[f"{router.id}.out"].value == "refund"

    def test_an_unnamed_router_at_the_start(self):
        build = blank(State)
        build.add_node("a", shout)
        build.add_node("b", shout)
        build.add_conditional_edges(START, lambda state: "b", ["a", "b"])
        trace = recorded(build.compile(), {"question": "why"})
        assert [(s.kind, s.name, s.parent) for s in trace.spans] == [
            ("graph", "LangGraph", None),
            ("function", "router", "s0"),
            ("node", "b", "s0"),
        ]

    async def test_an_async_router_has_the_same_name(self):
        build = blank(State)
        build.add_node("a", shout)
        build.add_conditional_edges(START, lambda state: "a", ["a"])
        with record() as recording:
            await build.compile().ainvoke({"question": "why"})
        assert recording.trace.spans[1].name == "router"

    def test_a_router_that_raises(self):
        def bad(state):
            raise ValueError("no way")

        with record() as recording, pytest.raises(ValueError):
            routed(route=bad).invoke({"question": "why"})
        assert recording.trace.span_by_id["s3"].error == "ValueError: no way"

    def test_a_router_that_calls_a_model(self):
        model = says("other")
        trace = recorded(
            routed(route=lambda s: model.invoke([("system", "Route."), s["label"]]).text), {"question": "why"}
        )
        call = trace.span_by_id["s4"]
        assert (call.kind, call.parent) == ("llm", "s3")
        assert trace.incoming["s3.out"][-1].source == "s4.out"

    def test_a_prompt_template_leaves_its_variables_with_the_call(self):
        prompt = ChatPromptTemplate.from_messages([("system", "Be {style}."), ("human", "{question}")])
        steps = prompt | echo() | StrOutputParser() | RunnableLambda(lambda text: {"answer": text})
        trace = recorded(chain(("talk", RunnableLambda(styled) | steps)), {"question": "why"})
        assert [span.kind for span in trace.spans] == ["graph", "node", "llm"]
        assert trace.spans[2].attributes["template_variables"] == {"question": "why", "style": "kind", "parts": []}
        assert trace.output()["answer"] == "reply to why"

    def test_the_functional_api(self):
        @task
        def draft(about):
            return echo().invoke([("system", "Draft."), ("human", about)]).text

        @task
        def refine(text, times=1):
            return text + "!" * times

        @entrypoint()
        def essay(topic):
            drafts = [draft(topic), draft(f"{topic} again")]
            return {"essay": refine(drafts[0].result() + drafts[1].result(), times=2).result()}

        trace = recorded(essay, "the sea")
        assert [(s.kind, s.name, s.path, s.visit) for s in trace.spans if s.kind != "llm"] == [
            ("graph", "LangGraph", (), 0),
            ("node", "essay", ("essay",), 0),
            ("node", "draft", ("essay", "draft"), 0),
            ("node", "draft", ("essay", "draft"), 1),
            ("node", "refine", ("essay", "refine"), 0),
        ]
        assert [str(p.site) for p in trace.parameters] == ["essay/draft/system", "essay/draft/human"] * 2
        text = "reply to the seareply to the sea again!!"
        assert trace.output() == {"essay": text}
        assert trace.variable_by_id["s6.in.text"].value == text[:-2]
        assert {e.source for e in trace.incoming["s6.in.text"]} >= {"s4.out"}

    def test_what_an_entrypoint_returns_is_the_result_and_what_it_saves_is_not(self):
        @task
        def shout(text: str) -> str:
            return text.upper()

        @entrypoint()
        def talk(text: str) -> entrypoint.final[str, str]:
            said = shout(text).result()
            return entrypoint.final(value=said, save=f"{text}, said before")

        trace = recorded(talk, "good morning")
        assert trace.output() == {"": "GOOD MORNING"}
        assert into(trace, "s0.out") == {"s1.out": "text"}
        assert into(trace, "s1.out") == {"s2.out": "text"}
        assert trace.variable_by_id["s1.out.previous"].value == "good morning, said before"

    def test_arguments_come_from_what_they_are_and_not_from_what_quotes_them(self):
        @task
        def name(kind: str) -> str:
            return f"the {kind} bridge"

        @task
        def praise(what: str, by: dict) -> dict:
            return {"text": f"praise of {what} by {by['who']}"}

        @entrypoint()
        def talk(kind: str) -> list:
            bridge = name(kind).result()
            first = praise(bridge, {"who": "a poet"}).result()
            second = praise(bridge, {"who": first["text"]}).result()
            third = praise(f"{bridge} at night", {"who": "nobody"}).result()
            return [first, second, third]

        trace = recorded(talk, "old stone")
        made = {at.id: [into(trace, f"{at.id}.in.{key}") for key in ("what", "by")] for at in trace.spans[3:]}
        first, second, third = made
        assert made[first][0] == made[second][0] == {"s2.out": "text"}
        assert made[second][1] == {f"{first}.out": "text"}
        assert made[third][0]["s2.out"] == "text"
        assert into(trace, "s1.out") == {f"{at}.out": "text" for at in made}

    def test_the_error_of_a_task_that_the_code_went_on_from(self):
        @task
        def fetch(page: str) -> str:
            raise LookupError(f"{page} is gone")

        @entrypoint()
        def talk(page: str) -> str:
            try:
                return fetch(page).result()
            except LookupError as error:
                return f"instead of it: {error}"

        trace = recorded(talk, "page nine")
        assert into(trace, "s1.out") == {"s2.error": "text"}
        assert trace.variable_by_id["s2.error"].value == "LookupError: page nine is gone"

    def test_what_ran_when_nothing_told_of_it(self):
        def cached(state: Question):
            return {"draft": f"on {state['question']}", "data": {"kept": "in the cache"}}

        def last(state):
            return {"answer": f"{state['draft']} / {state['data']['kept']} / {state['label']}"}

        build = blank(State)
        build.add_node("early", cached, cache_policy=CachePolicy())
        build.add_node("label", lambda state: {"label": "a label"})
        build.add_node("last", last)
        for before, after in ((START, "early"), ("early", "label"), ("label", "last")):
            build.add_edge(before, after)
        graph = build.compile(cache=InMemoryCache())
        recorded(graph, {"question": "why so"})
        with record() as recording:
            graph.invoke({"question": "why so", "data": {"given": "at first"}})
        trace = recording.trace
        (span,) = [at.id for at in trace.spans if at.name == "last"]
        assert {at.id: at.value for at in trace.variables if "did not run" in at.role} == {
            "s0.in.draft": "on why so",
            "s0.in.data.2": {"kept": "in the cache"},
        }
        assert into(trace, f"{span}.out.answer") == {
            "s0.in.draft": "text",
            "s0.in.data.2": "text",
            "s1.out.label": "text",
            "s0.in.question": "text",
        }
        assert len(trace.warnings) == 2

    def test_a_task_that_is_tried_again(self):
        left = [ValueError("first")]

        @task(retry_policy=RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ValueError))
        def draft(about):
            if left:
                raise left.pop()
            return f"{about}, then"

        @entrypoint()
        def essay(topic):
            return draft(topic).result()

        trace = recorded(essay, "the sea")
        assert [s.error for s in trace.spans if s.name == "draft"] == ["ValueError: first", None]
        assert trace.output() == {"": "the sea, then"}


class TestCalls:
    def test_messages_sites_and_usage(self):
        model = says("fine")

        def talk(state):
            messages = [
                ("system", "One."),
                ("system", "Two."),
                ("human", "Three."),
                *state["messages"],
                ("human", "Four."),
            ]
            return {"messages": [model.invoke(messages)]}

        trace = recorded(chain(("talk", talk), state=MessagesState), {"messages": [HumanMessage("hi", id="m1")]})
        call = trace.spans[2]
        assert call.attributes["messages"] == [
            {"role": "system", "content": "One.", "id": None, "site": "talk/system"},
            {"role": "system", "content": "Two.", "id": None, "site": "talk/system#1"},
            {"role": "human", "content": "Three.", "id": None, "site": "talk/human"},
            {"role": "human", "content": "hi", "id": "m1"},
            {"role": "human", "content": "Four.", "id": None, "site": "talk/human#1"},
        ]
        assert {key: call.attributes[key] for key in ("model", "provider", "input_tokens", "output_tokens")} == {
            "model": "double",
            "provider": "scriptedchatmodel",
            "input_tokens": 5,
            "output_tokens": 2,
        }
        prompts = trace.parameters
        assert [(p.id, p.value, p.requires_grad, p.span) for p in prompts] == [
            (f"s2.in{at}", text, False, None) for at, text in enumerate(["One.", "Two.", "Three.", "Four."])
        ]
        assert prompts[0].role == "system prompt of `talk`"
        assert trace.variable_by_id["s2.out"].value == {
            "role": "assistant",
            "content": "fine",
            "id": f"lc_run--{call.attributes['run_id']}-0",
        }

    def test_content_blocks_stay_as_they_are(self):
        blocks = [
            {"type": "text", "text": "Look."},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ]
        trace = recorded(
            chain(("talk", lambda s: {"answer": says("a cat").invoke([HumanMessage(blocks)]).text})), {"question": "q"}
        )
        assert trace.parameters[0].value == "Look."
        (call,) = [span for span in trace.spans if span.kind == "llm"]
        assert call.attributes["messages"][0]["content"] == blocks

    def test_an_agent_as_a_node_and_inside_a_node(self):
        @tool
        def search(query: str) -> str:
            """Search the web."""
            return f"found {query}"

        def agent():
            return create_agent(
                says({"query": "the weather"}, "It is fine."), [search], system_prompt="You help.", name="bot"
            )

        as_node = recorded(chain(("desk", agent()), state=MessagesState), {"messages": "How is it?"})
        inside = recorded(
            chain(("desk", lambda s: {"messages": agent().invoke(s)["messages"]}), state=MessagesState),
            {"messages": "How is it?"},
        )
        assert [str(p.site) for p in as_node.parameters] == ["desk/model[bot]/system"] * 2
        assert printed(as_node) == printed(inside)
        call = span_of(as_node, "search", kind="tool")
        assert {**call.attributes, "run_id": ""} == {
            "description": "Search the web.",
            "arguments": {"query": "the weather"},
            "tool_call_id": "call_0",
            "run_id": "",
        }
        llm = span_of(as_node, "double", kind="llm")
        assert llm.attributes["tools"][0]["function"]["name"] == "search"
        assert as_node.variable_by_id[f"{llm.id}.out"].value["tool_calls"] == [
            {"name": "search", "args": {"query": "the weather"}, "id": "call_0"}
        ]
        assert printed(as_node) == snapshot("""\
s0 graph LangGraph in None at #0
s1 node desk in s0 at desk#0
s2 graph bot in s1 at desk#0
s3 node model in s2 at desk/model#0
s4 llm double in s3 at desk/model#0
s5 node tools in s2 at desk/tools#0
s6 tool search in s5 at desk/tools#0
s7 node model in s2 at desk/model#1
s8 llm double in s7 at desk/model#1
s0.in.messages = How is it? (input `messages`)
s2.in.messages = [{'role': 'human', 'content': 'How is it?'}] (input `messages`)
s4.in0 = You help. (system prompt of `model`) desk/model[bot]/system
s4.out = {'role': 'assistant', 'content': '', 'name': 'bot', 'tool_calls': [{'name': 'search', 'args': {'query': 'the weather'}}]} (reply of `model`)
s3.out.messages = [{'role': 'assistant', 'content': '', 'name': 'bot', 'tool_calls': [{'name': 'search', 'args': {'query': 'the weather'}}]}] (channel `messages` written by `model`)
s5.in = [{'name': 'search', 'args': {'query': 'the weather'}, 'type': 'tool_call'}] (value sent to `tools`)
s6.out = {'role': 'tool', 'content': 'found the weather', 'name': 'search', 'tool_call_id': 'call_0'} (result of the tool `search`)
s5.out.messages = [{'role': 'tool', 'content': 'found the weather', 'name': 'search', 'tool_call_id': 'call_0'}] (channel `messages` written by `tools`)
s8.in0 = You help. (system prompt of `model`) desk/model[bot]/system
s8.out = {'role': 'assistant', 'content': 'It is fine.', 'name': 'bot'} (reply of `model`)
s7.out.messages = [{'role': 'assistant', 'content': 'It is fine.', 'name': 'bot'}] (channel `messages` written by `model`)
s2.out.messages = [{'role': 'human', 'content': 'How is it?'}, {'role': 'assistant', 'content': '', 'name': 'bot', 'tool_calls': [{'name': 'search', 'args': {'query': 'the weather'}}]}, {'role': 'tool', 'content': 'found the weather', 'name': 'search', 'tool_call_id': 'call_0'}, {'role': 'assistant', 'content': 'It is fine.', 'name': 'bot'}] (output `messages`)
s1.out.messages = [{'role': 'human', 'content': 'How is it?'}, {'role': 'assistant', 'content': '', 'name': 'bot', 'tool_calls': [{'name': 'search', 'args': {'query': 'the weather'}}]}, {'role': 'tool', 'content': 'found the weather', 'name': 'search', 'tool_call_id': 'call_0'}, {'role': 'assistant', 'content': 'It is fine.', 'name': 'bot'}] (channel `messages` written by `desk`)
s0.out.messages = [{'role': 'human', 'content': 'How is it?'}, {'role': 'assistant', 'content': '', 'name': 'bot', 'tool_calls': [{'name': 'search', 'args': {'query': 'the weather'}}]}, {'role': 'tool', 'content': 'found the weather', 'name': 'search', 'tool_call_id': 'call_0'}, {'role': 'assistant', 'content': 'It is fine.', 'name': 'bot'}] (output `messages`)
s0.in.messages -> s2.in.messages by s2 text
s2.in.messages -> s4.out by s4 message-id
s4.in0 -> s4.out by s4 call
s4.out -> s3.out.messages by s3 message-id
s3.out.messages -> s5.in by s5 tool-call-id
s5.in -> s6.out by s6 tool-call-id
s6.out -> s5.out.messages by s5 message-id
s2.in.messages -> s8.out by s8 message-id
s3.out.messages -> s8.out by s8 message-id
s5.out.messages -> s8.out by s8 message-id
s8.in0 -> s8.out by s8 call
s8.out -> s7.out.messages by s7 message-id
s2.in.messages -> s2.out.messages by s2 message-id
s3.out.messages -> s2.out.messages by s2 message-id
s5.out.messages -> s2.out.messages by s2 message-id
s7.out.messages -> s2.out.messages by s2 message-id
s2.out.messages -> s1.out.messages by s1 value
s0.in.messages -> s0.out.messages by s0 text
s1.out.messages -> s0.out.messages by s0 message-id\
""")

    def test_a_tool_that_raises_and_a_tool_called_by_code(self):
        @tool
        def check(text: str) -> str:
            """Check."""
            if "bad" in text:
                raise ValueError("bad text")
            return f"checked {text}"

        def node(state):
            try:
                check.invoke({"text": "bad " + state["question"]})
            except ValueError:
                return {"answer": check.invoke({"text": state["question"]})}
            return {}

        trace = recorded(chain(("node", node)), {"question": "the claim"})
        assert [(s.kind, s.error) for s in trace.spans[2:]] == [("tool", "ValueError: bad text"), ("tool", None)]
        assert "s2.out" not in trace.variable_by_id
        assert trace.variable_by_id["s3.out"].value == "checked the claim"

    def test_a_retriever(self):
        class Shelf(BaseRetriever):
            def _get_relevant_documents(self, query, *, run_manager: CallbackManagerForRetrieverRun):
                return [Document(f"a page on {query}", metadata={"page": 1})]

        trace = recorded(
            chain(("look", lambda s: {"answer": Shelf().invoke(s["question"])[0].page_content})), {"question": "whales"}
        )
        span = trace.spans[2]
        assert (span.kind, span.name, span.attributes["arguments"]) == ("retriever", "Shelf", {"query": "whales"})
        assert trace.variable_by_id["s2.out"].value[0]["page_content"] == "a page on whales"
        assert {e.source: e.via for e in trace.incoming["s2.out"]} == {"s0.in.question": "text"}

    def test_a_retriever_that_raises(self):
        class Broken(BaseRetriever):
            def _get_relevant_documents(self, query, *, run_manager: CallbackManagerForRetrieverRun):
                raise LookupError("no shelf")

        with record() as recording, pytest.raises(LookupError):
            chain(("look", lambda s: {"data": Broken().invoke(s["question"])})).invoke({"question": "whales"})
        assert [span.error for span in recording.trace.spans] == ["LookupError: no shelf"] * 3

    def test_a_model_of_the_older_kind_that_completes_text(self):
        trace = recorded(
            chain(("old", lambda s: {"answer": FakeListLLM(responses=["indeed"]).invoke(s["question"])})),
            {"question": "why so"},
        )
        assert trace.spans[2].attributes["messages"] == [
            {"role": "human", "content": "why so", "id": None, "site": "old/human"}
        ]
        assert trace.variable_by_id["s2.out"].value == {"role": "assistant", "content": "indeed"}
        assert [e.source for e in trace.incoming["s1.out.answer"]] == ["s2.out"]

    def test_usage_told_the_older_way(self):
        class Older(ScriptedChatModel):
            def _generate(self, messages, stop=None, run_manager=None, **kwargs):
                usage = {"token_usage": {"prompt_tokens": 7, "completion_tokens": 2}}
                return ChatResult(generations=[ChatGeneration(message=AIMessage("hi"))], llm_output=usage)

        trace = recorded(chain(("talk", lambda s: {"answer": Older().invoke(s["question"]).text})), {"question": "q"})
        assert (trace.spans[2].attributes["input_tokens"], trace.spans[2].attributes["output_tokens"]) == (7, 2)


class TestState:
    def test_pydantic_and_dataclass_state(self):
        class Model(BaseModel):
            question: str = ""
            answer: str | None = None
            limit: int = 3

        @dataclasses.dataclass
        class Data:
            question: str = ""
            answer: str = ""

        for state, write in (
            (Model, lambda text: Model(answer=text)),
            (Data, lambda text: {"answer": text}),
            (Model, lambda text: {"answer": text}),
        ):
            graph = chain(("talk", lambda s, write=write: write(echo().invoke(s.question).text)), state=state)
            trace = recorded(graph, state(question="why"))
            assert trace.output()["answer"] == "reply to why"
            assert "s2.out" in {e.source for e in trace.incoming["s1.out.answer"]}
            assert "s0.in.question" in {e.source for e in trace.incoming["s2.out"]}

    def test_a_state_that_is_no_mapping(self):
        build = blank(str)
        build.add_node("talk", lambda text: echo().invoke(text).text)
        build.add_edge(START, "talk")
        trace = recorded(build.compile(), "why so")
        assert (trace.inputs, trace.outputs) == ({"": "s0.in"}, {"": "s0.out"})
        assert trace.variable_by_id["s1.out"].value == "reply to why so"

    def test_state_changed_in_place_after_it_was_read(self):
        def careless(state):
            state["data"].append("mine")
            state["question"] = "changed"
            return {"answer": "done"}

        trace = recorded(chain(("first", careless), ("second", careless)), {"question": "why", "data": ["yours"]})
        assert trace.variable_by_id["s0.in.data"].value == ["yours"]
        assert trace.variable_by_id["s0.in.question"].value == "why"

    def test_state_from_a_checkpoint_and_from_defaults(self):
        graph = chain(("talk", lambda s: {"answer": echo().invoke(s["data"]).text}), checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        graph.invoke({"question": "q", "data": "the notes"}, config)
        trace = recorded(graph, {"question": "again"}, config=config)
        assert trace.inputs == {"question": "s0.in.question"}
        assert trace.variable_by_id["s0.in.data"].role == "state `data`, there before the run"
        assert {e.source: e.via for e in trace.incoming["s2.out"]} == {"s0.in.data": "text", "s2.in0": "call"}

    def test_several_commands_from_one_node(self):
        def both(state):
            return [Command(update={"parts": ["one"]}), {"parts": ["two"]}, Command(update=[("label", "three")])]

        trace = recorded(chain(("both", both)), {"question": "q"})
        assert trace.variable_by_id["s1.out.parts"].value == ["one", "two"]
        assert trace.variable_by_id["s1.out.label"].value == "three"

    def test_a_node_that_writes_nothing(self):
        trace = recorded(chain(("quiet", lambda s: None)), {"question": "q"})
        assert [v.id for v in trace.variables] == ["s0.in.question", "s0.out.question", "s0.out.parts"]

    @pytest.mark.parametrize(
        ("graph", "inputs"),
        [(fan_out, {"question": "pick one"}), (map_reduce, {"question": "first, second"}), (routed, {"question": "q"})],
    )
    def test_every_graph_comes_back_from_json(self, graph, inputs):
        trace = recorded(graph(), inputs)
        assert Trace.from_json(trace.to_json()) == trace


class Colour(enum.Enum):
    RED = "red"


class Point(BaseModel):
    x: int = 1


class Opaque:
    def __repr__(self):
        raise AssertionError("no repr is asked for")


@dataclasses.dataclass
class Pair:
    left: object
    right: object = None


class TestValues:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (True, True),
            (1.5, 1.5),
            (float("nan"), "nan"),
            (float("-inf"), "-inf"),
            (Colour.RED, "red"),
            ({Colour.RED: (1, 2)}, {"red": [1, 2]}),
            ({3: {"b", "a"}}, {"3": ["a", "b"]}),
            (Point(x=2), {"x": 2}),
            (Pair(1, Pair("a")), {"left": 1, "right": {"left": "a", "right": None}}),
            (pathlib.PurePosixPath("a/b"), "a/b"),
            (decimal.Decimal("1.10"), "1.10"),
            (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
            (dt.datetime(2024, 1, 2, tzinfo=dt.UTC), "2024-01-02T00:00:00+00:00"),
            (Send("node", {"a": 1}), {"node": "node", "arg": {"a": 1}}),
            (Command(update={"a": 1}, goto="x"), {"update": {"a": 1}, "goto": "x"}),
            (Overwrite([1]), [1]),
            (SystemMessage("Be brief."), {"role": "system", "content": "Be brief."}),
            (ChatMessage(content="hm", role="critic"), {"role": "critic", "content": "hm"}),
            (AIMessageChunk(content="hi"), {"role": "assistant", "content": "hi"}),
            (
                ToolMessage("no", tool_call_id="c1", status="error", name="t", id="m"),
                {"role": "tool", "content": "no", "name": "t", "tool_call_id": "c1", "status": "error", "id": "m"},
            ),
            (RemoveMessage("m1"), {"role": "remove", "content": "", "id": "m1"}),
        ],
    )
    def test_what_has_a_json_form(self, value, expected):
        convert = Converter()
        assert convert.json(value, "x") == expected
        assert not convert.warnings

    def test_calls_that_do_not_parse_are_kept(self):
        call = {"name": "t", "args": "{oops", "id": "c", "error": "bad", "type": "invalid_tool_call"}
        message = AIMessage("", invalid_tool_calls=[call])
        assert Converter().message(message)["invalid_tool_calls"] == [call]

    @pytest.mark.parametrize(
        ("value", "expected", "warning"),
        [
            (Opaque(), "<Opaque>", "a value of type Opaque was not recorded (which has no JSON form)"),
            (b"abc", "<3 bytes>", "a value of type bytes was not recorded (bytes)"),
            ("\ud800!", "?!", "lone surrogates"),
            ({1: "a", "1": "b"}, {"1": "b"}, "two keys read '1' as text"),
        ],
    )
    def test_what_has_none_is_marked_and_warned_of_once(self, value, expected, warning):
        convert = Converter()
        assert convert.json([value, value], "channel `x`") == [expected, expected]
        (told,) = convert.warnings
        assert told.startswith("channel `x`: ")
        assert warning in told

    def test_a_value_that_holds_itself(self):
        value: list = []
        value.append(value)
        convert = Converter()
        assert "<list>" in json.dumps(convert.json(value, "x"))
        assert "nested deeper than 64 levels" in next(iter(convert.warnings))

    def test_a_state_that_cannot_be_recorded_is_named_in_the_trace(self):
        with record() as recording:
            chain(("open", lambda s: {"data": Opaque()})).invoke({"question": "q"})
        trace = recording.trace
        assert trace.variable_by_id["s1.out.data"].value == "<Opaque>"
        assert trace.warnings[0] == (
            "channel `data` written by `open`: a value of type Opaque was not recorded (which has no JSON form)"
        )
        assert Trace.from_json(trace.to_json()) == trace

    def test_a_surrogate_in_an_error_does_not_break_the_trace(self):
        def bad(state):
            raise ValueError("\ud800")

        with record() as recording, pytest.raises(ValueError):
            chain(("bad", bad)).invoke({"question": "q"})
        assert recording.trace.spans[0].error == "ValueError: ?"
        assert recording.trace.to_json()

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
            max_leaves=12,
        )
    )
    def test_anything_becomes_json(self, value):
        assert json.loads(json.dumps(Converter().json(value, "x"), allow_nan=False)) == Converter().json(value, "x")

    @given(
        st.lists(st.text() | st.integers() | st.lists(st.integers())) | st.dictionaries(st.text(), st.lists(st.text()))
    )
    def test_a_snapshot_is_equal_and_apart(self, value):
        copy = copied(value)
        assert copy == value
        assert same(copy, value)
        if isinstance(value, list):
            value.append("new")
        else:
            value["new"] = "new"
        assert copy != value

    def test_fields(self):
        assert state_fields(None) == []
        assert state_fields(3) == [("", 3)]
        assert state_fields(Command(update={"a": 1}, resume=2)) == [("a", 1), ("resume", 2)]
        assert update_fields(Point()) == [("x", 1)]
        assert update_fields(Command(update=Pair(1))) == [("left", 1), ("right", None)]
        assert update_fields(Send("a", 1)) == []
        assert not same([1], [1, 2])
        assert not same({"a": 1}, {"b": 1})
        assert not same(1, True)


def test_tasks_sort_as_langgraph_sorts_them():
    trace = recorded(map_reduce(), {"question": ", ".join(f"item {at}" for at in range(12))})
    works = [span for span in trace.spans if span.name == "work"]
    assert [text_of(trace.variable_by_id[f"{s.id}.in.item"].value) for s in works] == [f"item {at}" for at in range(12)]
    assert tasks([]) == []


def styled(state):
    return {**state, "style": "kind"}


def shout(state):
    return {"answer": state["question"].upper()}
