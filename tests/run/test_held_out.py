"""The test set is read once, at the end, whoever asks for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.run.test_ending import Proposer, graph_of, half_right, split_reviews
from tests.run.worlds import review_model
from textgrad_lg import Budget, Evals, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg.errors import BudgetExhausted, DataError
from textgrad_lg.example import Example
from textgrad_lg.run.held_out import HeldOut
from textgrad_lg.run.journal import Journal
from textgrad_lg.run.session import Session
from textgrad_lg.types import Phase

SETTINGS = Settings(steps=2, batch=6, strategy=Strategy.STRUCTURAL)
TESTS = [Example("t1", 1), Example("t2", 2)]


class Reads(Proposer):
    """An optimizer that asks for the test set while the run goes on; it finds the session as user code might."""

    session: Session

    def __init__(self, monkeypatch, phase, times=1):
        super().__init__()
        self.phase, self.times = phase, times
        made = Session.__post_init__

        def noted(session):
            made(session)
            self.session = session

        monkeypatch.setattr(Session, "__post_init__", noted)

    async def propose(self, context):
        for _ in range(self.times):
            await self.session.evaluate(self.session.splits.test[:1], self.phase)
        return await super().propose(context)


def run(optimizer=None, **options):
    model = review_model()
    options = {"registry": MemoryRegistry(), "settings": SETTINGS, "optimizer": optimizer or Proposer()} | options
    return optimize(graph_of(model), Evals(split_reviews(), [half_right]), **options), model


@pytest.mark.parametrize("phase", [Phase.TEST, Phase.VALIDATION, Phase.ROLLOUT])
@pytest.mark.parametrize("times", [1, 2])
def test_code_of_a_user_cannot_read_it_within_a_run(phase, times, monkeypatch):
    with pytest.raises(DataError, match="is of the test set, which is read once, at the end of the run"):
        run(Reads(monkeypatch, phase, times))


def test_the_rest_may_be_run_at_any_time(monkeypatch):
    optimizer = Reads(monkeypatch, Phase.VALIDATION)
    optimizer.times = 0
    result, _ = run(optimizer)
    assert result.improved
    assert result.test.n == 10


def test_a_second_reading_raises():
    guard = HeldOut(TESTS)
    with guard.reading("before", "after"):
        guard.check("t1", "before", known=False)
        guard.check("t1", "after", known=False)
        with pytest.raises(DataError, match="of the test set"):
            guard.check("t1", "some other text", known=False)
    with pytest.raises(DataError, match="of the test set"):
        guard.check("t1", "before", known=True)
    with pytest.raises(DataError, match="read once: a second comparison"), guard.reading("before", "after"):
        pass


def test_without_a_test_set_there_is_nothing_to_guard():
    HeldOut().check("t1", "any", known=False)


def test_a_later_session_may_repeat_the_reading_and_not_make_another():
    with Journal(None) as journal:
        with HeldOut(TESTS, journal).reading("before", "after"):
            pass
        again = HeldOut(TESTS, journal)
        with again.reading("before", "after"):
            again.check("t1", "after", known=True)
        with pytest.raises(DataError, match="read once"), HeldOut(TESTS, journal).reading("before", "other"):
            pass
        with pytest.raises(BudgetExhausted, match="so the run has ended"):
            HeldOut(TESTS, journal).check("a train example", "any", known=False)


def test_a_reading_that_was_cut_off_does_not_count_in_a_later_session():
    with Journal(None) as journal:
        with pytest.raises(BudgetExhausted), HeldOut(TESTS, journal).reading("before", "after"):
            raise BudgetExhausted("no more")
        with HeldOut(TESTS, journal).reading("before", "other"):
            pass


def test_a_larger_budget_does_not_buy_a_second_look(tmp_path):
    # One minibatch and the validation set, twice, are 32 calls; 20 are kept back for the test set.
    options = {"settings": replace(SETTINGS, concurrency=1), "run_dir": tmp_path / "run"}
    first, _ = run(budget=Budget(calls=54), **options)
    assert first.improved
    assert first.reason.startswith("stopped in step 2: the budget of 54 calls")
    again, model = run(budget=Budget(calls=54), **options)
    assert (again.test, again.texts, model.requests) == (first.test, first.texts, [])
    more, model = run(budget=Budget(calls=5_000), **options)
    assert (more.test, more.texts, model.requests) == (first.test, first.texts, [])
    assert more.reason.startswith("stopped in step 2: the test set of this run was read, so the run has ended")
    assert more.improved
