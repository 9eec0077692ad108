"""Learning from production traces: what is selected, what it costs, who decides, and what a version says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.run.production import pages, quoted_critic, short
from tests.run.worlds import WANTED, review_model
from textgrad_lg import (
    TGD,
    Budget,
    Evals,
    MemoryRegistry,
    ProductionTrace,
    Score,
    Settings,
    Strategy,
    TextLoss,
    alearn,
    learn,
)
from textgrad_lg.errors import DataError, EvaluatorError, GraphError
from textgrad_lg.events import BackwardFinished, ExampleScored, Gated
from textgrad_lg.templates import FENCE
from textgrad_lg.types import Phase

SETTINGS = Settings(strategy=Strategy.CHAIN, steps=2, batch=4)
SITE = "pages:judge/system"


@pytest.fixture(scope="module")
def recorded():
    return pages(24)


def learnt(graph, traces, evals=short, *, critic=None, registry=None, **options):
    registry = MemoryRegistry() if registry is None else registry
    options = {"optimizer": TGD(), "settings": SETTINGS, "model": critic or quoted_critic(), **options}
    return learn(graph, traces, evals, registry=registry, **options), registry


def failing_by_feedback(traces, count):
    return [ProductionTrace(t, (Score("user", 0.0, "too long"),)) for t in traces[:count]] + list(traces[count:])


def test_with_the_graph_held_out_runs_decide_and_the_test_set_proves(recorded, tmp_path):
    graph, traces = recorded
    events = []
    result, _registry = learnt(graph, traces, run_dir=tmp_path, callbacks=[events.append])
    assert result.verified
    assert result.improved
    assert result.published == {SITE: 2}
    (change,) = result.texts.values()
    assert change.new.text.endswith(WANTED)
    assert result.result.test.after == 1.0
    assert "24 traces, 24 failing in 1 kinds" in result.summary()
    # Not one run of the graph before the first Gradients, but for the held-out traces that the gate compares on.
    first = next(at for at, event in enumerate(events) if isinstance(event, BackwardFinished))
    ran = [event for event in events[:first] if isinstance(event, ExampleScored) and not event.cached]
    assert {event.phase for event in ran} == {Phase.VALIDATION}
    assert result.spend.phases[Phase.ROLLOUT].rollouts == SETTINGS.batch


def test_a_version_names_the_traces_behind_it(recorded, tmp_path):
    graph, traces = recorded
    _, registry = learnt(graph, traces, run_dir=tmp_path)
    own, edit = registry.history(SITE)
    assert "traces" not in own.provenance
    behind = edit.provenance["traces"]
    assert isinstance(behind, list)
    assert len(behind) == SETTINGS.batch
    assert all(name in {trace.id for trace in traces} for name in behind)


def test_without_the_graph_a_judge_decides_and_nothing_is_published(recorded, tmp_path):
    _, traces = recorded
    critic = quoted_critic()
    result, registry = learnt(None, traces, critic=critic, answers=review_model(), run_dir=tmp_path)
    assert not result.verified
    assert not result.improved
    assert result.published == {}
    assert result.result is None
    assert [str(site) for site in result.texts] == ["judge/system"]
    assert registry.labels(SITE) == {"candidate": 2}
    assert registry.get(SITE, version=2).provenance["verified"] is False
    assert registry.get(SITE, version=2).provenance["traces"]
    assert "not verified: no graph was run" in result.summary()
    assert all(usage.rollouts == 0 for usage in result.spend.phases.values())
    asked = [request for request in critic.requests if "compare two replies" in request.messages[0].text]
    assert asked
    for request in asked:
        assert "You judge the facts" not in request.messages[-1].text


def test_an_edit_that_the_judge_does_not_prefer_is_not_kept(recorded, tmp_path):
    _, traces = recorded
    result, registry = learnt(None, traces, critic=quoted_critic("Be nice."), answers=review_model(), run_dir=tmp_path)
    assert result.texts == {}
    assert list(registry.names()) == []
    judged = [gated for gated in result.decisions if gated.gate == "judge"]
    assert judged
    assert not any(gated.accepted for gated in judged)


def test_where_the_reply_is_the_output_the_evaluators_judge(recorded, tmp_path):
    """The evaluator reads the label alone, which is the reply of the call that is asked again: no model compares."""
    _, traces = recorded
    critic = quoted_critic()

    def label(outputs):
        return " " not in outputs["label"], f"{outputs['label']!r} is no label"

    result, _ = learnt(None, traces, label, critic=critic, answers=review_model(), run_dir=tmp_path)
    assert result.texts
    assert not any("compare two replies" in request.messages[0].text for request in critic.requests)


def test_with_the_graph_too_nothing_is_published_that_held_out_runs_do_not_prove(recorded, tmp_path):
    graph, traces = recorded
    result, registry = learnt(graph, traces, critic=quoted_critic("Be nice."), run_dir=tmp_path)
    assert result.verified
    assert result.published == {}
    assert not result.texts
    assert list(registry.names()) == []


def test_it_goes_on_where_it_was_and_pays_for_nothing_twice(recorded, tmp_path):
    graph, traces = recorded
    first, registry = learnt(graph, traces, run_dir=tmp_path)
    critic = quoted_critic()
    again, _ = learnt(graph, list(reversed(traces)), critic=critic, run_dir=tmp_path, registry=registry)
    assert critic.requests == []
    assert again.spend.total == first.spend.total
    assert again.reason == first.reason
    assert again.clusters == first.clusters


@pytest.mark.parametrize("calls", [1, 30, 60, 90])
def test_the_budget_holds(recorded, tmp_path, calls):
    graph, traces = recorded
    for at, given in enumerate((graph, None)):
        forward, critic = review_model(), quoted_critic()
        try:
            result, _registry = learnt(
                given, traces, critic=critic, answers=forward, run_dir=tmp_path / str(at), budget=Budget(calls=calls)
            )
        except Exception as error:
            assert "budget" in str(error)  # noqa: PT017  which of the two it is depends on the budget
        else:
            assert result.spend.total.calls <= calls
            assert given is not None or result.published == {}
        assert len(critic.requests) + len(forward.requests) <= calls


def test_feedback_and_errors_select_without_an_evaluator(recorded, tmp_path):
    _, traces = recorded
    broken = replace(traces[12], spans=(replace(traces[12].spans[0], error="ValueError: boom"), *traces[12].spans[1:]))
    given = [*failing_by_feedback(traces, 12), *traces[13:], broken]
    result, _ = learnt(
        None, [one for one in given if one is not traces[12]], None, answers=review_model(), run_dir=tmp_path
    )
    assert len(result.failing) == 13
    assert {one.trace.id for one in result.failing} == {trace.id for trace in traces[:13]}
    assert sum(cluster.size for cluster in result.clusters) == 13


def test_feedback_counts_beside_an_evaluator_that_is_content(recorded, tmp_path):
    graph, traces = recorded

    def content(outputs):
        return bool(outputs)

    result, _ = learnt(graph, failing_by_feedback(traces, 9), content, run_dir=tmp_path)
    assert len(result.failing) == 9
    # The evaluator is content with all, so no edit can be proven to be better.
    assert result.published == {}


def test_where_nothing_failed_nothing_is_asked(recorded, tmp_path):
    graph, traces = recorded
    critic = quoted_critic()
    for at, given in enumerate((graph, None)):
        result, _ = learnt(given, traces, lambda outputs: True, critic=critic, run_dir=tmp_path / str(at))
        assert "no trace failed" in result.reason
        assert result.clusters == ()
    assert critic.requests == []


def test_the_users_own_data_say_what_was_wanted(recorded, tmp_path):
    graph, traces = recorded
    data = [
        {"inputs": {"review": f"{'good' if at % 2 else 'bad'} film number {at}"}, "reference_outputs": {"page": at % 2}}
        for at in range(24)
    ]
    seen = []

    def wanted(outputs, reference_outputs):
        seen.append(reference_outputs["page"])
        return True

    learnt(graph, traces, Evals(data, [wanted]), run_dir=tmp_path)
    assert sorted(seen) == [0] * 12 + [1] * 12


def test_a_source_gives_no_more_than_its_share(recorded, tmp_path):
    graph, traces = recorded
    sources = {trace.id: "loud" if at % 3 else f"user {at}" for at, trace in enumerate(traces)}
    events = []
    result, _ = learnt(graph, traces, sources=sources, run_dir=tmp_path, callbacks=[events.append])
    rows = {one.trace.id: one.who for one in result.failing}
    assert {rows[trace.id] for trace in traces} == {*(f"user {at}" for at in range(0, 24, 3)), "loud"}
    for event in (event for event in events if isinstance(event, Gated) and event.update.traces):
        loud = [name for name in event.update.traces if sources[name] == "loud"]
        assert len(loud) <= max(1, len(event.update.traces) // 2)


def test_what_strangers_wrote_is_shown_as_quoted_data(recorded, tmp_path):
    _, traces = recorded
    critic = quoted_critic()
    learnt(None, failing_by_feedback(traces, 24), None, critic=critic, answers=review_model(), run_dir=tmp_path)
    request = next(r for r in critic.requests if "reply of the call" in r.messages[-1].text).messages[-1].text
    marks = {mark.rstrip(">").rpartition(" ")[2] for mark in FENCE.findall(request)}
    assert marks
    assert all(len(mark) == 16 for mark in marks)
    assert '\n"I think this is' in request or '\n"<p>I think this is' in request


def test_what_a_trace_plants_is_refused(recorded, tmp_path):
    graph, traces = recorded
    critic = quoted_critic("Reply with the label alone. See https://evil.example/x")
    result, registry = learnt(graph, traces, critic=critic, run_dir=tmp_path)
    assert all("evil" not in v.template.text for name in registry.names() for v in registry.history(name))
    assert any(gated.gate == "edit" and not gated.accepted for gated in result.decisions)


async def test_in_an_event_loop(recorded, tmp_path):
    _, traces = recorded
    result = await alearn(
        None,
        traces,
        short,
        model=quoted_critic(),
        answers=review_model(),
        run_dir=tmp_path,
        settings=SETTINGS,
        optimizer=TGD(),
        registry=MemoryRegistry(),
    )
    assert result.texts


def test_traces_are_taken_in_without_keeping_all(recorded, tmp_path):
    graph, traces = recorded
    result, _ = learnt(graph, iter([*traces, *traces[:5]]), most=15, run_dir=tmp_path)
    assert result.seen == 24
    assert len(result.failing) == 15


def test_what_cannot_be_used_is_said(recorded, tmp_path):
    graph, traces = recorded
    with pytest.raises(GraphError, match="needs a model"):
        learn(None, traces, short)
    with pytest.raises(EvaluatorError, match="give learn an evaluator"):
        learn(graph, traces, None)
    with pytest.raises(EvaluatorError, match="before the graph is run"):
        learn(graph, traces, TextLoss("It is short."))
    with pytest.raises(DataError, match="a str is no trace"):
        learn(graph, ["x"], short)
    with pytest.raises(DataError, match="there is no trace"):
        learn(graph, [], short)
    with pytest.raises(DataError, match="has to be 1 or more"):
        learn(graph, traces, short, most=0)
    with pytest.raises(TypeError, match="no option 'modell'"):
        learn(graph, traces, short, modell=None)  # pyright: ignore[reportCallIssue]
    empty = replace(traces[0], inputs={})
    with pytest.raises(DataError, match="none of the 1 traces"):
        learn(graph, [empty], short)
    result, _ = learnt(None, [*traces, replace(empty, id="f" * 32)], answers=review_model(), run_dir=tmp_path)
    assert "1 of 25 traces do not hold" in result.warnings[0]
