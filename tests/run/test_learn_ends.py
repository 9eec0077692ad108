"""How learning without a graph ends where it does not go well: the budget, another writer, a prompt that nobody can ask again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.run.production import pages, quoted_critic, short
from tests.run.worlds import WANTED, review_model
from textgrad_lg import TGD, Budget, MemoryRegistry, Settings, Strategy, Template, learn
from textgrad_lg.errors import BudgetExhausted
from textgrad_lg.events import BackwardFinished, Committed, ModelsCalled, Proposed, RunFinished, StepFinished
from textgrad_lg.registry import NewVersion
from textgrad_lg.types import Phase

SITE = "pages:judge/system"
SETTINGS = Settings(strategy=Strategy.CHAIN, steps=2, batch=4, concurrency=1)


@pytest.fixture(scope="module")
def traces():
    return pages(16)[1]


def learnt(traces, folder, *, registry=None, evals=short, **options) -> Any:
    told = []
    registry = MemoryRegistry() if registry is None else registry
    options = {"model": quoted_critic(), "answers": review_model(), "settings": SETTINGS, "optimizer": TGD(), **options}
    try:
        return learn(None, traces, evals, registry=registry, run_dir=folder, callbacks=[told.append], **options), told
    except BudgetExhausted as error:
        return error, told


class Hurried(MemoryRegistry):
    """Another writer commits to the same prompt between what this one reads and what it writes."""

    def __init__(self):
        super().__init__()
        self.hurry = True

    def commit(self, new, *, label=None, expect=None):
        if self.hurry and any(version.parent is not None for version in new):
            self.hurry = False
            super().commit([NewVersion(SITE, Template("Theirs."), parent=1)], label=label, expect={SITE: 1})
        return super().commit(new, label=label, expect=expect)


def test_where_another_writer_was_faster_nothing_is_written_over_and_that_is_said(traces, tmp_path):
    registry = Hurried()
    result, told = learnt(traces, tmp_path, registry=registry)
    assert not registry.hurry
    assert "it was not written to the registry, because another writer was faster" in result.reason
    # The text is not lost: it has passed the judge, and the result holds it.
    ((site, change),) = result.texts.items()
    assert str(site) == "judge/system"
    assert change.new.text.endswith(WANTED)
    assert registry.get(SITE, label="candidate").template == Template("Theirs.")
    assert [version.template.text for version in registry.history(SITE)][1:] == ["Theirs."]
    assert not any(isinstance(event, Committed) for event in told)
    assert isinstance(told[-1], RunFinished)


def test_a_budget_that_ends_in_the_middle_says_where_and_keeps_to_the_limit(traces, tmp_path):
    """Cut off after so many calls or so many: in criticising, in proposing, in comparing."""
    whole, told = learnt(traces, tmp_path / "whole")
    needed = whole.spend.total.calls
    # Each was told, for whoever counts tokens.
    assert sum(len(event.calls) for event in told if isinstance(event, ModelsCalled)) == needed
    assert whole.texts
    cut = set()
    gradients, proposals = (whole.spend.phases[phase].calls for phase in (Phase.GRADIENT, Phase.PROPOSAL))
    assert whole.spend.phases[Phase.VALIDATION].calls == needed - gradients - proposals > 2
    for calls in (1, gradients - 1, gradients, gradients + proposals, needed - 1, needed):
        forward, critic = review_model(), quoted_critic()
        result, told = learnt(traces, tmp_path / str(calls), budget=Budget(calls=calls), model=critic, answers=forward)
        assert len(forward.requests) + len(critic.requests) <= calls
        assert not isinstance(result, BudgetExhausted)
        assert result.published == {}
        assert result.spend.total.calls <= calls
        if calls == needed:
            assert result.texts == whole.texts
            assert result.reason == whole.reason
            continue
        assert result.texts == {}
        assert result.reason.startswith("stopped in step 1: ")
        assert "budget" in result.reason
        made = [kind.__name__ for kind in (BackwardFinished, Proposed) if any(isinstance(e, kind) for e in told)]
        cut.add(tuple(made))
        assert isinstance(told[-1], RunFinished)
        assert not any(isinstance(event, StepFinished) and event.accepted for event in told)
    assert cut == {(), ("BackwardFinished",), ("BackwardFinished", "Proposed")}


def test_a_run_that_the_budget_stopped_goes_on_with_a_larger_one(traces, tmp_path):
    registry = MemoryRegistry()
    whole, _ = learnt(traces, tmp_path / "whole")
    needed, asked = whole.spend.total.calls, 0
    for calls in (needed // 3, 2 * needed // 3, needed):
        forward, critic = review_model(), quoted_critic()
        result, _ = learnt(
            traces, tmp_path / "run", registry=registry, budget=Budget(calls=calls), model=critic, answers=forward
        )
        asked += len(forward.requests) + len(critic.requests)
    assert result.texts == whole.texts
    assert result.reason == whole.reason
    assert registry.labels(SITE) == {"candidate": 2}
    # Over the three sessions no call was made that the one would not have made.
    assert asked == needed == result.spend.total.calls


def test_a_budget_that_does_not_pay_for_judging_is_said_and_what_was_judged_is_kept(traces, tmp_path):
    judge = quoted_critic()

    def judged(outputs, model):
        judge.invoke([("system", "Judge."), ("human", outputs["page"])])
        return short(outputs)

    judge.replies = lambda messages: "Agreed."
    error, _ = learnt(traces, tmp_path, evals=judged, budget=Budget(calls=5))
    assert isinstance(error, BudgetExhausted)
    assert len(judge.requests) <= 5
    result, _ = learnt(traces, tmp_path, evals=judged, budget=Budget(calls=500))
    assert result.texts
    assert result.spend.phases[Phase.JUDGE].calls == len(traces)


def test_a_prompt_whose_calls_cannot_be_asked_again_is_not_accepted(traces, tmp_path):
    """Held-out traces that hold no such call decide nothing, and an edit that nothing speaks for is not taken."""

    def lost(trace):
        spans = tuple(replace(s, attributes={}) if s.path == ("judge",) else s for s in trace.spans)
        return replace(trace, spans=spans)

    _, told = learnt(traces, tmp_path / "first", model=quoted_critic("Be nice."))
    learnt_from = {event.trace.id for event in told if isinstance(event, BackwardFinished)}
    kept = [trace if trace.id in learnt_from else lost(trace) for trace in traces]
    result, _ = learnt(kept, tmp_path / "second")
    assert result.texts == {}
    reasons = {each.reason for each in result.decisions if each.gate == "judge"}
    assert reasons == {"no held-out trace has a call of judge/system that could be asked again"}


def test_an_error_in_the_middle_ends_the_run_and_is_told(traces, tmp_path):
    class Broken(TGD):
        async def propose(self, context):
            raise RuntimeError("the optimizer's own")

    told = []
    with pytest.raises(RuntimeError, match="own"):
        learn(
            None,
            traces,
            short,
            model=quoted_critic(),
            answers=review_model(),
            settings=SETTINGS,
            optimizer=Broken(),
            registry=MemoryRegistry(),
            run_dir=tmp_path,
            callbacks=[told.append],
        )
    assert isinstance(told[-1], RunFinished)
    assert told[-1].error == "RuntimeError"
