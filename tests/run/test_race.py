"""Race: a candidate that is given up early is one that could not have won, whatever the examples left would have brought."""

from __future__ import annotations

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from textgrad_lg.example import Example
from textgrad_lg.run import race
from textgrad_lg.run.gate import minibatch_gate, validation_gate

VALIDATION = partial(validation_gate, alpha=0.05, seed=0)
PASS_FAIL = st.sampled_from([0.0, 1.0])
GRADED = st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])


def example(at: int) -> Example:
    return Example(id=f"e{at}", inputs={}, reference_outputs=None)


def raced(gate, before, after, examples, chunk):
    """The verdict of a race over known scores, and how many examples it took."""
    seen, rest = {}, race.order(examples, before)
    while rest:
        now, rest = rest[:chunk], rest[chunk:]
        seen |= {one.id: after[one.id] for one in now}
        verdict = race.lost(gate, before, seen, rest)
        if verdict is not None:
            return verdict, len(seen)
    return gate(before, seen), len(seen)


def scores(values):
    return {f"e{at}": value for at, value in enumerate(values)}


@settings(deadline=None)
@given(
    pairs=st.one_of(
        st.lists(st.tuples(PASS_FAIL, PASS_FAIL), min_size=1, max_size=30),
        # Up to 13 graded changes, for which the test's p-value is exact.
        st.lists(st.tuples(st.one_of(st.none(), GRADED), st.one_of(st.none(), GRADED)), min_size=1, max_size=8),
    ),
    chunk=st.integers(1, 9),
)
def test_a_race_ends_as_the_whole_set_would(pairs, chunk):
    before, after = scores([old for old, _ in pairs]), scores([new for _, new in pairs])
    examples = [example(at) for at in range(len(pairs))]
    for gate in (minibatch_gate, VALIDATION):
        verdict, _ = raced(gate, before, after, examples, chunk)
        assert verdict.accepted == gate(before, after).accepted


def test_a_candidate_that_wins_nothing_is_given_up_early_and_says_so():
    examples = [example(at) for at in range(30)]
    before = scores([0.0] * 10 + [1.0] * 20)
    verdict, taken = raced(VALIDATION, before, before, examples, 5)
    # Of the ten that could be won, six of the first ten are lost: the other four are fewer than the five it takes.
    assert taken == 10
    assert not verdict.accepted
    assert verdict.n == 10
    assert verdict.p_value is None
    assert "not run on the other 20, which could not have changed that" in verdict.reason


def test_what_can_be_won_most_comes_first_and_equals_keep_their_order():
    before = {"e0": 1.0, "e1": None, "e2": 0.0, "e3": 0.5, "e4": 0.0}
    assert [one.id for one in race.order([example(at) for at in range(5)], before)] == ["e2", "e4", "e3", "e0", "e1"]


def test_scores_beyond_the_range_of_0_to_1_are_all_run():
    examples = [example(at) for at in range(4)]
    for odd in (3.0, -1.0):
        before = scores([odd, 0.0, 0.0, 0.0])
        assert race.lost(minibatch_gate, before, {"e0": odd, "e1": 0.0}, examples[2:]) is None


def test_without_a_score_nothing_is_given_up():
    examples = [example(at) for at in range(3)]
    before = scores([None, None, None])
    assert race.lost(minibatch_gate, before, {"e0": None}, examples[1:]) is None
