"""What candidates give and cost, and the front of those that no other one beats in everything."""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from langchain_core.messages import AIMessage

from tests.replay.support import chain
from textgrad_lg import Trace
from textgrad_lg.example import Example, Score
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.record import record
from textgrad_lg.replay import memorise, replay
from textgrad_lg.run.objectives import Front, Objectives, front, measured
from textgrad_lg.run.prices import Price, Prices
from textgrad_lg.run.rollout import ERROR, REPLAY, Rollout
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.trace import Span
from textgrad_lg.types import SpanKind

PRICES = Prices({"priced": Price(10, 100), "free": Price(0, 0)})
EXAMPLE = Example("e1", {"question": "Why?"})


def call(took=1.0, *, model="priced", error=None, **told: Any):
    return Span("?", SpanKind.LLM, model, "s0", end=took, error=error, attributes={"model": model, **told})


def used(took=1.0, model="priced", **told: Any):
    return call(took, model=model, input_tokens=1000, output_tokens=100, **told)


def rollout(*calls: Span, score: float | None = 1.0, key="right", comment=None, error=None):
    spans = (Span("s0", SpanKind.GRAPH, "g"), *(replace(span, id=f"s{at}") for at, span in enumerate(calls, 1)))
    return Rollout(EXAMPLE, Trace("1", "g", spans), (Score(key, score, comment, error=error),))


def test_means_over_the_runs():
    runs = [rollout(used(2.0), used(3.0), score=1.0), rollout(used(4.0), score=0.5)]
    assert measured(runs, [], PRICES) == Objectives(0.75, 0.03, 1650, 1.5, 3.5, 0)


def test_a_replayed_call_counts_as_if_it_was_made():
    live, again = rollout(used(2.0)), rollout(used(0.0, replayed=True, seconds=2.0))
    assert measured([again], [], PRICES) == measured([live], [], PRICES)


def test_a_real_replay_has_the_objectives_of_the_live_run():
    reply = AIMessage("fine", usage_metadata={"input_tokens": 7, "output_tokens": 3, "total_tokens": 10})
    graph = chain(ScriptedChatModel(replies=lambda messages: reply, model_name="priced"), 3)
    with memorise() as first, record() as live:
        graph.invoke({"question": "Why?", "said": {}})
    with replay(first.memo), record() as again:
        graph.invoke({"question": "Why?", "said": {}})
    one, other = (
        measured([Rollout(EXAMPLE, Trace.from_json(each.trace.to_json()), (Score("right", 1.0),))], [], PRICES)
        for each in (live, again)
    )
    assert replace(one, seconds=None) == replace(other, seconds=None)
    assert (one.calls, one.tokens, one.usd) == (3, 30, pytest.approx(3 * 370e-6))
    assert other.seconds == pytest.approx(sum(entry.seconds for entry in first.new))


def test_what_is_not_known_is_not_guessed():
    assert measured([rollout(used(), call())], [], PRICES) == Objectives(1.0, None, None, 2, 1.0, 0)
    assert measured([rollout(used(model="unheard of"))], [], PRICES) == Objectives(1.0, None, 1100, 1, 1.0, 0)
    assert measured([rollout(call(model="free"))], [], PRICES) == Objectives(1.0, 0.0, None, 1, 1.0, 0)
    assert measured([], [], PRICES) == Objectives(None, None, None, None, None, 0)
    assert measured([rollout(used(), score=None, error="no idea")], [], PRICES).quality is None


def test_a_call_that_failed_is_a_call_without_tokens():
    assert measured([rollout(call(error="Timeout"), used())], [], PRICES) == Objectives(1.0, 0.02, 1100, 2, 1.0, 0)


@pytest.mark.parametrize(
    "cut",
    [rollout(used(9), score=0.0, key=ERROR, comment="it broke"), rollout(used(9), score=None, key=REPLAY)],
)
def test_runs_that_were_cut_short_say_nothing_about_costs(cut):
    whole = rollout(used(2.0))
    found = measured([whole, cut, Rollout(EXAMPLE, None, (Score(ERROR, 0.0, "it broke"),))], [], PRICES)
    assert found == replace(measured([whole], [], PRICES), quality=found.quality)
    assert found.quality == (1 / 3 if cut.raised else 1 / 2)
    assert measured([cut], [], PRICES).calls is None


def test_characters_are_those_of_all_texts_and_of_their_demonstrations():
    demo = Demo((("human", "12345"), ("more", "67")), "890")
    texts = [Template("Sort {x}.", ("x",), (demo, demo)), Template("Hm")]
    assert measured([], iter(texts), PRICES).characters == 9 + 2 * 10 + 2


