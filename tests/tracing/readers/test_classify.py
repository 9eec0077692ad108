"""How complete a trace is, and why it is not more so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tracing.readers.support import FILES, build_one, call, langsmith, source, trace_of
from textgrad_lg_tracing.readers.classify import Completeness, classify


def judged(found: Any) -> tuple[Completeness, tuple[str, ...]]:
    made = build_one(found)
    assert made is not None
    return classify(found, made)


def changed(producer: str, change: Any) -> Any:
    found = source(producer)
    return found._replace(spans=tuple(change(at) for at in found.spans))


@pytest.mark.parametrize("producer", [name for name in FILES if name != "gen_ai"])
def test_a_trace_with_state_and_messages_is_full(producer):
    assert judged(source(producer)) == (Completeness.FULL, ())


def test_spans_without_content_are_structure_only():
    def silent(span):
        kept = {key: value for key, value in span.attributes.items() if not key.startswith(("input", "output", "llm."))}
        return span._replace(attributes=kept)

    kind, reasons = judged(changed("openinference", silent))
    assert kind is Completeness.STRUCTURE
    assert reasons == (
        "no message of any model call is in the spans: content was not captured",
        "nodes without what they wrote: 8",
    )


def test_calls_without_the_state_between_them_are_messages_only():
    def stateless(span):
        if span.attributes["openinference.span.kind"] != "CHAIN":
            return span
        kept = {key: value for key, value in span.attributes.items() if not key.startswith(("input", "output"))}
        return span._replace(attributes=kept)

    kind, reasons = judged(changed("openinference", stateless))
    assert kind is Completeness.MESSAGES
    assert reasons[0] == "the state between the calls is not in the spans: its nodes wrote no state that is in them"


def test_what_the_sdk_dropped_is_said():
    kind, reasons = judged(changed("openinference", lambda span: span._replace(dropped=2)))
    assert kind is Completeness.FULL
    assert reasons == (
        "the SDK dropped 40 attributes, events or links; of more than 128 it drops the first that were set",
    )


def test_calls_that_lost_their_messages_are_counted():
    def half(span):
        if "plan" not in str(span.attributes.get("metadata")) or span.attributes["openinference.span.kind"] != "LLM":
            return span
        kept = {
            k: v for k, v in span.attributes.items() if not k.startswith(("input", "output", "llm.input", "llm.output"))
        }
        return span._replace(attributes=kept)

    kind, reasons = judged(changed("openinference", half))
    assert kind is Completeness.FULL
    assert reasons == ("1 of 6 model calls are without their messages", "1 of 6 model calls are without their reply")


def test_a_missing_root_makes_it_less_than_full():
    found = source("langsmith-otel")
    rest = [span for span in found.spans if span.parent_id is not None]
    kind, reasons = judged(found._replace(spans=tuple(rest)))
    assert kind is Completeness.MESSAGES
    assert reasons[0].startswith("the root of the run is not in the trace: it was sampled away")
    assert reasons[1] == "5 of 19 spans: the parent is not in the trace: it was sampled away, or dropped"


def test_a_node_that_was_sampled_away_is_said():
    found = source("langsmith-otel")
    rest = tuple(span for span in found.spans if span.name != "join")
    kind, reasons = judged(found._replace(spans=rest))
    assert kind is Completeness.FULL
    assert reasons == ("1 of 19 spans: the parent is not in the trace: it was sampled away, or dropped",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"generations": [[{"text": "The be', "values that were truncated: 1"),
        ("A long text… [300 characters cut]", "values that were truncated: 1"),
        ("__REDACTED__", "values that were redacted: 1; what was hidden is no evidence of anything"),
    ],
)
def test_what_was_cut_or_hidden_is_said(text, reason):
    def marked(span):
        return span._replace(attributes={**span.attributes, "note": [text]}) if span.name == "plan" else span

    assert judged(changed("langsmith-otel", marked))[1] == (reason,)


def test_what_was_wrong_with_the_file_is_a_reason():
    root = langsmith("graph", inputs={"q": "x"}, outputs={"a": "y"})
    reply = call(root, [("system", "Say one thing.")], "one thing")
    found = trace_of(root, reply, problems=("spans.jsonl, line 3: a span was left out",))
    assert judged(found)[1][-1] == "spans.jsonl, line 3: a span was left out"


def test_a_graph_without_calls_or_state_is_structure_only():
    kind, reasons = judged(trace_of(langsmith("graph")))
    assert kind is Completeness.STRUCTURE
    assert reasons == ("there are neither model calls nor any state in the spans",)


def test_what_our_exporter_left_out_is_said():
    def capped(span):
        return (
            span._replace(attributes={**span.attributes, "textgrad.spans.dropped": 7}) if not span.parent_id else span
        )

    assert judged(changed("langsmith-otel", capped))[1] == ("the exporter left out 7 spans of a large trace",)
