"""The hard limit: what is admitted, what is refused, and that nothing slips between threads."""

from __future__ import annotations

import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from pydantic import TypeAdapter

from textgrad_lg.errors import BudgetError, BudgetExhausted, UnknownPrice
from textgrad_lg.run.budget import Budget
from textgrad_lg.run.ledger import Ledger, check_price
from textgrad_lg.run.prices import Price, Prices
from textgrad_lg.run.spend import Costs, Spend
from textgrad_lg.types import ModelCall, Phase, Usage

# Saying a price keeps these tests from importing the price list.
PRICES = Prices({"m": Price(1.0, 2.0), "free": Price(0, 0)})


def call(sent=100, most=50, model="m"):
    return ModelCall("test", model, sent, most)


def ledger(budget, **options):
    return Ledger(Budget.parse(budget), PRICES, **{"clock": lambda: 0.0, **options})


# Budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("$2", Budget(usd=2.0)),
        ("$0.50", Budget(usd=0.5)),
        ("2 usd", Budget(usd=2.0)),
        ("1.5 dollars", Budget(usd=1.5)),
        ("$ 2 USD", Budget(usd=2.0)),
        ("$1,000", Budget(usd=1000.0)),
        ("500 calls", Budget(calls=500)),
        ("1 call", Budget(calls=1)),
        ("1,500 calls", Budget(calls=1500)),
        ("1_500calls", Budget(calls=1500)),
        ("200k tokens", Budget(tokens=200_000)),
        ("1.5M tokens", Budget(tokens=1_500_000)),
        ("90 seconds", Budget(seconds=90.0)),
        ("90s", Budget(seconds=90.0)),
        ("30 minutes", Budget(seconds=1800.0)),
        ("5Minutes", Budget(seconds=300.0)),
        ("1.5 h", Budget(seconds=5400.0)),
        ("1 rollout", Budget(rollouts=1)),
        ("2k rollouts, $3", Budget(usd=3.0, rollouts=2000)),
        ("  $2, 30 minutes and 500 calls + 1M tokens ", Budget(2.0, 500, 1_000_000, 1800.0)),
        (None, Budget(calls=1000)),
        (Budget(usd=3), Budget(usd=3)),
    ],
)
def test_budgets_are_read_as_people_write_them(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "two dollars",
        "$",
        "-$2",
        "$2 calls",
        "500 cows",
        "€2",
        "$2, $3",
        "1.5 calls",
        "1.5 rollouts",
        "$0",
        "0 calls",
        "$1e5",
        "5 m",
        "$2,",
        "10,00 calls",
        "$nan",
        3,
        2.0,
        True,
        ["$2"],
    ],
)
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(BudgetError):
        Budget.parse(text)


def test_the_refusal_shows_what_can_be_written():
    with pytest.raises(BudgetError) as error:
        Budget.parse("lots")
    assert str(error.value) == snapshot(
        "budget='lots' cannot be read; write '$2', '500 calls', '200k tokens', '30 minutes', '300 rollouts', several of them as '$2, 30 minutes', or a Budget"
    )


@pytest.mark.parametrize("name", ["usd", "calls", "tokens", "seconds", "rollouts"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "2"])
def test_a_limit_is_a_number_above_0(name, value):
    with pytest.raises(BudgetError, match=name):
        Budget(**{name: value})


def test_a_budget_has_a_limit_and_counts_in_whole_calls():
    with pytest.raises(BudgetError, match="give one"):
        Budget()
    with pytest.raises(BudgetError, match="whole number"):
        Budget(calls=1.5)  # pyright: ignore[reportArgumentType]


POSITIVE = st.floats(1e-9, 1e12)
COUNTS = st.integers(1, 10**15)


@given(st.none() | POSITIVE, st.none() | COUNTS, st.none() | COUNTS, st.none() | POSITIVE, st.none() | COUNTS)
def test_a_budget_prints_as_it_is_read(usd, calls, tokens, seconds, rollouts):
    if (usd, calls, tokens, seconds, rollouts) != (None,) * 5:
        budget = Budget(usd, calls, tokens, seconds, rollouts)
        assert Budget.parse(str(budget)) == budget


# Ledger


