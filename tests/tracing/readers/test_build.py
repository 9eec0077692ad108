"""Traces from spans: which task a call belongs to, what was written, and what strange spans give."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracing.readers.support import build_one, call, edges, inside, langsmith, source, span, trace_of
from textgrad_lg.trace import CANDIDATE, Trace
from textgrad_lg.types import SpanKind
from textgrad_lg_tracing.readers import read_traces
from textgrad_lg_tracing.readers.build import build, trace_id


def built(*spans: Any) -> Trace:
    found = build_one(trace_of(*spans))
    assert found is not None
    return found.trace


def task(name: str, parent: Any, step: int, given: Any, made: Any, number: int = 0, **about: Any) -> Any:  # noqa: PLR0917  one line a task is easier to read
    return langsmith(name, parent=parent, task=f"{name}:{number}", step=step, inputs=given, outputs=made, **about)


def test_a_loop_has_a_task_for_each_turn_by_its_namespace_and_not_by_its_name():
    root = langsmith("graph", inputs={"n": "a b c one"}, outputs={"n": "a b c three"})
    one = task("turn", root, 1, {"n": "a b c one"}, {"n": "a b c two"}, 1)
    two = task("turn", root, 2, {"n": "a b c two"}, {"n": "a b c three"}, 2)
    # Both calls hang at the root, as some instrumentations write them; their namespace says where they belong.
    first = call(root, [("system", "You are the first."), ("human", "a b c one")], "a b c two", **inside(one))
    second = call(root, [("system", "You are the second."), ("human", "a b c two")], "a b c three", **inside(two))
    trace = built(root, one, two, second, first)
    nodes = [(at.name, at.visit) for at in trace.spans if at.kind is SpanKind.NODE]
    assert nodes == [("turn", 0), ("turn", 1)]
    calls = {at.id: at.parent for at in trace.spans if at.kind is SpanKind.LLM}
    assert [trace.span_by_id[parent].visit for parent in calls.values() if parent] == [0, 1]
    texts = [(str(v.site), v.value) for v in trace.parameters if v.site and v.site.role == "system"]
    assert texts == [("turn/system", "You are the first."), ("turn/system", "You are the second.")]


def test_a_call_whose_parent_was_sampled_away_is_put_into_its_task():
    root = langsmith("graph", inputs={"q": "the question"}, outputs={"a": "the answer"})
    node = task("answer", root, 1, {"q": "the question"}, {"a": "the answer"})
    lost = call(None, [("system", "Answer it briefly.")], "the answer", parent_id="f" * 16, **inside(node))
    trace = built(root, node, lost)
    llm = next(at for at in trace.spans if at.kind is SpanKind.LLM)
    assert trace.span_by_id[llm.parent or ""].name == "answer"
    assert llm.path == ("answer",)


def test_several_roots_are_put_under_one():
    one = call(None, [("system", "Say one thing.")], "the first reply")
    two = call(None, [("system", "Say more of it."), ("human", "the first reply")], "the second reply")
    trace = built(one, two)
    assert [at.kind for at in trace.spans] == [SpanKind.GRAPH, SpanKind.LLM, SpanKind.LLM]
    assert ("s1.out", "s2.out", "s2", 1.0) in edges(trace)


def test_a_model_called_outside_any_graph_is_a_trace():
    trace = built(call(None, [("system", "Say one thing.")], "one thing"))
    assert [at.kind for at in trace.spans] == [SpanKind.LLM]
    assert trace.output()[""] == {"role": "assistant", "content": "one thing"}


def test_spans_of_others_between_ours_are_passed_over():
    web = span("GET /ask", {"http.method": "GET"})
    root = langsmith("graph", inputs={"q": "x"}, outputs={"q": "x"}, parent_id=web.span_id)
    pool = span("SELECT", {}, parent_id=root.span_id)
    reply = call(None, [("system", "Say one thing.")], "one thing", parent_id=pool.span_id)
    trace = built(web, root, pool, reply)
    assert [(at.name, at.parent) for at in trace.spans] == [("graph", None), ("Model", "s0")]


def test_of_two_instrumentations_one_is_read():
    root = langsmith("graph", inputs={"q": "x"}, outputs={"q": "y"})
    reply = call(root, [("system", "Say one thing.")], "one thing")
    again = span("chat m", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, parent_id=reply.span_id)
    assert sum(at.kind is SpanKind.LLM for at in built(root, reply, again).spans) == 1


def test_nothing_is_made_of_spans_that_are_no_run():
    assert build_one(trace_of(span("GET /", {"http.method": "GET"}))) is None
    assert build_one(trace_of(span("create", {"gen_ai.operation.name": "create_agent"}))) is None


def test_an_error_reads_as_it_was_raised_and_control_flow_is_none():
    root = langsmith("graph", inputs={"q": "x"}, error="ValueError('no such city')Traceback (most recent call last)")
    bad = task("find", root, 1, {"q": "x"}, None, error="KeyError: 'city'")
    asked = task("ask", root, 1, {"q": "x"}, None, 1, error="GraphInterrupt((Interrupt(value='go on?', id='1'),))")
    gone = task("go", root, 1, {"q": "x"}, None, 2, error="ParentCommand(Command(goto='other'))")
    odd = task("odd", root, 1, {"q": "x"}, None, 3, error="it broke")
    errors = {at.name: at.error for at in built(root, bad, asked, gone, odd).spans}
    assert errors == {
        "graph": "ValueError: no such city",
        "find": "KeyError: city",
        "ask": None,
        "go": None,
        "odd": "Error: it broke",
    }


def test_what_a_tool_was_given_is_read_from_what_python_prints():
    root = langsmith("graph", inputs={"q": "x"}, outputs={"q": "y"})
    tool = langsmith(
        "search", "tool", root, inputs={"input": "{'query': 'a city', 'top': 3}"}, outputs={"output": "found"}
    )
    odd = langsmith("search", "tool", root, inputs={"input": "{'query': open('f')}"}, outputs={"output": "found"})
    given = [at.attributes["arguments"] for at in built(root, tool, odd).spans if at.kind is SpanKind.TOOL]
    assert given == [{"query": "a city", "top": 3}, {"input": "{'query': open('f')}"}]


def test_a_payload_of_langchain_is_read_and_never_constructed():
    evil = {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}}
    message = {
        "lc": 1,
        "type": "constructor",
        "id": ["x", "HumanMessage"],
        "kwargs": {"content": ["a", 1, {"type": "text", "text": "b"}]},
    }
    secret = {"lc": 1, "type": "secret", "id": ["OPENAI_API_KEY"]}
    root = langsmith("graph", inputs={"a": evil, "b": message, "c": secret}, outputs={"a": "x"})
    values = {v.id: v.value for v in built(root).variables}
    assert values["s0.in.a"] == {"command": "true"}
    assert values["s0.in.b"] == {"role": "human", "content": ["a", "1", {"type": "text", "text": "b"}]}
    assert values["s0.in.c"] == "<OPENAI_API_KEY>"


def test_a_command_that_was_printed_is_told_from_the_state_after_it():
    told = {"type": "human", "content": "hello", "id": "h", "additional_kwargs": {}}
    made = {"type": "ai", "content": "a new reply", "id": "r", "additional_kwargs": {}}
    root = langsmith("graph", inputs={"messages": [told]}, outputs={"messages": [told, made], "n": 2})
    node = task("act", root, 1, {"messages": [told], "n": 1}, {"output": "Command(update={'messages': [AIMessage()]})"})
    last = task("end", root, 2, {"messages": [told, made], "n": 2}, {"n": 2})
    trace = built(root, node, last)
    written = {v.id: v.value for v in trace.variables if v.span == "s1"}
    assert written == {"s1.out.messages": [{"role": "assistant", "content": "a new reply", "id": "r"}], "s1.out.n": 2}
    assert trace.warnings == ("what `act` wrote was told from the state after it",)


def test_of_parallel_tasks_what_was_printed_is_lost_and_said():
    root = langsmith("graph", inputs={"q": "x"}, outputs={"q": "y"})
    nodes = [task("act", root, 1, {"q": "x"}, {"output": "Command(update={'q': Y()})"}, at) for at in range(2)]
    trace = built(root, *nodes)
    assert [v.id for v in trace.variables if v.span in ("s1", "s2")] == []
    assert trace.warnings == ("what `act` wrote is not in its span in a form that can be read",)


def test_a_channel_with_the_name_of_langsmiths_own_key_is_kept():
    root = langsmith("graph", inputs={"q": "x"}, outputs={"q": "x", "output": "what was made"})
    node = task("act", root, 1, {"q": "x", "output": ""}, {"output": "what was made"})
    assert "s1.out.output" in {v.id for v in built(root, node).variables}


@pytest.mark.parametrize(
    ("state", "expected", "said"),
    [
        ({"q": "a question", "label": "a label"}, "s1.out.label", ()),
        ({"q": "a question"}, "s1.out", ("whose channel",)),
    ],
)
def test_openinference_writes_one_text_without_its_channel(state, expected, said):
    about = {"openinference.span.kind": "CHAIN", "input.mime_type": "application/json"}
    task_of = '{"langgraph_checkpoint_ns": "act:1", "langgraph_node": "act", "langgraph_step": 1}'
    root = span("graph", {**about, "input.value": '{"q": "a question", "r": ""}', "output.value": state})
    given = {"openinference.span.kind": "CHAIN", "input.value": '{"q": "a question", "r": ""}', "metadata": task_of}
    node = span(
        "act", {**given, "input.mime_type": "application/json", "output.value": "a label"}, parent_id=root.span_id
    )
    trace = built(root, node)
    assert expected in {v.id for v in trace.variables}
    assert [text for text in trace.warnings if "whose channel" in text] == [at for at in trace.warnings if said]


def test_a_router_is_known_without_the_tracers_tags():
    root = langsmith("graph", inputs={"q": "x"}, outputs={"a": "it is done"})
    first = task("plan", root, 1, {"q": "x"}, {"q": "y z"})
    plain = langsmith("format", parent=first, inputs={"q": "x"}, outputs={"output": "y z"}, **inside(first))
    router = langsmith("where", parent=first, inputs={"q": "y z"}, outputs={"output": "act"}, **inside(first))
    second = task("act", root, 2, {"q": "y z"}, {"a": "it is done"})
    trace = built(root, first, plain, router, second)
    assert [at.name for at in trace.spans if at.kind is SpanKind.FUNCTION] == ["where"]
    assert ("s2.out", "s3.out.a", "s3", CANDIDATE) in edges(trace)


def test_what_a_command_sent_is_the_input_of_the_task_that_got_it():
    sent = "Send(node='work', arg={'part': Obj()})"
    command = [{"graph": None, "update": {"q": "y z"}, "resume": None, "goto": [sent, "other"]}]
    root = langsmith("graph", inputs={"q": "x"}, outputs={"q": "y z"})
    plan = task("plan", root, 1, {"q": "x"}, {"output": command})
    push: Any = {"metadata": {"langgraph_path": ["__pregel_push", 0, False]}}
    work = task("work", root, 2, {"part": "one part of it"}, {"done": "one part is done"}, **push)
    trace = built(root, plan, work)
    goto = next(v for v in trace.variables if v.id == "s1.goto")
    assert goto.value == [{"node": "work", "arg": {"part": "one part of it"}}, "other"]
    assert ("s1.goto", "s2.out.done", "s2", CANDIDATE) in edges(trace)


def test_two_thousand_spans_in_a_chain_need_no_recursion():
    up = langsmith("graph", inputs={"q": "x"}, outputs={"q": "y"})
    spans = [up]
    for at in range(2_000):
        kind = "tool" if at % 2 else "chain"
        up = langsmith(f"run{at}", kind, up, inputs={"input": "x"}, outputs={"output": f"result number {at}"})
        spans.append(up)
    trace = built(*spans)
    assert sum(at.kind is SpanKind.TOOL for at in trace.spans) == 1_000


def test_values_that_nest_too_deep_are_cut_and_said():
    deep: Any = "bottom"
    for _ in range(200):
        deep = [deep]
    trace = built(langsmith("graph", inputs={"q": deep}, outputs={"q": "y"}))
    assert any("nested deeper" in text for text in trace.warnings)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("01A1FE3B-bf19-71d4-9af5-3ee460414904", "01a1fe3bbf1971d49af53ee460414904"), ("abc", "abc".rjust(32, "0"))],
)
def test_a_trace_has_an_id_of_32_digits(given, expected):
    assert trace_id(given) == expected


def test_a_trace_that_does_not_fit_together_stops_no_other(monkeypatch):
    from textgrad_lg_tracing.readers import imported

    def raises(found):
        if found.id.startswith("b"):
            raise KeyError("odd")
        return build(found)

    monkeypatch.setattr(imported, "build", raises)
    said: list[str] = []
    spans = [call(None, [("system", "Say one thing.")], "one")._asdict() for _ in range(2)]
    runs = [
        {"id": f"{letter * 8}-0000-0000-0000-{at:012d}", "name": "m", "run_type": "llm", **_run(told)}
        for letter, at, told in (("a", 1, spans[0]), ("b", 2, spans[1]))
    ]
    found = list(read_traces(runs, report=said.append))
    # A Trace is made when it is asked for, and before that nothing is known to be wrong.
    assert said == []
    good, odd = (one.trace for one in found)
    assert len(good.spans) == 1
    assert (odd.id, odd.spans, odd.warnings) == ("bbbbbbbb000000000000000000000002", (), tuple(said))
    assert found[1].reasons == ("its spans do not fit together (KeyError: 'odd')",)
    assert found[1].trace is odd
    assert said == [
        "trace bbbbbbbb-0000-0000-0000-000000000002 was left out: its spans do not fit together (KeyError: 'odd')"
    ]


def _run(told: dict[str, Any]) -> dict[str, Any]:
    about = told["attributes"]
    times = {"start_time": "2026-01-01T00:00:00", "end_time": "2026-01-01T00:00:01"}
    return {"inputs": about["langsmith.inputs"], "outputs": about["langsmith.outputs"], **times}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["messages", "output", "type", "content", "lc", "id", "kwargs", "data", "goto", "role", "parts", "generations", "tool_calls"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_stands_in_the_attributes_something_is_made_of_it(data):
    producer = data.draw(st.sampled_from(["langsmith", "openinference", "traceloop", "langsmith-otel", "gen_ai"]))
    found = source(producer)
    spans = list(found.spans)
    at = data.draw(st.integers(0, len(spans) - 1))
    key = data.draw(st.sampled_from(sorted(spans[at].attributes)))
    spans[at] = spans[at]._replace(attributes={**spans[at].attributes, key: data.draw(JSON_VALUES)})
    made = build_one(found._replace(spans=tuple(spans)))
    assert made is not None
    assert Trace.from_json(made.trace.to_json()).spans == made.trace.spans
