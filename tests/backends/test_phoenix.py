"""A gradient is attached to the span that it criticises, in Phoenix."""

from __future__ import annotations

import pytest

from tests.backends.conftest import show
from textgrad_lg_integrations import annotate_phoenix
from textgrad_lg_integrations.annotate import annotate
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers import read_traces

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(600)]


def test_a_gradient_is_an_annotation_of_the_span_it_criticises_with_a_link_back(phoenix, tmp_path):
    shown = show(phoenix, tmp_path, content=True)
    (spans,) = phoenix.forms(shown.sent.run).values()
    name, gradients = next(iter(shown.sent.gradients.items()))
    trace = next(it.trace for it in read_traces(spans, report=lambda _: None) if it.trace.id == name)
    to = annotate_phoenix.Phoenix(phoenix.url)
    attached = annotate(trace, gradients, to, links=shown.sent.backward_span)
    assert attached
    # Attached again, it is not there twice.
    annotate(trace, gradients, to, links=shown.sent.backward_span)
    known = {span.span: span for span in shown.spans}
    for one in attached:
        (found,) = phoenix.annotations(one.span)
        assert found["annotator_kind"] == "LLM"
        assert found["result"]["explanation"] == one.text
        assert known[one.span].attributes[at.PHASE] == "forward"
        back = known[found["metadata"]["textgrad.span_id"]]
        assert back.trace == found["metadata"]["textgrad.trace_id"]
        assert back.attributes[at.PHASE] == "backward"


def test_a_session_of_phoenix_holds_the_traces_of_one_run_and_no_others(phoenix, tmp_path):
    one, other = show(phoenix, tmp_path / "one"), show(phoenix, tmp_path / "other")
    sessions = phoenix.sessions()
    for shown in (one, other):
        assert set(sessions[shown.sent.run]) == {f"{span.context.trace_id:032x}" for span in shown.sent.spans}