def test_what_was_used_takes_the_place_of_the_worst_case():
    book = ledger("1000 calls")
    ticket = book.meter(Phase.ROLLOUT).admit(call())
    assert book.spend.phases == {}
    ticket.settle(80, 20)
    assert book.spend.phases == {Phase.ROLLOUT: Usage(1, 80, 20, 120e-6)}
    assert book.budget == Budget(calls=1000)


@pytest.mark.parametrize(
    ("reported", "most", "counted"),
    [
        ((None, None), 50, (100, 50)),
        ((7, None), 50, (7, 50)),
        ((None, 7), None, (100, 7)),
        ((None, None), None, (100, 4096)),
    ],
)
def test_what_the_model_does_not_say_counts_at_its_worst(reported, most, counted):
    book = ledger("1000 calls")
    book.meter(Phase.JUDGE).admit(call(100, most)).settle(*reported)
    total = book.spend.total
    assert (total.input_tokens, total.output_tokens) == counted


def test_a_ticket_counts_once():
    book = ledger("2 calls")
    ticket = book.meter(Phase.ROLLOUT).admit(call())
    for _ in range(3):
        ticket.settle(10, 10)
    assert book.spend.total.calls == 1
    book.meter(Phase.ROLLOUT).admit(call())


def test_calls_are_refused_before_they_are_made_and_the_refusal_helps():
    book = ledger("2 calls")
    meter = book.meter(Phase.GRADIENT)
    meter.admit(call()).settle(1, 1)
    meter.admit(call())
    with pytest.raises(BudgetExhausted) as error:
        meter.admit(call())
    assert str(error.value) == snapshot(
        "the budget of 2 calls does not allow this call, which may cost 1 calls (phase gradient): 1 calls spent, 1 calls reserved by calls under way; for more, raise it, as in budget='4 calls'"
    )
    assert book.spend.total.calls == 1


def test_tokens_are_reserved_at_their_worst():
    meter = ledger("400 tokens").meter(Phase.ROLLOUT)
    first = meter.admit(call(100, 100))
    meter.admit(call(100, 100))
    with pytest.raises(BudgetExhausted, match="400 tokens reserved"):
        meter.admit(call(1, 0))
    first.settle(50, 50)
    meter.admit(call(50, 50))


def test_money_is_met_to_the_last_digit():
    # Ten calls of 10 cents are one dollar, though ten times 0.1 is less than 1.0 in floating point.
    book = ledger("$1")
    meter = book.meter(Phase.ROLLOUT)
    for _ in range(10):
        meter.admit(call(100_000, 0)).settle(100_000, 0)
    assert book.spend.total.usd == 1.0
    with pytest.raises(BudgetExhausted) as error:
        meter.admit(call(1, 0))
    assert str(error.value) == snapshot(
        "the budget of $1 does not allow this call, which may cost $1e-06 (phase rollout): $1 spent; for more, raise it, as in budget='$2.0'"
    )
    meter.admit(call(model="free"))


def test_a_call_that_breaks_its_word_is_counted_in_full_and_is_the_last():
    book = ledger("300 tokens")
    meter = book.meter(Phase.ROLLOUT)
    meter.admit(call(100, 50)).settle(100, 500)
    assert book.spend.total.output_tokens == 500
    with pytest.raises(BudgetExhausted):
        meter.admit(call(1, 0))


def test_nonsense_counts_as_nothing_and_gives_nothing_back():
    book = ledger("10 tokens")
    book.meter(Phase.ROLLOUT).admit(call(-5, -5)).settle(-100, -100)
    assert book.spend.total == Usage(1, 0, 0, 0.0)


def test_time_runs_out_for_new_calls():
    now = [100.0]
    book = ledger("30 seconds", clock=lambda: now[0])
    meter = book.meter(Phase.ROLLOUT)
    now[0] = 129.9
    ticket = meter.admit(call())
    now[0] = 130.0
    with pytest.raises(BudgetExhausted, match=r"30 seconds is used up: 30\.0 seconds have passed.*'60\.0 seconds'"):
        meter.admit(call())
    ticket.settle(1, 1)
    assert book.spend.seconds == pytest.approx(30.0)
    assert book.spend.total.calls == 1


@pytest.mark.parametrize("model", ["who-knows", ""])
def test_money_needs_a_price(model):
    book = Ledger(Budget(usd=1, calls=10))
    with pytest.raises(UnknownPrice, match=r"prices=\{'.*': Price\(.*budget='500 calls'"):
        book.meter(Phase.ROLLOUT).admit(call(model=model))
    assert book.spend.total == Usage()


