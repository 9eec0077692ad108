"""What a budget must pay for, what it makes do with, and what it still pays for."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from tests.run import worlds
from textgrad_lg import Evals, MemoryRegistry, Settings, Strategy, Template, Update, optimize
from textgrad_lg.errors import BudgetExhausted, BudgetTooSmall
from textgrad_lg.evals import Splits
from textgrad_lg.example import Example
from textgrad_lg.optim import Proposals
from textgrad_lg.run.budget import Budget
from textgrad_lg.run.journal import Journal
from textgrad_lg.run.ledger import Ledger
from textgrad_lg.run.metering import Metering
from textgrad_lg.run.prices import Price, Prices
from textgrad_lg.run.reserve import LEAST, Reserve, Sizes
from textgrad_lg.types import ModelCall, Phase, Usage

if TYPE_CHECKING:
    from textgrad_lg.run.rollout import Rollout

PRICES = Prices({"m": Price(1_000_000, 1_000_000)})
"""A dollar a token, so that sums are read at a glance."""


def some(count, name):
    return tuple(Example(f"{name}{at}", {"at": at}) for at in range(count))


def splits(train=8, validation=5, test=5):
    return Splits(some(train, "train"), some(validation, "validation"), some(test, "test"))


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "run", settings={}) as journal:
        yield journal


def reserve(journal, budget, parts=None, **options):
    metering = Metering(Ledger(Budget.parse(budget), PRICES), PRICES)
    return Reserve(parts or splits(), 4, metering, journal, **options)


def spend(held, runs, *, calls=2, tokens=(3, 1), phase=Phase.ROLLOUT):
    """Run the graph so often, with so many calls a run and tokens a call."""
    ledger = held.metering.ledger
    for _ in range(runs):
        ledger.begin(phase)
        for _ in range(calls):
            held.metering.meter(phase).admit(ModelCall("", "m", *tokens)).settle(*tokens)


def measured(journal, budget, parts=None, **options):
    """A Reserve that has seen four runs, of two calls of four tokens each."""
    held = reserve(journal, budget, parts, **options)
    spend(held, 4)
    held.measure(4)
    return held


# What is left, in calls

# Four runs are spent, and ten are kept for the test set: a run is 2 calls, 8 tokens, $8, 1 rollout.


@pytest.mark.parametrize(
    ("budget", "calls"),
    [
        ("100 calls", 100 - 8 - 20),
        ("800 tokens", (800 - 32 - 80) // 4),
        ("$800", (800 - 32 - 80) // 4),
        ("100 rollouts", (100 - 4 - 10) * 2),
        # The scarcest of them counts.
        ("100 calls, 800 tokens, $2000", 72),
        ("1000 calls, 800 tokens", 172),
        ("1000 calls, 30 rollouts", 32),
        ("10 minutes", None),
    ],
)
def test_what_is_left_is_told_in_calls_whatever_is_limited(journal, budget, calls):
    held = measured(journal, budget)
    assert held.calls_left() == calls
    assert held.run == Usage(2, 6, 2, 8.0, 1)


def test_what_is_left_shrinks_with_what_is_spent_and_is_never_less_than_nothing(journal):
    held = measured(journal, "1000 tokens")
    assert held.calls_left() == 222
    spend(held, 1, calls=1, tokens=(30, 10))
    assert held.calls_left() == 212
    spend(held, 20, calls=1, tokens=(30, 10))
    assert held.calls_left() == 12
    held.metering.meter(Phase.ROLLOUT).count(ModelCall("", "m", 900, 0), 900, 0)
    assert held.calls_left() == 0


def test_a_run_that_calls_no_model_leaves_a_figure_to_reckon_with(journal):
    held = reserve(journal, "100 calls, 1000 tokens")
    spend(held, 4, calls=0)
    held.measure(4)
    # One call a run is the least that is reckoned with; what costs nothing limits nothing.
    assert held.calls_left() == 90


def test_money_that_models_cost_nothing_of_limits_nothing(journal):
    held = Reserve(
        splits(),
        4,
        Metering(Ledger(Budget(usd=1), Prices({"m": Price(0, 0)})), Prices({"m": Price(0, 0)})),
        journal,
    )
    spend(held, 4)
    held.measure(4)
    assert held.calls_left() is None


def test_the_cost_of_a_run_is_that_of_the_first_session(journal):
    first = measured(journal, "100 calls")
    again = reserve(journal, "200 calls")
    again.measure(1)
    assert again.run == first.run
    assert again.calls_left() == 180


# What is kept back


def test_rollouts_of_the_test_set_are_kept_back(journal):
    held = measured(journal, "25 rollouts")
    spend(held, 11)
    with pytest.raises(BudgetExhausted, match="10 rollouts kept for other phases"):
        held.metering.ledger.begin(Phase.ROLLOUT)
    spend(held, 10, phase=Phase.TEST)


def test_repeats_are_paid_for(journal):
    held = measured(journal, "100 calls", repeats=2)
    assert held.calls_left() == 100 - 8 - 40
    with pytest.raises(BudgetTooSmall, match="34 runs of 2 calls"):
        reserve(journal, "60 calls", repeats=2).measure(4)


def ran(tokens):
    """A rollout of the validation set, as far as its tokens go."""
    return cast(
        "Rollout", SimpleNamespace(trace=SimpleNamespace(spans=[SimpleNamespace(attributes={"input_tokens": tokens})]))
    )


def test_longer_runs_have_more_kept_back_where_it_is_left(journal):
    held = measured(journal, "1000 tokens")
    held.follow([ran(10), ran(10)])
    assert held.calls_left() == 222
    held.follow([ran(20), ran(20)])
    assert held.run == Usage(2, 12, 4, 16.0, 1)
    assert held.calls_left() == (1000 - 32 - 160) // 8
    held.follow([ran(400), ran(400)])
    # So much is not left; what was kept before stands.
    with pytest.raises(BudgetExhausted, match="164 tokens kept for other phases"):
        held.metering.meter(Phase.ROLLOUT).admit(ModelCall("", "m", 900, 0))


# What is refused, and what is made do with


@pytest.mark.parametrize("budget", ["37 calls", "151 tokens", "$151", "18 rollouts"])
def test_small_sets_are_not_made_smaller(journal, budget):
    held = reserve(journal, budget, makes_do=True)
    spend(held, 4)
    with pytest.raises(BudgetTooSmall, match=r"the test set twice are 19 runs of .*; raise it to well above"):
        held.measure(4)


LARGE = splits(400, 300, 300)


def test_large_sets_are_made_do_with_some_of(journal):
    held = measured(journal, "1000 calls", LARGE, makes_do=True)
    parts = held.splits
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (400, 82, 82)
    # In their order, and all different.
    places = [LARGE.test.index(example) for example in parts.test]
    assert places == sorted(set(places))
    assert held.left_out == snapshot(
        "the budget of 1000 calls does not pay for all examples: 82 of 300 validation and 82 of 300 test examples were used, drawn by the seed. For all of them, begin a new run with a budget well above 1,808 calls"
    )
    # Half of it is left to the steps.
    assert held.calls_left() == 1000 - 8 - 2 * 82 * 2


def test_which_are_used_is_the_seeds_affair_and_that_of_the_first_session(journal, tmp_path):
    first = measured(journal, "1000 calls", LARGE, makes_do=True, seed=1)
    richer = reserve(journal, "9000 calls", LARGE, makes_do=True, seed=1)
    richer.measure(1)
    assert richer.splits == first.splits
    assert richer.left_out.startswith("the budget of 1000 calls")
    with Journal(tmp_path / "other", settings={}) as other:
        assert measured(other, "1000 calls", LARGE, makes_do=True, seed=2).splits != first.splits


def test_all_are_used_where_the_budget_pays_for_them(journal):
    held = measured(journal, "5000 calls", LARGE, makes_do=True)
    assert held.splits == LARGE
    assert held.left_out == ""


def test_not_even_the_fewest_can_be_paid(journal):
    held = reserve(journal, "150 calls", LARGE, makes_do=True)
    held.check(Usage(1, rollouts=1))
    spend(held, 4)
    with pytest.raises(BudgetTooSmall) as error:
        held.measure(4)
    assert str(error.value) == snapshot(
        "a budget of 150 calls cannot pay for one evaluation: a minibatch, 30 of 300 validation examples and 30 of 300 test examples twice are 94 runs of 2 calls; raise it to well above 188 calls, or use fewer examples"
    )


def test_who_does_not_make_do_is_refused(journal):
    with pytest.raises(BudgetTooSmall, match="904 runs"):
        measured(journal, "1000 calls", LARGE)


@example(Sizes(1, 163, 26), 587, 7)  # a small set that takes more than its share
@given(
    st.builds(Sizes, st.integers(1, 8), st.integers(1, 500), st.integers(1, 500), st.integers(1, 3)),
    st.integers(1, 5000),
    st.integers(1, 9),
)
def test_sizes_stay_between_the_fewest_and_all_and_fit_where_they_can(own, calls, each):
    found = own.within(Budget(calls=calls), Usage(each))
    assert (found.batch, found.repeats) == (own.batch, own.repeats)
    for mine, every in ((found.validation, own.validation), (found.test, own.test)):
        assert min(every, LEAST) <= mine <= every
    fewest = Sizes(own.batch, min(own.validation, LEAST), min(own.test, LEAST), own.repeats)
    if fewest.runs * each <= calls:
        assert found.runs * each <= calls
    if own.runs * each <= calls:
        assert found == own


# A run whose budget ends before its steps do


class Goes:
    """An optimizer that has the right idea in the first step, and no good one in any later."""

    proposals = 1

    def __init__(self, late=lambda: None):
        self.late = late

    async def propose(self, context):
        if context.step > FIRST_STEP:
            self.late()
        site = next(site for site in context.parameters if str(site) == "judge/system")
        old = context.parameters[site]
        idea = worlds.WANTED if context.step == FIRST_STEP else f"Think of the number {context.step}."
        return Proposals((Update(site, old, Template(f"{old.text} {idea}"), "an idea", "goes"),))


FIRST_STEP = 1
MODEL_PRICES = {"worker": Price(30, 30)}


def never_done(budget, run_dir=None, *, steps=30, **options):
    """A run with a failure in every minibatch that no edit mends."""
    reviews = [
        {**row, "reference_outputs": {"page": "impossible"}} if at % 3 == 0 else row
        for at, row in enumerate(worlds.reviews(60))
    ]
    return optimize(
        worlds.three_nodes(worlds.review_model(model_name="worker")),
        Evals(reviews, [worlds.right_page]),
        budget=budget,
        prices=MODEL_PRICES,
        registry=MemoryRegistry(),
        settings=Settings(steps=steps, batch=4, concurrency=1, strategy=Strategy.STRUCTURAL),
        run_dir=run_dir,
        optimizer=Goes(**options),
    )


@pytest.mark.parametrize("budget", ["270 calls", "$0.43", "90 rollouts", "14k tokens"])
def test_a_run_that_uses_its_budget_up_still_has_its_test_result(budget):
    result = never_done(budget)
    assert re.match(r"stopped in step \d+: the budget of .* kept for other phases", result.reason)
    assert result.improved
    assert result.test.n == 18
    total, limits = result.spend.total, Budget.parse(budget)
    for limit, used in (
        (limits.calls, total.calls),
        (limits.tokens, total.input_tokens + total.output_tokens),
        (limits.usd, total.usd),
        (limits.rollouts, total.rollouts),
    ):
        assert limit is None or 0.2 * limit < used <= limit


def test_time_cannot_be_kept_and_the_result_says_why_it_has_no_test(monkeypatch, tmp_path):
    now = [0.0]
    monkeypatch.setitem(Ledger.__init__.__kwdefaults__, "clock", lambda: now[0])

    def late():
        now[0] = 100.0

    result = never_done("60 seconds", tmp_path / "run", steps=3, late=late)
    assert result.reason == snapshot(
        "stopped in step 2: the budget of 60 seconds is used up: 100.0 seconds have passed; for more, raise it, as in budget='120.0 seconds'; the test set could not be paid for (the budget of 60 seconds is used up: 100.0 seconds have passed; for more, raise it, as in budget='120.0 seconds'); graph unchanged"
    )
    assert (result.improved, result.test, result.published) == (False, None, {})
    # The edit that was accepted is not lost, and the test is made up for with more time.
    assert len(result.texts) == 1
    now[0] = 0.0
    again = never_done("300 seconds", tmp_path / "run", steps=3, late=late)
    assert again.test is not None
