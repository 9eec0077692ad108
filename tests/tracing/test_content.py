"""Content stays out of the spans unless asked for, and then it is redacted, bounded and whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from textgrad_lg.prompt import Demo
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.types import SpanKind
from textgrad_lg_tracing import Detail, OTelCallback
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.content import Content, clip, error_type, messages

from .support import SECRET, a_run, by_name, everything, scored, trace_of, written


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["", "ValueError: ", "KeyError('", "a.b.Refused: "]),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(list(Detail)),
)
def test_without_content_no_text_of_the_run_is_in_any_span(prefix, text, detail):
    text = f"{prefix}§{text}§"
    run = [
        replace(event, error=text) if getattr(event, "error", "no such field") is None else event
        for event in a_run(text)
    ]
    seen = everything(written(run, detail=detail))
    assert "§" not in seen
    assert "\\u00a7" not in seen


def test_with_content_everything_is_shown_where_the_backends_look_for_it():
    spans = written(a_run("the"), content=True)
    keys = ("input.value", "output.value", "gen_ai.input.messages", "gen_ai.output.messages", "input.mime_type")
    shown = {}
    for span in sorted(spans, key=lambda span: span.context.span_id):
        found = {key: span.attributes[key] for key in keys if key in span.attributes}
        if found:
            shown.setdefault(span.name, found)
    assert shown == snapshot(
        {
            "forward": {
                "input.value": '{"question": "the question"}',
                "output.value": '{"answer": "the the answer"}',
                "input.mime_type": "application/json",
            },
            "plan": {
                "input.value": '{"s0.in.question": "the question"}',
                "output.value": '{"s1.out.plan": "the the plan"}',
                "input.mime_type": "application/json",
            },
            "chat gpt-small": {
                "gen_ai.input.messages": '[{"role": "system", "parts": [{"type": "text", "content": "the plan it"}]}]',
                "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "the the plan"}]}]',
            },
            "search": {
                "input.value": '{"s1.out.plan": "the the plan"}',
                "output.value": '{"s3.out": "the a page"}',
                "input.mime_type": "application/json",
            },
            "answer": {
                "input.value": '{"s1.out.plan": "the the plan", "s3.out": "the a page"}',
                "output.value": '{"s4.out.answer": "the the answer"}',
                "input.mime_type": "application/json",
            },
            "loss right": {
                "output.value": '{"score": 0.0, "comment": "the not quite", "expected": {"answer": "the wanted"}}'
            },
            "backward": {
                "output.value": '[{"id": "cf1c39cc3aea", "variable": "s5.in0", "score": 0.0, "weight": 1.0, "site": "answer/system", "text": "the ask for detail"}, {"id": "0d30c1e01c50", "variable": "s2.in0", "score": 0.0, "weight": 0.1, "site": "plan/system", "text": "the plan more"}]'
            },
            "backward right": {
                "output.value": '[{"id": "1cdb0388aff4", "variable": "s5.out", "score": 0.0, "weight": 1.0, "site": null, "text": "the say more"}]'
            },
            "backward answer": {
                "input.value": '[{"id": "1cdb0388aff4", "variable": "s5.out", "score": 0.0, "weight": 1.0, "site": null, "text": "the say more"}]',
                "output.value": '[{"id": "cf1c39cc3aea", "variable": "s5.in0", "score": 0.0, "weight": 1.0, "site": "answer/system", "text": "the ask for detail"}, {"id": "133a7b682e88", "variable": "s3.out", "score": 0.0, "weight": 1.0, "site": null, "text": "the find a better page"}]',
                "input.mime_type": "application/json",
            },
            "backward search": {
                "input.value": '[{"id": "133a7b682e88", "variable": "s3.out", "score": 0.0, "weight": 1.0, "site": null, "text": "the find a better page"}]',
                "output.value": '[{"id": "623a13cbb939", "variable": "s2.out", "score": 0.0, "weight": 1.0, "site": null, "text": "the plan for a better page"}]',
                "input.mime_type": "application/json",
            },
            "backward plan": {
                "input.value": '[{"id": "623a13cbb939", "variable": "s2.out", "score": 0.0, "weight": 1.0, "site": null, "text": "the plan for a better page"}]',
                "output.value": '[{"id": "0d30c1e01c50", "variable": "s2.in0", "score": 0.0, "weight": 0.1, "site": "plan/system", "text": "the plan more"}]',
                "input.mime_type": "application/json",
            },
            "reduce answer/system": {
                "input.value": '["the ask for detail"]',
                "output.value": '["the ask for detail"]',
                "input.mime_type": "application/json",
            },
            "reduce plan/system": {
                "input.value": '["the plan more"]',
                "output.value": '["the plan more"]',
                "input.mime_type": "application/json",
            },
            "update answer/system": {
                "input.value": '{"text": "the answer it", "gradients": ["the ask for detail"]}',
                "output.value": '{"text": "the answer in detail", "why": "the why"}',
                "input.mime_type": "application/json",
            },
            "update plan/system": {
                "input.value": '{"text": "the answer it", "gradients": []}',
                "output.value": '{"text": "the worse", "why": "the why"}',
                "input.mime_type": "application/json",
            },
            "textgrad run": {
                "input.value": '{"goal": "the goal"}',
                "output.value": "the test 0.5 -> 1.0",
                "input.mime_type": "application/json",
            },
        }
    )
    loss = by_name(spans, "loss right")
    assert loss.attributes["gen_ai.evaluation.explanation"] == "the not quite"
    assert loss.attributes["evaluation.explanation"] == "the not quite"
    assert dict(loss.events[0].attributes) == snapshot(
        {
            "gen_ai.evaluation.explanation": "the not quite",
            "gen_ai.evaluation.name": "right",
            "gen_ai.evaluation.score.value": 0.0,
        }
    )
    refused = by_name(spans, "update plan/system")
    assert refused.attributes["textgrad.reject_reason"] == "the loses a slot"
    failed = next(span for span in spans if span.name == "chat critic" and not span.status.is_ok)
    assert failed.status.description == "RateLimitError: the"
    assert dict(failed.events[0].attributes) == {
        "exception.type": "RateLimitError",
        "exception.message": "RateLimitError: the",
    }


def test_without_content_a_refused_update_names_the_gate_as_its_reason():
    assert by_name(written(a_run()), "update plan/system").attributes["textgrad.reject_reason"] == "edit"


def test_every_span_with_content_stays_under_64_attributes():
    assert max(len(span.attributes) for span in written(a_run(), content=True)) < 64


def test_demonstrations_are_content_of_an_update():
    run: list[Any] = list(a_run())
    at_ = next(i for i, event in enumerate(run) if type(event).__name__ == "Proposed")
    update = run[at_].update
    with_demo = replace(update, new=replace(update.new, demos=(Demo((("human", "q"),), "a"),)))
    span = by_name(written([replace(run[at_], update=with_demo)], content=True), "update answer/system")
    assert json.loads(span.attributes["output.value"])["demos"] == [{"inputs": {"human": "q"}, "output": "a"}]


def test_the_redactor_sees_each_piece_and_its_place_and_nothing_passes_it():
    places = set()

    def redact(place, value):
        places.add(place)
        return value.replace(SECRET, "…") if isinstance(value, str) else value

    spans = written(a_run(), content=True, redactor=redact)
    assert SECRET not in everything(spans)
    assert by_name(spans, "chat gpt-small").attributes["textgrad.content.redacted"] is True
    assert {"gen_ai.input.messages.0.parts.0.content", "input.value.question", "exception.message"} <= places


def test_what_a_redactor_fails_on_is_withheld():
    def redact(place, value):
        raise RuntimeError("no")

    spans = written(a_run(), content=True, redactor=redact)
    assert SECRET not in everything(spans)
    assert json.loads(by_name(spans, "plan").attributes["output.value"]) == {
        "s1.out.plan": "[withheld: the redactor failed]"
    }


def test_a_redactor_may_return_anything():
    content = Content(True, lambda place, value: object if place.endswith("a") else None)
    assert content.fields({at.INPUT: {"a": "x", "b": "y"}}) == {
        "input.value": '{"a": "<class \'object\'>", "b": null}',
        "input.mime_type": "application/json",
        "textgrad.content.redacted": True,
    }


def a_call_with(count, text="word"):
    """A rollout with one model call that was sent a system prompt and `count` - 1 other messages."""
    trace = trace_of("e1")
    sent = [{"role": "system", "content": "be kind"}]
    sent += [{"role": ("human", "ai")[n % 2], "content": f"{n} {text}", "id": f"m{n}"} for n in range(count - 1)]
    spans = tuple(
        replace(span, attributes={**span.attributes, "messages": sent}) if span.kind is SpanKind.LLM else span
        for span in trace.spans
    )
    return scored(replace(trace, spans=spans))


def test_a_call_of_81_messages_loses_nothing_to_the_limit_of_128_attributes():
    span = by_name(written([a_call_with(81)], content=True), "chat gpt-small")
    assert span.dropped_attributes == 0
    read = json.loads(span.attributes["gen_ai.input.messages"])
    assert len(read) == 81
    assert read[0] == {"role": "system", "parts": [{"type": "text", "content": "be kind"}]}
    assert [message["role"] for message in read[1:4]] == ["user", "assistant", "user"]
    assert "textgrad.content.truncated" not in span.attributes


def test_long_messages_are_clipped_one_by_one_so_that_they_stay_json():
    span = by_name(written([a_call_with(81, "word " * 500)], content=True), "chat gpt-small")
    text = span.attributes["gen_ai.input.messages"]
    assert len(text) <= 16_000
    read = json.loads(text)
    assert len(read) == 81
    assert read[0]["parts"][0]["content"] == "be kind"
    assert read[1]["parts"][0]["content"].endswith("characters cut]")
    assert span.attributes["textgrad.content.truncated"] is True


def test_an_sdk_with_room_for_few_attributes_loses_content_first_and_identity_never():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=20), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    callback = OTelCallback(provider, content=True)
    callback(a_call_with(3))
    callback.close()
    span = by_name(exporter.get_finished_spans(), "chat gpt-small")
    assert "gen_ai.input.messages" not in span.attributes
    assert span.attributes["session.id"] == "run-1"
    assert span.attributes["textgrad.span.id"] == "s5"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=300),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    ),
    st.integers(100, 2_000),
)
def test_no_attribute_is_longer_than_the_limit(value, limit):
    found = Content(True, limit=limit).fields({at.INPUT: value})
    assert len(str(found.get(at.INPUT, ""))) <= limit
    if at.INPUT in found and at.CONTENT_TRUNCATED not in found and not isinstance(value, str):
        assert json.loads(str(found[at.INPUT])) == value


def test_text_is_clipped_with_a_marker():
    assert clip("x" * 100, 100) == "x" * 100
    assert clip("x" * 101, 100) == "x" * 68 + "… [33 characters cut]"
    found = Content(True, limit=100).fields({at.OUTPUT: "y" * 1_000})
    assert found == {
        "output.value": "y" * 68 + "… [932 characters cut]",
        "output.mime_type": "text/plain",
        "textgrad.content.truncated": True,
    }


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("ValueError: bad", "ValueError"),
        ("openai.RateLimitError: slow down", "RateLimitError"),
        ("KeyError('x')", "KeyError"),
        ("BudgetTooSmall: need more", "BudgetTooSmall"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("Alice: is my name", "_OTHER"),
        ("Alice", "_OTHER"),
        ("MyError is what she said", "_OTHER"),
        ("something", "_OTHER"),
        ("", "_OTHER"),
    ],
)
def test_error_type(error, name):
    assert error_type(error) == name


def test_messages_take_the_form_of_the_conventions():
    call = {"name": "search", "args": {"q": "x"}, "id": "c1"}
    given_ = [
        {"role": "system", "content": "s"},
        {"role": "human", "content": [{"type": "text", "text": "look"}, {"type": "image", "url": "u"}, "plain"]},
        {"role": "ai", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "found", "tool_call_id": "c1"},
    ]
    assert messages(given_) == snapshot(
        [
            {"role": "system", "parts": [{"type": "text", "content": "s"}]},
            {
                "role": "user",
                "parts": [
                    {"type": "text", "content": "look"},
                    {"type": "image", "url": "u"},
                    {"type": "text", "content": "plain"},
                ],
            },
            {
                "role": "assistant",
                "parts": [{"type": "tool_call", "id": "c1", "name": "search", "arguments": {"q": "x"}}],
            },
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "id": "c1", "response": "found"}],
            },
        ]
    )
    assert messages("hi", "assistant") == [{"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}]
    assert messages({"a": 1}, "assistant") == [
        {"role": "assistant", "parts": [{"type": "text", "content": '{"a": 1}'}]}
    ]


def test_a_tools_arguments_are_its_input():
    build = TraceBuilder("desk", example="e1")
    build.finish({"a": build.tool("search", result="r", reads=[build.input("q", "x")])})
    trace = build.finish({})
    spans = tuple(
        replace(span, attributes={"arguments": {"query": "x"}}) if span.kind is SpanKind.TOOL else span
        for span in trace.spans
    )
    span = by_name(written([scored(replace(trace, spans=spans))], content=True), "search")
    assert span.attributes["input.value"] == '{"query": "x"}'
    assert span.attributes["tool.name"] == "search"