def test_without_a_money_limit_a_model_without_a_price_runs_and_is_named():
    book = Ledger(Budget(calls=10))
    for model in ("who-knows", "", "who-knows"):
        book.meter(Phase.ROLLOUT).admit(call(model=model)).settle(1, 2)
    assert book.spend.unpriced == ("who-knows", "(a model without a name)")
    assert str(book.spend) == snapshot("3 calls, 9 tokens, price not known")
    book.meter(Phase.ROLLOUT).admit(ModelCall("openai", "gpt-4o-mini", 100_000, 0)).settle(100_000, 0)
    assert str(book.spend) == snapshot("4 calls, 100,009 tokens, $0.01 and calls of unknown price")


# Rollouts


def test_rollouts_are_refused_before_they_begin_and_the_refusal_helps():
    book = ledger("2 rollouts")
    book.begin(Phase.ROLLOUT)
    book.begin(Phase.VALIDATION)
    with pytest.raises(BudgetExhausted) as error:
        book.begin(Phase.VALIDATION)
    assert str(error.value) == snapshot(
        "the budget of 2 rollouts does not allow this rollout, which may cost 1 rollouts (phase validation): 2 rollouts spent; for more, raise it, as in budget='4 rollouts'"
    )
    # A call that belongs to one that has begun is still made.
    book.meter(Phase.ROLLOUT).admit(call()).settle(1, 1)
    assert book.spend.phases[Phase.ROLLOUT] == Usage(1, 1, 1, 3e-6, 1)
    assert book.spend.total.rollouts == 2


def test_rollouts_that_are_held_are_kept_and_no_rollout_begins_after_the_time():
    now = [0.0]
    book = ledger("3 rollouts, 30 seconds", clock=lambda: now[0])
    book.hold(Phase.TEST, Usage(rollouts=2))
    book.begin(Phase.ROLLOUT)
    with pytest.raises(BudgetExhausted, match="2 rollouts kept for other phases"):
        book.begin(Phase.ROLLOUT)
    book.begin(Phase.TEST)
    now[0] = 30.0
    with pytest.raises(BudgetExhausted, match="30 seconds is used up"):
        book.begin(Phase.TEST)
    assert book.spend.total == Usage(rollouts=2)


def test_threads_cannot_slip_past_the_rollouts():
    book = ledger("50 rollouts")
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda _: _quietly(lambda: book.begin(Phase.ROLLOUT) or True), range(200)))
    assert begun.count(True) == 50 == book.spend.total.rollouts


# Prices that are asked for in advance


def test_a_price_is_asked_for_before_anything_is_spent():
    check_price(Budget(usd=1), PRICES, "", "m")
    check_price(Budget(calls=1), PRICES, "", "who-knows")
    with pytest.raises(UnknownPrice, match=r"the price of 'who-knows' is not known.*prices="):
        check_price(Budget(usd=1), PRICES, "", "who-knows")


# What was predicted beside what was spent


def test_costs_stand_side_by_side():
    predicted = Spend({Phase.ROLLOUT: Usage(30, 3000, 600, 0.25, 10), Phase.PROPOSAL: Usage(2, 100, 100, 0.5)})
    spent = Spend({Phase.ROLLOUT: Usage(12, 900, 100, 0.125, 4), Phase.JUDGE: Usage(1, 10, 10, 0.0)}, unpriced=("x",))
    costs = Costs(predicted, spent)
    assert str(costs) == snapshot("""\
spent / predicted  rollouts    calls         tokens       US dollars
rollout              4 / 10  12 / 30  1,000 / 3,600  0.1250 / 0.2500
judge                 0 / 0    1 / 0         20 / 0  0.0000 / 0.0000
proposal              0 / 0    0 / 2        0 / 200  0.0000 / 0.5000
total                4 / 10  13 / 32  1,020 / 3,800  0.1250 / 0.7500
not in the dollars, because their price is not known: x\
""")
    assert list(costs.phases) == [Phase.ROLLOUT, Phase.JUDGE, Phase.PROPOSAL]
    assert costs.phases[Phase.PROPOSAL] == (Usage(2, 100, 100, 0.5), Usage())


