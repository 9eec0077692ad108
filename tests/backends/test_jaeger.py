"""Links in Jaeger, both ways: from what differentiates to what is differentiated, and back."""

from __future__ import annotations

import pytest

from tests.backends.conftest import show

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(600)]


def inbound(spans):
    """The names of the spans that refer to a span, by its id: from these Jaeger's user interface lists them."""
    found = {}
    for span in spans:
        for _, target in span.links:
            found.setdefault(target, []).append(span.name)
    return found


def test_from_a_step_to_its_examples_and_from_each_forward_span_to_its_backward_span(jaeger, tmp_path):
    shown = show(jaeger, tmp_path)
    (step,) = [span for span in shown.spans if span.name == "textgrad step 1"]
    assert len(step.links) == len(shown.sent.traces)
    for trace, root in step.links:
        spans = jaeger.trace(trace)
        assert [span.span for span in spans if not span.parent] == [root]
        referring = inbound(spans)
        differentiated = {it.name for it in spans if it.span in referring}
        assert {"forward", "judge", "publish", "loss right_page"} <= differentiated
        for span in spans:
            if span.name in {"judge", "publish"} and span.span in referring:
                assert referring[span.span] == [f"backward {span.name}"]


def test_what_a_link_carried_is_lost_and_is_still_an_attribute_of_its_span(jaeger, tmp_path):
    shown = show(jaeger, tmp_path)
    (sent,) = [span for span in shown.sent.spans if span.name.startswith("backward judge")][:1]
    assert sent.links[0].attributes["textgrad.link.type"] == "differentiates"
    traces = jaeger.forms(shown.sent.run)["/api/v3/traces"]
    groups = [group for trace in traces for group in trace["result"]["resourceSpans"]]
    spans = [span for group in groups for scope in group["scopeSpans"] for span in scope["spans"]]
    (found,) = [span for span in spans if span["spanId"] == f"{sent.context.span_id:016x}"]
    (link,) = found["links"]
    assert [pair["key"] for pair in link["attributes"]] == ["opentracing.ref_type"]
    told = {pair["key"]: pair["value"] for pair in found["attributes"]}
    assert told["textgrad.forward.span_id"]["stringValue"] == link["spanId"]
