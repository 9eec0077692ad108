"""What each producer's spans say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, RemoveMessage, ToolMessage

from tests.tracing.readers.support import FILES, build_one, call, langsmith, source, span, trace_of
from textgrad_lg.example import Score
from textgrad_lg_tracing.readers.dialects.genai import GenAI
from textgrad_lg_tracing.readers.dialects.openinference import OpenInference, flattened
from textgrad_lg_tracing.readers.dialects.table import dialect_of
from textgrad_lg_tracing.readers.dialects.told import ABSENT, first_generation, first_messages, parsed, tokens
from textgrad_lg_tracing.readers.dialects.traceloop import Traceloop
from textgrad_lg_tracing.readers.feedback import feedback
from textgrad_lg_tracing.readers.literals import arguments
from textgrad_lg_tracing.readers.messages import Messages
from textgrad_lg_tracing.readers.revive import is_lost


@pytest.mark.parametrize("producer", FILES)
def test_the_producer_is_known_by_its_spans(producer):
    found = dialect_of(source(producer).spans)
    assert found is not None
    assert found.name == producer


def test_spans_of_nobody_have_no_producer():
    assert dialect_of([span("GET /", {"http.method": "GET"})]) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ('{"a": 1}', {"a": 1}),
        ('{"a": ', '{"a": '),
        ("[" * 100_000, "[" * 100_000),
        (3, 3),
        (ABSENT, ABSENT),
    ],
)
def test_a_text_that_is_json_is_read(value, expected):
    assert parsed(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"messages": [[{"role": "user"}]]}, [{"role": "user"}]),
        ({"messages": [{"role": "user"}]}, [{"role": "user"}]),
        ({"prompts": ["Say it"]}, [{"type": "human", "content": "Say it"}]),
        ({"messages": []}, ABSENT),
        ("text", ABSENT),
    ],
)
def test_messages_of_a_batch_and_prompts_of_older_models_are_read(value, expected):
    assert first_messages(value) == expected


def test_a_generation_without_a_message_is_its_text():
    assert first_generation({"generations": [[{"text": "so"}]]}) == {"type": "ai", "content": "so"}
    assert first_generation({"generations": []}) is ABSENT


def test_only_numbers_count_as_tokens():
    assert tokens({"in": 3.0, "out": True}, "in", "out") == {"input_tokens": 3}


def test_openinference_messages_that_are_flattened_are_read_where_the_input_is_lost():
    about: dict[str, Any] = {
        "openinference.span.kind": "LLM",
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be brief.",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.contents.0.message_content.type": "text",
        "llm.input_messages.1.message.contents.0.message_content.text": "Look",
        "llm.input_messages.2.message.role": "tool",
        "llm.input_messages.2.message.content": "found",
        "llm.input_messages.2.message.tool_call_id": "c1",
        "llm.input_messages.x.message.role": "odd",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c2",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "find",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"q": 1}',
    }
    told = OpenInference().read(span("m", about))
    assert told.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look"}]},
        {"role": "tool", "content": "found", "tool_call_id": "c1"},
    ]
    assert told.reply == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"name": "find", "args": {"q": 1}, "id": "c2"}],
    }
    assert not told.has_ids
    assert flattened({}, "llm.input_messages.") is ABSENT


def test_a_judgement_and_an_unknown_operation_are_no_run():
    assert OpenInference().read(span("judge", {"openinference.span.kind": "EVALUATOR"})).kind == "eval"
    assert GenAI().read(span("embed", {"gen_ai.operation.name": "embeddings"})).kind == ""
    assert GenAI().read(span("find", {"gen_ai.operation.name": "retrieval"})).kind == "retriever"
    told = Traceloop().read(span("invoke_agent", {}, scope="opentelemetry.instrumentation.langchain"))
    assert told.kind == ""


def test_system_instructions_go_before_the_messages():
    about = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system_instructions": "Be brief.",
        "gen_ai.tool.definitions": '[{"name": "f", "type": "function"}, 3]',
    }
    told = GenAI().read(span("chat", about))
    assert told.messages == [{"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}]
    assert told.params["tools"] == [{"type": "function", "function": {"name": "f"}}, 3]


def test_messages_in_all_forms_become_the_recorders():
    messages: Any = Messages()
    lc = {"lc": 1, "type": "constructor", "id": ["x", "AIMessageChunk"], "kwargs": {"content": "a", "id": "1"}}
    dumped = {"type": "human", "data": {"content": None, "id": 7, "name": "Eva"}}
    tool = {"type": "tool", "content": {"n": 1}, "status": "error", "tool_call_id": None, "additional_kwargs": {}}
    found = [
        messages.read(item) for item in (lc, dumped, tool, {"type": "remove", "content": "", "response_metadata": {}})
    ]
    assert [type(at) for at in found] == [AIMessage, HumanMessage, ToolMessage, RemoveMessage]
    assert [at.content for at in found if at] == ["a", "", '{"n": 1}', ""]
    assert [at.id for at in found if at] == ["1", None, None, None]
    assert messages.read(lc) is found[0]
    for none in (
        {"type": "human"},
        {"lc": 1, "type": "constructor", "id": [], "kwargs": {}},
        [],
        "text",
        {"role": "user", "content": "x"},
    ):
        assert messages.read(none) is None


def test_a_message_without_its_id_is_found_in_the_state():
    messages: Any = Messages()
    messages.read({"type": "human", "content": "hello", "id": "h1", "additional_kwargs": {}})
    known = messages.sent({"role": "user", "parts": [{"type": "text", "content": "hello"}]}, has_ids=False)
    assert known is not None
    assert known.id == "h1"
    other = messages.sent({"role": "user", "content": "hello"}, has_ids=True)
    assert other is not None
    assert other.id is None
    odd = messages.sent({"role": "critic", "content": "no"}, has_ids=True)
    assert isinstance(odd, ChatMessage)
    assert messages.sent(["no message"], has_ids=True) is None
    assert messages.received({"content": "no role"}) is None


def test_parts_that_are_no_text_are_kept_as_blocks():
    image = {"type": "blob", "content": "…"}
    messages: Any = Messages()
    found = messages.sent({"role": "user", "parts": [{"type": "text", "content": "see"}, image]}, has_ids=True)
    assert found is not None
    assert found.content == [{"type": "text", "text": "see"}, image]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{'a': [1, None, True]}", {"a": [1, None, True]}),
        ('{"a": 1}', {"a": 1}),
        ("{'a': b}", "{'a': b}"),
        ("{1: 2}", "{1: 2}"),
        ("{'a': (1, 2)}", "{'a': (1, 2)}"),
        ("{" * 50_000, "{" * 50_000),
        ("plain", "plain"),
        (5, 5),
    ],
)
def test_arguments_are_read_as_data(value, expected):
    assert arguments(value) == expected


@pytest.mark.parametrize(
    ("value", "lost"),
    [
        ("Command(update={})", True),
        (["Command(x)", "AIMessage(y)"], True),
        (["Command(x)", "text"], False),
        ([], False),
        (3, False),
    ],
)
def test_what_was_printed_is_known(value, lost):
    assert is_lost(value) is lost


def test_what_people_and_evaluators_said_is_read_from_each_backend():
    found = trace_of(
        langsmith("graph", feedback_stats={"correct": {"n": 2, "avg": 0.5, "comments": ["half right"]}, "note": None}),
        span(
            "loss",
            {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.value": 1, "evaluation.explanation": "kind"},
        ),
        span("a", {"phoenix.annotations": [{"name": "user", "result": {"score": True}}, "odd"]}),
        span("b", {"langfuse.scores": [{"name": "stars", "value": 4}, {"value": "good"}, {"value": "so-so"}]}),
        span(
            "c", {"mlflow.info": json.dumps({"assessments": [{"assessment_name": "safe", "feedback": {"value": 0.0}}]})}
        ),
    )
    assert feedback(found.spans) == (
        Score("correct", 0.5, "half right"),
        Score("note", None),
        Score("tone", 1.0, "kind"),
        Score("user", 1.0),
        Score("stars", 4.0),
        Score("score", 1.0),
        Score("score", None),
        Score("safe", 0.0),
    )
    assert feedback([call(None, [], None)]) == ()


def test_observations_by_langfuses_own_callback_are_read():
    about: Any = {"langgraph_checkpoint_ns": "plan:1", "langgraph_node": "plan", "langgraph_step": 1}

    def observed(name: str, kind: str, parent: Any = None, given: Any = None, made: Any = None, **more: Any) -> Any:
        told = {
            "langfuse.observation.type": kind,
            "langfuse.observation.input": given,
            "langfuse.observation.output": made,
        }
        return span(name, {**told, **more}, parent_id=parent and parent.span_id, backend="langfuse")

    task = {"langfuse.observation.metadata": about}
    root = observed("graph", "CHAIN", None, {"q": "a question"}, {"a": "a plan of it"})
    node = observed("plan", "SPAN", root, {"q": "a question"}, {"a": "a plan of it"}, **task)
    sent = [{"role": "system", "content": "Plan it well."}, {"role": "user", "content": "a question"}]
    usage = {"langfuse.observation.usage": {"input": 7, "output": 3}, "langfuse.observation.model": "m"}
    model = observed(
        "Chat", "GENERATION", node, sent, [{"role": "assistant", "content": "a plan of it"}], **task, **usage
    )
    text = observed("Chat", "GENERATION", node, {"messages": [sent]}, "another plan", **task)
    none = observed("Chat", "GENERATION", node, None, None, **task)
    made = build_one(trace_of(root, node, model, text, none, observed("log", "EVENT", node)))
    assert made is not None
    assert made.producer == "langfuse"
    calls = [at for at in made.trace.spans if at.kind == "llm"]
    assert [at.path for at in calls] == [("plan",)] * 3
    assert (calls[0].attributes["model"], calls[0].attributes["input_tokens"]) == ("m", 7)
    assert [v.value for v in made.trace.parameters if v.site and v.site.role == "system"] == ["Plan it well."] * 2
    replies = [v.value for v in made.trace.variables if v.span in {at.id for at in calls}]
    assert replies == [{"role": "assistant", "content": text} for text in ("a plan of it", "another plan")]


def test_a_message_in_two_forms_is_one_and_of_an_id_that_says_ever_new_things_little_is_kept():
    messages = Messages()
    told: dict[str, Any] = {"content": "hello", "type": "human", "id": "1"}
    lc = {"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": told}
    state = {"type": "human", "data": {"additional_kwargs": {}, "response_metadata": {}, "name": None, **told}}
    assert messages.read(lc) is messages.read(state) is messages.sent(told, has_ids=True)
    for number in range(1_000):
        found = messages.read({**state, "data": {**told, "content": str(number)}})
        assert (found.content, found.id) == (str(number), "1")
    assert len(messages._made["1"]) == 8