def test_a_prediction_without_a_price_or_none_at_all():
    spent = Spend({Phase.ROLLOUT: Usage(1, 2, 3, 0.5, 1)})
    unpriced = Costs(Spend({Phase.ROLLOUT: Usage(2, 2, 2)}, unpriced=("y",)), spent)
    assert "0.5000 / ?" in str(unpriced)
    assert str(unpriced).endswith("not known: y")
    assert str(Costs(None, spent)) == spent.table()
    assert Costs(None, spent).phases == {Phase.ROLLOUT: (Usage(), Usage(1, 2, 3, 0.5, 1))}


# Holds


def test_what_is_held_is_kept_from_others_and_used_first():
    book = ledger("10 calls")
    book.hold(Phase.TEST, Usage(calls=6))
    rollout, test = book.meter(Phase.ROLLOUT), book.meter(Phase.TEST)
    for _ in range(4):
        rollout.admit(call()).settle(1, 1)
    with pytest.raises(BudgetExhausted, match="6 calls kept for other phases"):
        rollout.admit(call())
    for left in range(6, 0, -1):
        test.admit(call()).settle(1, 1)
        with pytest.raises(BudgetExhausted):
            rollout.admit(call())
        assert book.spend.total.calls == 10 - left + 1
    with pytest.raises(BudgetExhausted):
        test.admit(call())


def test_the_holder_may_use_more_than_its_hold():
    book = ledger("10 calls")
    book.hold(Phase.TEST, Usage(calls=2))
    for _ in range(5):
        book.meter(Phase.TEST).admit(call()).settle(1, 1)
    for _ in range(5):
        book.meter(Phase.ROLLOUT).admit(call()).settle(1, 1)


def test_what_a_held_call_did_not_use_stays_held():
    book = ledger("1000 tokens")
    book.hold(Phase.TEST, Usage(input_tokens=300, output_tokens=300))
    book.meter(Phase.TEST).admit(call(250, 250)).settle(50, 50)
    rollout = book.meter(Phase.ROLLOUT)
    with pytest.raises(BudgetExhausted, match="500 tokens kept"):
        rollout.admit(call(401, 0))
    rollout.admit(call(400, 0))


def test_a_hold_made_while_calls_are_under_way_is_never_more_than_was_asked():
    book = ledger("1000 tokens")
    under_way = book.meter(Phase.TEST).admit(call(300, 0))
    book.hold(Phase.TEST, Usage(input_tokens=200))
    under_way.settle(0, 0)
    book.meter(Phase.ROLLOUT).admit(call(800, 0))


def test_release_gives_back_and_a_second_hold_replaces_the_first():
    book = ledger("10 calls")
    book.hold(Phase.TEST, Usage(calls=8))
    book.hold(Phase.TEST, Usage(calls=10))
    with pytest.raises(BudgetExhausted):
        book.meter(Phase.ROLLOUT).admit(call())
    book.release(Phase.TEST)
    book.release(Phase.TEST)
    book.meter(Phase.ROLLOUT).admit(call())


def test_a_hold_that_does_not_fit_is_refused_and_the_earlier_one_stands():
    book = ledger("$1")
    book.hold(Phase.TEST, Usage(usd=0.5))
    with pytest.raises(BudgetExhausted) as error:
        book.hold(Phase.VALIDATION, Usage(usd=0.6))
    assert str(error.value) == snapshot(
        "the budget of $1 does not allow what is to be kept for validation, which may cost $0.6 (phase validation): $0 spent, $0.5 kept for other phases; for more, raise it, as in budget='$2.0'"
    )
    with pytest.raises(BudgetExhausted):
        book.hold(Phase.TEST, Usage(usd=1.1))
    with pytest.raises(BudgetExhausted):
        book.meter(Phase.ROLLOUT).admit(call(500_001, 0))
    book.meter(Phase.ROLLOUT).admit(call(500_000, 0))


# Spend


def test_spend_of_earlier_sessions_counts():
    before = Spend({Phase.ROLLOUT: Usage(3, 30, 6, 0.25)}, seconds=20.0, unpriced=("x",))
    book = ledger("4 calls, 30 seconds", spent=before)
    assert book.spend == before
    book.meter(Phase.ROLLOUT).admit(call()).settle(1, 0)
    assert book.spend.phases[Phase.ROLLOUT] == Usage(4, 31, 6, 0.250001)
    with pytest.raises(BudgetExhausted):
        book.meter(Phase.ROLLOUT).admit(call())
    with pytest.raises(BudgetExhausted, match="seconds"):
        ledger("4 calls, 20 seconds", spent=before).meter(Phase.TEST).admit(call())


