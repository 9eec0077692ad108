"""A run that is sent to a backend is there, whole and readable, by the backend's own API."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.backends.backends import Phoenix
from tests.backends.run import UNREADABLE
from tests.run import worlds
from tests.tracing.readers.support import edges, shape, values
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers import Completeness, read_traces

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(600)]


def ids(spans):
    return {(f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"): span for span in spans}


def example_traces(shown):
    """The spans of each trace of an Example, root first, by trace."""
    roots = [span for span in shown.spans if span.name == "textgrad example"]
    inside = {root.trace: [span for span in shown.spans if span.trace == root.trace] for root in roots}
    return {trace: sorted(spans, key=lambda span: bool(span.parent)) for trace, spans in inside.items()}


def rollouts(shown):
    return [span for span in shown.spans if span.name == "forward"]


def children(spans, parent):
    return [span for span in spans if span.parent == parent.span]


def keeps_links(shown):
    """Phoenix throws links away; that is why they are repeated as attributes."""
    return not isinstance(shown.backend, Phoenix)


def test_the_session_holds_every_span_that_was_sent_with_its_name_parent_and_status(shown):
    sent = ids(shown.sent.spans)
    assert len(shown.spans) == len(sent)
    for span in shown.spans:
        original = sent[span.trace, span.span]
        assert span.name == original.name
        assert span.parent == (f"{original.parent.span_id:016x}" if original.parent else "")
        assert span.failed == (not original.status.is_ok)
        assert span.attributes[at.SESSION] == shown.sent.run


def test_no_attribute_of_ours_is_lost_or_changed(shown):
    sent = ids(shown.sent.spans)
    for span in shown.spans:
        ours = {k: v for k, v in sent[span.trace, span.span].attributes.items() if k.startswith(at.NAMESPACE)}
        for key, value in ours.items():
            found = span.attributes[key]
            if isinstance(value, tuple):
                found = tuple(json.loads(found) if isinstance(found, str) else found)
            elif isinstance(value, str) and not isinstance(found, str):
                # MLflow and Phoenix show a text that is JSON as what it says.
                assert found == json.loads(value), key
                continue
            assert found == value, key


def test_one_trace_for_each_example_one_for_the_step_and_one_for_the_run(shown):
    roots = Counter(span.name for span in shown.spans if not span.parent)
    assert roots == {"textgrad example": len(shown.sent.traces), "textgrad step 1": 1, "textgrad run": 1}


def test_forward_loss_and_backward_stand_side_by_side_and_calls_under_their_nodes(shown):
    for spans in example_traces(shown).values():
        root = spans[0]
        assert {"forward", "loss right_page", "backward"} <= {span.name for span in children(spans, root)}
        (top,) = [span for span in spans if span.name == "backward"]
        nodes = children(spans, top)
        assert nodes
        assert all(span.name.startswith("backward ") for span in nodes)
        calls = [call for node in nodes for call in children(spans, node)]
        assert {call.name for call in calls} == {"chat critic"}
        assert {call.attributes[at.PHASE] for call in calls} == {"backward"}
        forward = next(span for span in spans if span.name == "forward" and children(spans, span))
        assert {span.name for span in children(spans, forward)} >= {"extract"}


def test_decisions_are_told_with_their_reasons_and_numbers(shown):
    (step,) = [span for span in shown.spans if span.name == "textgrad step 1"]
    updates = [span for span in shown.spans if span.name == "update judge/system"]
    assert updates
    assert {span.parent for span in updates} == {step.span}
    gates = [span for span in shown.spans if span.name.startswith("gate ")]
    assert {span.parent for span in gates} <= {span.span for span in updates}
    accepted = [span for span in updates if span.attributes.get(at.VERSION)]
    assert len(accepted) == 1
    (one,) = accepted
    assert one.attributes[at.ACCEPTED] is True
    assert one.attributes[at.HASH_BEFORE] != one.attributes[at.HASH_AFTER]
    validation = next(g for g in gates if g.parent == one.span and g.attributes[at.GATE] == "validation")
    assert validation.attributes[at.GATE_BEFORE] < validation.attributes[at.GATE_AFTER]
    assert validation.attributes[at.GATE_N] > 0


def test_a_backward_span_names_the_forward_span_it_differentiates_and_links_survive_where_the_backend_keeps_them(shown):
    known = {(span.trace, span.span): span for span in shown.spans}
    pairs = 0
    for span in shown.spans:
        if span.name.startswith("backward"):
            target = (span.attributes[at.FORWARD_TRACE], span.attributes[at.FORWARD_SPAN])
            assert known[target].attributes[at.PHASE] in {"forward", "loss"}
            assert span.links == ((target,) if keeps_links(shown) else ())
            pairs += 1
    assert pairs > len(shown.sent.traces)


def test_a_step_is_linked_to_its_examples_where_the_backend_keeps_links(shown):
    (step,) = [span for span in shown.spans if span.name == "textgrad step 1"]
    roots = {(span.trace, span.span) for span in shown.spans if span.name == "textgrad example"}
    assert set(step.links) == (roots if keeps_links(shown) else set())


def test_what_failed_is_shown_as_failed(shown):
    failed = [span for span in shown.spans if span.failed]
    assert failed
    assert all("rollout" in span.name or span.attributes[at.PHASE] == "forward" or not span.parent for span in failed)


def test_with_content_the_backend_shows_prompts_and_gradients(shown):
    shown_text = json.dumps([dict(span.attributes) for span in shown.spans])
    assert worlds.WANTED in shown_text
    assert worlds.JUDGE in shown_text


def test_without_content_no_text_of_the_graphs_users_is_there(bare):
    assert len(bare.spans) == len(bare.sent.spans)
    told = json.dumps([[span.name, dict(span.attributes)] for span in bare.spans]) + json.dumps(
        bare.backend.forms(bare.sent.run)
    )
    for text in (worlds.WANTED, worlds.JUDGE, "film number", UNREADABLE, "cannot be read", "<p>"):
        assert text not in told


def test_a_rollout_reads_back_as_it_was_recorded(shown):
    for form, found in shown.backend.forms(shown.sent.run).items():
        read = {it.trace.id: it for it in read_traces(found, report=lambda _: None)}
        # Each rollout, also with the texts that were proposed. A reverse pass went over those as they were.
        assert read.keys() == {span.attributes[at.TRACE] for span in rollouts(shown)}, form
        original = {name for name, it in read.items() if it.provenance.rollout[at.CANDIDATE] == "original"}
        assert original == shown.sent.traces.keys()
        for name, recorded in shown.sent.traces.items():
            # The reverse pass adds the evaluators' verdicts to the Trace; they are not of the graph's run.
            back = read[name]
            verdicts = {span.id for span in recorded.spans if span.kind.value == "eval"}
            assert back.completeness is Completeness.FULL
            assert shape(back.trace) == [it for it in shape(recorded) if it[0] not in verdicts]
            own = {v: told for v, told in values(recorded).items() if told[2] not in verdicts}
            assert {v: told for v, told in values(back.trace).items() if v in own} == own, form
            assert edges(back.trace) == {edge for edge in edges(recorded) if edge[2] not in verdicts}, form
            assert [str(v.site) for v in back.trace.parameters] == [str(v.site) for v in recorded.parameters]
            assert back.trace.example == recorded.example
            assert back.provenance.spans.keys() == {it.id for it in back.trace.spans}


def test_without_content_a_rollout_reads_back_as_structure_only(bare):
    for found in bare.backend.forms(bare.sent.run).values():
        read = list(read_traces(found, report=lambda _: None))
        assert {it.completeness for it in read} == {Completeness.STRUCTURE}
        assert len(read) == len(rollouts(bare)) > len(bare.sent.traces)
        assert all("content was not captured" in it.reasons[0] for it in read)
