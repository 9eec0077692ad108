"""Minibatches that are run before their step: beside what passes, beside trials that will fail, beside a validation."""

from __future__ import annotations

from tests.run.test_pooled_run import Offer, examples, gates, run, settled
from textgrad_lg import Budget, Evals
from textgrad_lg.events import ExampleScored, StepFinished
from textgrad_lg.run.batches import minibatches
from textgrad_lg.types import Phase

SMALL = {"steps": 3, "batch": 3, "concurrency": 8}


def live(events):
    """The rollouts of minibatches that were really run, by step: which texts, which example."""
    found = {}
    for event in events:
        if isinstance(event, ExampleScored) and event.phase is Phase.ROLLOUT and not event.cached:
            found.setdefault(event.step, []).append((event.candidate, event.example))
    return found


def drawn(evals, count, size=3):
    """The first minibatches of a run."""
    batches = minibatches([example for example in evals.examples if example.id.startswith("train")], size, 0)
    return [[example.id for example in next(batches)] for _ in range(count)]


def test_one_that_was_run_ahead_may_fail_and_the_next_ones_too():
    # Nothing fails in three steps, so three are run ahead; then each of those holds a failure.
    evals = Evals(examples(train="." * 30, validation="aaaabbbb....", test="...."), [settled])
    wrong = {name for batch in drawn(evals, 9)[5:] for name in batch}

    def judge(outputs, example):
        return example.id not in wrong and "?" not in outputs["answer"], "no"

    result, events, _ = run(Offer(useless=1), Evals(evals.examples, [judge]), settings={"steps": 9, "concurrency": 12})
    assert result.reason.startswith("took 9 steps")
    ahead = {step: len(found) for step, found in live(events).items()}
    assert ahead[4] > 3
    assert [event.step for event in events if isinstance(event, StepFinished)] == list(range(1, 10))


def test_while_all_but_the_best_guess_are_tried_the_next_minibatch_is_run():
    evals = Evals(examples(train="ab" * 6), [settled])
    result, events, model = run(Offer(alone=False, useless=3), evals, settings=SMALL)
    own = live(events)[0][0][0]
    found = [{name for texts, name in live(events).get(step, ()) if texts == own} for step in (0, 1, 2, 3)]
    first, second, third = map(set, drawn(evals, 3))
    # Before the first step the first one, in each step the next one; none after the last.
    assert first <= found[0]
    assert found[1:] == [second, third, set()]
    assert not result.improved
    assert len(model.requests) == result.spend.total.calls


def test_the_same_is_decided_as_without_it(monkeypatch):
    def what(result):
        return [(each.gate, each.update.new.text, each.accepted, each.step) for each in result.decisions], str(
            result.test
        )

    evals = Evals(examples(), [settled])
    with_it, _, _ = run(Offer(useless=2), evals, settings=SMALL)
    monkeypatch.setattr("textgrad_lg.run.ahead.Ahead.beside", lambda *_: [])
    without, _, _ = run(Offer(useless=2), evals, settings=SMALL)
    assert what(with_it) == what(without)


def test_a_scarce_budget_is_not_spent_on_a_guess():
    evals = Evals(examples(train="ab" * 6), [settled])
    result, events, _ = run(Offer(alone=False, useless=3), evals, settings=SMALL, budget=Budget(calls=130))
    own = live(events)[0][0][0]
    assert [name for texts, name in live(events)[1] if texts == own] == []
    assert result.spend.total.calls <= 130


def test_beside_the_last_of_a_validation_that_goes_well_the_next_minibatch_is_run_with_the_new_texts():
    # Thirteen of sixteen are run first and show the gain; beside the other three there is room.
    evals = Evals(examples(train="ab" * 6, validation="a" * 8 + "b" * 8), [settled])
    _, events, _ = run(Offer(), evals, settings={"steps": 2, "batch": 3, "concurrency": 13})
    accepted = next(event for event in gates(events, "validation") if event.accepted)
    assert accepted.step == 1
    new = [event.candidate for event in events if isinstance(event, ExampleScored) and event.phase is Phase.VALIDATION]
    found = {name for texts, name in live(events)[1] if texts == new[16]}
    assert set(drawn(evals, 2)[1]) <= found
    assert not {name for texts, name in live(events).get(2, ()) if texts == new[16]} & found