def test_spend_as_text():
    spend = Spend(
        {Phase.GRADIENT: Usage(2, 1500, 300, 0.0105), Phase.ROLLOUT: Usage(1200, 1_000_000, 50_000, 1.25, 400)},
        unpriced=("local",),
    )
    assert spend.table() == snapshot("""\
          rollouts  calls  tokens in  tokens out  US dollars
rollout        400  1,200  1,000,000      50,000      1.2500
gradient         0      2      1,500         300      0.0105
total          400  1,202  1,001,500      50,300      1.2605
not in the dollars, because their price is not known: local\
""")
    assert str(Spend({Phase.TEST: Usage(2, 10, 5, 0.5)})) == "2 calls, 15 tokens, $0.50"
    assert Spend().total == Usage()


def test_spend_survives_json():
    spend = Spend({Phase.TEST: Usage(2, 10, 5, 0.1)}, 1.5, ("x",))
    adapter = TypeAdapter(Spend)
    assert adapter.validate_json(adapter.dump_json(spend)) == spend


# Invariants

CALLS = st.tuples(st.sampled_from(list(Phase)), st.integers(0, 60), st.integers(0, 60), st.floats(0, 1), st.booleans())
HOLDS = st.tuples(st.sampled_from(list(Phase)), st.integers(0, 5), st.integers(0, 200), st.none(), st.booleans())


@settings(max_examples=150)
@given(st.lists(CALLS | HOLDS, max_size=60), st.integers(1, 12), st.integers(1, 600), st.floats(1e-6, 1e-3))
def test_never_over_the_limit_while_calls_keep_their_word(actions, calls, tokens, usd):
    book = Ledger(Budget(usd, calls, tokens), PRICES)
    open_tickets = []
    admitted = 0
    for phase, first, second, share, flag in actions:
        if share is None:
            (book.release(phase) if flag else _quietly(lambda p=phase, a=first, b=second: book.hold(p, Usage(a, b))))
            continue
        ticket = _quietly(lambda p=phase, a=first, b=second: book.meter(p).admit(call(a, b)))
        if ticket is not None:
            admitted += 1
            open_tickets.append((ticket, int(first * share), int(second * share)))
        if flag and open_tickets:
            ticket, sent, received = open_tickets.pop(0)
            ticket.settle(sent, received)
            ticket.settle(sent, received)
        _within(book)
    for ticket, sent, received in open_tickets:
        ticket.settle(sent, None if received % 2 else received)
        _within(book)
    total = book.spend.total
    assert total.calls == admitted
    assert total == sum(book.spend.phases.values(), Usage()) or total.usd == pytest.approx(
        sum(usage.usd for usage in book.spend.phases.values())
    )


def _quietly(action):
    try:
        return action()
    except BudgetExhausted:
        return None


def _within(book):
    total = book.spend.total
    assert total.calls <= book.budget.calls
    assert total.input_tokens + total.output_tokens <= book.budget.tokens
    assert total.usd <= book.budget.usd + 1e-12
    assert book.budget.rollouts is None or total.rollouts <= book.budget.rollouts


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from([Phase.TEST, Phase.ROLLOUT, Phase.JUDGE]), st.integers(0, 40)), max_size=60),
    st.integers(0, 20),
)
def test_what_is_held_can_always_be_spent(others, held):
    book = ledger("20 calls")
    book.hold(Phase.TEST, Usage(calls=held))
    for phase, _ in others:
        _quietly(lambda p=phase: book.meter(p).admit(call()).settle(1, 1))
    used = book.spend.phases.get(Phase.TEST, Usage()).calls
    for _ in range(held - used):
        book.meter(Phase.TEST).admit(call()).settle(1, 1)


AMOUNTS = st.tuples(st.integers(0, 60), st.integers(0, 60))
PROGRAMS = st.lists(
    st.one_of(
        # A call of so many tokens at most, which uses a share of them, or is never heard of again.
        st.tuples(st.just("call"), st.sampled_from(list(Phase)), AMOUNTS, st.none() | st.floats(0, 1)),
        st.tuples(st.just("rollout"), st.sampled_from(list(Phase)), AMOUNTS, st.none()),
        st.tuples(st.just("hold"), st.sampled_from(list(Phase)), AMOUNTS, st.none()),
        st.tuples(st.just("release"), st.sampled_from(list(Phase)), AMOUNTS, st.none()),
    ),
    max_size=25,
)


