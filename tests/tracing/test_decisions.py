"""Each decision of a step is a span that says what was decided, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from textgrad_lg import events
from textgrad_lg.types import Phase

from .support import RUN, SECRET, T0, a_run, by_name, everything, memory, scored, trace_of, tree, written

DECIDED = list(a_run())


def told(kind, **fields) -> list[Any]:
    return [
        event for event in DECIDED if isinstance(event, kind) and all(getattr(event, k) == v for k, v in fields.items())
    ]


def test_a_gradient_is_an_event_on_the_span_that_made_it():
    spans = written(a_run(), content=True)
    (first, second) = by_name(spans, "backward answer").events
    assert first.name == second.name == "textgrad.gradient"
    assert dict(first.attributes) == {
        "textgrad.gradient.text": f"{SECRET} ask for detail",
        "textgrad.gradient.id": "0eba8d051535",
        "textgrad.gradient.variable": "s5.in0",
        "textgrad.gradient.weight": 1.0,
        "textgrad.param.name": "answer/system",
        "textgrad.score": 0.0,
    }
    assert SECRET not in everything(written(a_run()))


def test_only_the_latest_criticisms_are_remembered(monkeypatch):
    monkeypatch.setattr("textgrad_lg_tracing.exporter._REMEMBERED", 2)
    callback, exporter = memory()
    for event in DECIDED:
        callback(event)
    name = f"{1:032x}"
    assert callback.backward_span(name, "s5") is None
    assert callback.backward_span(name, "s2") == by_name(exporter.get_finished_spans(), "backward plan").context


def test_gradients_of_several_examples_are_reduced_to_what_they_say():
    (back,) = told(events.BackwardFinished)
    same = replace(back, trace=replace(back.trace, example="e2"))
    items = tuple(replace(gradient, example="e2", trace=f"{2:032x}") for gradient in back.gradients)
    other = replace(same, gradients=replace(back.gradients, items=items), trace=replace(same.trace, id=f"{2:032x}"))
    span = by_name(written([back, other], content=True), "reduce answer/system")
    known = span.attributes
    assert (known["textgrad.gradient.count"], known["textgrad.gradient.distinct"], known["textgrad.example.count"]) == (
        2,
        1,
        2,
    )
    assert len(known["textgrad.gradient.ids"]) == 2
    assert known["output.value"] == f'["{SECRET} ask for detail"]'
    assert span.start_time == round(back.ended * 1e9)


@pytest.mark.parametrize(
    ("kept", "decision"),
    [((), "untested"), (("minibatch",), "undecided"), (("minibatch", "validation"), "accepted")],
)
def test_what_became_of_an_update_that_was_not_committed(kept, decision):
    (proposed,) = told(events.Proposed)
    gates = [event for name in kept for event in told(events.Gated, gate=name)]
    known = by_name(written([proposed, *gates]), "update answer/system").attributes
    assert known["textgrad.decision"] == decision
    assert known.get("textgrad.gate.name") == (kept[-1] if kept else None)


def test_a_rejection_tells_its_statistics_and_its_reason_where_content_is_shown():
    (gated,) = told(events.Gated, gate="validation")
    refused = replace(gated, accepted=False, p_value=0.3, reason=f"{SECRET}: not enough at alpha = 0.05")
    for content, reason in ((True, refused.reason), (False, "validation")):
        spans = written([refused], content=content)
        for name in ("update answer/system", "gate validation"):
            known = by_name(spans, name).attributes
            assert (known["textgrad.accepted"], known["textgrad.reject_reason"]) == (False, reason)
            assert (known["textgrad.gate.p_value"], known["textgrad.gate.alpha"]) == (0.3, 0.05)
            assert (known["textgrad.gate.before"], known["textgrad.gate.after"]) == (0.25, 0.5)
            assert known["textgrad.gate.n"] == 2
        assert by_name(spans, "update answer/system").attributes["textgrad.decision"] == "rejected"


def test_updates_that_were_tested_together_name_each_other_and_where_they_come_from():
    (gated,) = told(events.Gated, gate="validation")
    (other,) = {event.update.site: event.update for event in told(events.Gated, gate="edit")}.values()
    traced = replace(other, traces=("t1", "t2"))
    spans = written([replace(gated, together=(traced,))])
    assert by_name(spans, "update answer/system").attributes["textgrad.update.together"] == ("plan/system",)
    known = by_name(spans, "update plan/system").attributes
    assert known["textgrad.update.together"] == ("answer/system",)
    assert known["textgrad.gradient.source_trace_ids"] == ("t1", "t2")


def test_a_commit_is_a_span_with_the_versions_before_and_after():
    span = by_name(written(a_run()), "commit answer/system")
    known = span.attributes
    assert (known["textgrad.param.version.before"], known["textgrad.param.version.after"]) == ("1", "2")
    assert (known["textgrad.param.label"], known["gen_ai.prompt.version"]) == ("candidate", "2")
    (committed,) = told(events.Committed)
    first = by_name(written([replace(committed, before=None)]), "commit answer/system")
    assert "textgrad.param.version.before" not in first.attributes


def test_a_rollback_to_the_graphs_own_text_has_no_version_after():
    event = events.RolledBack(
        run=RUN, time=T0, label="production", versions={"a": None, "b": 1}, before={"a": 2, "b": 3}
    )
    assert tree(written([event]), "textgrad.param.version.before", "textgrad.param.version.after") == (
        "textgrad rollback | CHAIN\n"
        "  rollback a | CHAIN | param.version.before=2\n"
        "  rollback b | CHAIN | param.version.before=3 | param.version.after=1"
    )


def test_a_step_of_a_thousand_rollouts_is_cut_to_300_spans_and_says_so():
    many = [scored(trace_of(f"v{at}"), phase=Phase.VALIDATION, candidate="c1") for at in range(1000)]
    ended = events.StepFinished(run=RUN, time=T0 + 90, step=1, started=T0, score=None, accepted=False)
    spans = written([*told(events.Gated, gate="edit"), *many, ended])
    root = by_name(spans, "textgrad step 1")
    mine = [span for span in spans if span.context.trace_id == root.context.trace_id]
    assert len(mine) == 300
    assert root.attributes["textgrad.spans.dropped"] == 1000 + 4 - 300
    assert by_name(spans, "validate").attributes["textgrad.example.count"] == 1000
    assert by_name(spans, "gate edit")