def some(quality: float | None = 0.5, usd: float | None = 1.0, seconds: float | None = 1.0, characters=10):
    return Objectives(quality, usd, 100, 1, seconds, characters)


NUMBERS = st.none() | st.sampled_from([0.0, 1.0, 2.0])
OBJECTIVES = st.builds(Objectives, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 2))
POOLS = st.lists(OBJECTIVES, max_size=8) | st.lists(
    st.builds(some, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 2)), max_size=8
)


def beats(one, other):
    """As `dominates` says it: better in something, worse in nothing, known of both or not known of the other."""
    signs = (1, -1, -1, -1, -1, -1)
    known = [each for each in zip(signs, astuple(one), astuple(other), strict=True) if each[2] is not None]
    if any(mine is None for _, mine, _ in known):
        return False
    gains = [sign * (mine - theirs) for sign, mine, theirs in known]
    return min(gains) >= 0 and max(gains) > 0


@settings(max_examples=200)
@given(POOLS)
def test_nobody_on_the_front_is_dominated_and_everyone_off_it_is(pool):
    found = front(pool)
    assert bool(found) == bool(pool)
    assert len(set(found)) == len(found)
    for number, mine in enumerate(pool):
        if number in found:
            assert not any(beats(other, mine) for other in pool)
            assert mine not in pool[:number]
        else:
            assert any(beats(pool[at], mine) or (pool[at] == mine and at < number) for at in found)
    known = [quality for at in found if (quality := pool[at].quality) is not None]
    assert known == sorted(known, reverse=True)
    assert all(pool[at].quality is None for at in found[len(known) :])


@settings(max_examples=200)
@given(OBJECTIVES, OBJECTIVES, OBJECTIVES)
def test_to_dominate_is_an_order(one, other, third):
    assert one.dominates(other) == beats(one, other)
    assert not one.dominates(one)
    assert not (one.dominates(other) and other.dominates(one))
    if one.dominates(other) and other.dominates(third):
        assert one.dominates(third)


def test_the_front_of_one_that_is_better_one_that_is_cheaper_and_one_that_is_neither():
    pool = [some(0.5, 1.0), some(0.9, 3.0), some(0.4, 1.0), some(0.9, 3.0), some(0.9, 2.9)]
    assert front(pool) == (4, 0)
    assert front([]) == ()


def test_one_that_always_fails_is_no_bargain():
    broken = Objectives(0.0, None, None, None, None, 10)
    assert front([broken, some(0.5)]) == (1,)


def test_a_price_that_is_not_known_is_not_a_low_price():
    assert front([some(0.5, usd=1.0), some(0.6, usd=None)]) == (1, 0)
    assert front([some(0.5, usd=None), some(0.6, usd=1.0)]) == (1,)


def test_noise_of_the_clock_makes_nobody_faster():
    assert front([some(0.5, seconds=1.01), some(0.4, seconds=1.00)]) == (0,)
    assert front([some(0.5, seconds=1.1), some(0.4, seconds=1.0)]) == (0, 1)


def test_a_table_for_people():
    sites = [Site.parse(f"{name}/system") for name in ("write", "plan", "check", "sort")]
    pool = [
        Objectives(0.5, 0.0123, 1640, 2, 3.5, 1200),
        Objectives(0.75, None, 2400.4, 2.5, 123.4, 1000),
        Objectives(0.4, 0.5, 9999, 9, 200, 9999),
        Objectives(None, 0.0002, 10, 1, 0.0123, 1100),
    ]
    assert str(Front.of([(), sites, sites[:1], sites[:2]], pool)) == snapshot("""\
#  changes                                         quality   usd/run   tokens/run   calls/run   seconds/run   characters
1  check/system, plan/system, sort/system, 1 more    0.750*      n/a        2,400         2.5           120        1,000*
0  nothing                                           0.500    0.0123        1,640         2.0           3.5        1,200
3  plan/system, write/system                           n/a    0.0002*          10*        1.0*        0.012*       1,100\
""")
    assert str(Front.of([()], pool[:1])) == snapshot("""\
#  changes  quality   usd/run   tokens/run   calls/run   seconds/run   characters
0  nothing    0.500    0.0123        1,640         2.0           3.5        1,200\
""")
    assert str(Front()) == snapshot("#  changes  quality   usd/run   tokens/run   calls/run   seconds/run   characters")


def test_a_front_knows_the_numbers_and_what_was_changed():
    found = Front.of([(), {Site.parse("b/system"): 1, Site.parse("a/system"): 2}], [some(0.5), some(0.6)])
    assert [(entry.number, [str(site) for site in entry.changed]) for entry in found.entries] == [
        (1, ["a/system", "b/system"])
    ]
    with pytest.raises(ValueError, match="zip"):
        Front.of([()], [])