@pytest.fixture
def many_switches():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(PROGRAMS, min_size=2, max_size=8),
    st.builds(
        Budget,
        usd=st.floats(1e-6, 2e-3),
        calls=st.integers(1, 40),
        tokens=st.integers(1, 1500),
        rollouts=st.integers(1, 30),
    ),
)
def test_never_over_the_limit_whatever_threads_do_side_by_side(many_switches, programs, budget):
    book = Ledger(budget, PRICES)
    start = threading.Barrier(len(programs))

    def work(program):
        used = [Usage(), Usage()]  # of calls that ended, and at the worst of those that did not
        start.wait()
        for kind, phase, (sent, most), share in program:
            if kind == "hold":
                _quietly(lambda: book.hold(phase, Usage(1, sent, most, 0.0, 1)))  # noqa: B023  called at once
            elif kind == "release":
                book.release(phase)
            elif kind == "rollout":
                begun = _quietly(lambda: book.begin(phase) or True)  # noqa: B023
                used[0] += Usage(rollouts=1 if begun else 0)
            else:
                ticket = _quietly(lambda: book.meter(phase).admit(call(sent, most)))  # noqa: B023
                if ticket is not None and share is None:
                    used[1] += Usage(1, sent, most)
                elif ticket is not None:
                    ticket.settle(int(sent * share), int(most * share))
                    used[0] += Usage(1, int(sent * share), int(most * share))
            _within(book)
        return used

    with ThreadPoolExecutor(len(programs)) as pool:
        done, open_ = (sum(each, Usage()) for each in zip(*pool.map(work, programs), strict=True))
    total = book.spend.total
    # Nothing is lost, nothing is counted twice, and what is under way would fit at its worst as well.
    assert replace(total, usd=0.0) == done
    worst = done + open_
    assert worst.calls <= budget.calls
    assert worst.input_tokens + worst.output_tokens <= budget.tokens
    assert worst.input_tokens + 2 * worst.output_tokens <= budget.usd * 1e6 + 1e-6
    assert worst.rollouts <= budget.rollouts


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PROGRAMS, min_size=2, max_size=6), st.integers(1, 10), st.integers(1, 6))
def test_what_is_held_is_there_whatever_threads_have_done(many_switches, programs, held, runs):
    book = Ledger(Budget(0.01, 30, 5_000, rollouts=20), PRICES)
    book.hold(Phase.TEST, Usage(held, 40 * held, 20 * held, 80e-6 * held, runs))

    def work(program):
        for kind, phase, (sent, most), _ in program:
            if phase is Phase.TEST:
                continue
            if kind == "rollout":
                _quietly(lambda: book.begin(phase))  # noqa: B023
            elif kind == "call":
                _quietly(lambda: book.meter(phase).admit(call(20 * sent, 20 * most)))  # noqa: B023

    with ThreadPoolExecutor(len(programs)) as pool:
        list(pool.map(work, programs))
    for _ in range(held):
        book.meter(Phase.TEST).admit(call(40, 20)).settle(40, 20)
    for _ in range(runs):
        book.begin(Phase.TEST)


def test_threads_cannot_slip_past_the_limit():
    book = ledger("200 calls, 15_000 tokens")
    book.hold(Phase.TEST, Usage(calls=20))
    start = threading.Barrier(8)

    def work(number):
        meter = book.meter([Phase.ROLLOUT, Phase.JUDGE, Phase.GRADIENT, Phase.PROPOSAL][number % 4])
        admitted = []
        start.wait()
        for _ in range(100):
            ticket = _quietly(lambda: meter.admit(call(40, 20)))
            if ticket is not None:
                admitted.append(ticket)
        return admitted

    with ThreadPoolExecutor(8) as pool:
        tickets = [ticket for admitted in pool.map(work, range(8)) for ticket in admitted]
        assert len(tickets) == 180
        # Each ticket is settled by two threads at once.
        list(pool.map(lambda ticket: ticket.settle(40, 20), tickets * 2))
    assert book.spend.total == Usage(180, 7200, 3600, 0.0144)
    for _ in range(20):
        book.meter(Phase.TEST).admit(call(40, 20)).settle(40, 20)
