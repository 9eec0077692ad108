"""The statistics of a comparison: right answers, honest edges, and the rates that they promise."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from scipy import stats

from textgrad_lg.example import Example
from textgrad_lg.run.stats import Comparison, _bootstrap, _sign_flip, compare, tags_of


def named(scores):
    return {f"e{at}": score for at, score in enumerate(scores)}


def of(before, after, **options):
    return compare(named(before), named(after), **options)


def flips(differences):
    """All sums under all flips of signs: the test by its definition."""
    observed = math.fsum(differences)
    sums = [
        math.fsum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    greater = sum(value >= observed - 1e-9 for value in sums) / len(sums)
    less = sum(value <= observed + 1e-9 for value in sums) / len(sums)
    return min(1.0, 2 * min(greater, less)), greater


def test_means_are_paired_by_id():
    found = compare({"a": 0.0, "b": 1.0, "c": 0.5}, {"c": 1.0, "b": 1.0, "a": 0.25})
    assert (found.before, found.after, found.difference) == (0.5, 0.75, 0.25)
    assert found.per_example == (("a", 0.0, 0.25), ("b", 1.0, 1.0), ("c", 0.5, 1.0))
    assert (found.n, found.missing) == (3, 0)


def test_what_was_not_judged_both_times_is_left_out_and_counted():
    before = {"a": 0.0, "b": None, "c": 1.0, "only before": 1.0, "nan": math.nan, "both": None}
    after = {"a": 1.0, "b": 1.0, "c": None, "only after": 1.0, "nan": 1.0, "both": None}
    found = compare(before, after)
    assert (found.n, found.missing) == (1, 6)
    assert found.per_example == (("a", 0.0, 1.0),)


@pytest.mark.parametrize("scores", [{}, {"a": None}])
def test_of_nothing_nothing_is_said(scores):
    assert compare(scores, scores) == Comparison(None, None, None, None, None, None, None, 0, len(scores), ())
    assert "n/a" in str(compare(scores, scores))


def test_in_words():
    assert str(of([0, 0, 1, 0, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0])) == snapshot(
        "0.25 -> 0.75, difference +0.50, 95 % interval [-0.01, +0.81], p = 0.12, n = 8"
    )
    assert str(of([0.5, 0.1], [0.7, None])) == snapshot("0.50 -> 0.70, p = 1, n = 1, 1 not judged")


@pytest.mark.parametrize(
    "differences",
    [
        [1.0],
        [-1.0],
        [1.0, 1.0, 1.0, -1.0, 0.0, 0.0],
        [0.25] * 5,
        [0.5, -0.25, 0.75, 0.1, 0.0],
        [0.1, 0.2, -0.3, 0.4, 0.5, 0.6, -0.7, 0.8],
        [-0.1, -0.2, -0.3],
        [0.4],
        [0.3, 0.1 + 0.2, 0.3],  # sizes that differ by rounding alone
    ],
)
def test_the_p_values_of_few_examples_are_those_of_all_flips(differences):
    found = of([0.0] * len(differences), differences)
    assert (found.p_value, found.p_better) == pytest.approx(flips(differences))


def test_pass_or_fail_is_mcnemars_exact_test_at_any_size():
    before = [0] * 30 + [1] * 10 + [1] * 60
    after = [1] * 30 + [0] * 10 + [1] * 60
    found = of(before, after)
    assert found.p_value == pytest.approx(stats.binomtest(30, 40).pvalue)
    assert found.p_better == pytest.approx(stats.binomtest(30, 40, alternative="greater").pvalue)


def test_a_p_value_is_never_0():
    rng = np.random.default_rng(0)
    graded = of(rng.random(60) / 10, 0.5 + rng.random(60) / 10)
    assert graded.p_better == pytest.approx(1 / 10_000)
    assert graded.p_value == pytest.approx(2 / 10_000)
    certain = of([0] * 3000, [1] * 3000)
    assert certain.p_value is not None
    assert 0 < certain.p_value < 1e-300


def test_no_change_is_no_evidence_and_has_no_warning():
    for scores in ([0.0] * 4, [0.5] * 4, [0.5]):
        found = of(scores, scores)
        assert (found.difference, found.p_value, found.p_better) == (0.0, 1.0, 1.0)


def test_intervals_at_the_edges():
    same = of([0.1, 0.2, 0.3], [0.2, 0.3, 0.4])
    assert (same.low, same.high) == (pytest.approx(0.1), pytest.approx(0.1))
    one = of([0.1], [0.2])
    assert (one.low, one.high) == (None, None)
    # For pass or fail, four examples that did not change prove little, and the interval says so.
    unchanged = of([0, 1, 1, 0], [0, 1, 1, 0])
    assert unchanged.low is not None
    assert unchanged.high is not None
    assert unchanged.low < -0.3
    assert unchanged.high > 0.3
    all_gained = of([0] * 5, [1] * 5)
    assert all_gained.high == 1.0


def test_the_interval_of_pass_or_fail_is_that_of_the_paper():
    # Bonett and Price (2012), by hand: n = 20, 9 up, 2 down.
    found = of([0] * 9 + [1] * 2 + [1] * 9, [1] * 9 + [0] * 2 + [1] * 9)
    up, down = 10 / 22, 3 / 22
    half = 1.959964 * math.sqrt((up + down - (up - down) ** 2) / 22)
    assert (found.low, found.high) == (pytest.approx(up - down - half), pytest.approx(up - down + half))


def test_the_interval_of_graded_scores_is_the_bca_bootstrap():
    rng = np.random.default_rng(3)
    before, after = rng.random(25), rng.random(25) ** 0.5
    found = of(before, after, seed=7)
    want = stats.bootstrap((after - before,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(7))
    assert found.low == pytest.approx(want.confidence_interval.low)
    assert found.high == pytest.approx(want.confidence_interval.high)
    assert of(before, after, seed=7) == found
    assert of(before, after, seed=8).low != found.low


SCORES = st.one_of(st.none(), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.floats(-1e6, 1e6))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SCORES, SCORES), max_size=20))
def test_always_ordered_finite_and_mirrored(pairs):
    before, after = named([old for old, _ in pairs]), named([new for _, new in pairs])
    there, back = compare(before, after), compare(after, before)
    assert there.n + there.missing == len(pairs)
    if there.n:
        assert there.difference is not None
        assert back.difference == pytest.approx(-there.difference)
        for p in (there.p_value, there.p_better):
            assert p is not None
            assert 0 < p <= 1
    if there.low is not None and there.high is not None and there.difference is not None:
        slack = 1e-9 * max(1.0, abs(there.difference))
        assert there.low - slack <= there.difference <= there.high + slack


# What the numbers promise, checked by counting. Seeded: the same counts each time.


def test_without_an_effect_p_is_small_as_often_as_it_says():
    rng = np.random.default_rng(11)
    runs = 500
    graded = passed = 0
    for _ in range(runs):
        graded += _sign_flip(list(rng.beta(2, 2, 9) - rng.beta(2, 2, 9)), "greater", 0) <= 0.05
        n = 40
        passed += _sign_flip(list(1.0 * (rng.random(n) < 0.5) - (rng.random(n) < 0.5)), "greater", 0) <= 0.05
    # Never more than 5 %, and graded scores come near it. Pass or fail has gaps between its p-values.
    limit = stats.binom.ppf(0.999, runs, 0.05)
    assert stats.binom.ppf(0.001, runs, 0.05) <= graded <= limit
    assert 0 < passed <= limit


def test_drawn_flips_come_to_what_all_flips_would():
    differences = [float(value) for value in np.random.default_rng(5).normal(0.1, 0.4, 18)]
    observed = sum(differences)
    signs = np.array(list(itertools.product((1, -1), repeat=18)), dtype=np.int8)
    exact = np.mean(signs @ np.array(differences) >= observed - 1e-9)
    assert 0.05 < exact < 0.5
    assert _sign_flip(differences, "greater", 0) == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 9999))


def test_with_an_effect_p_is_small_often():
    rng = np.random.default_rng(12)
    runs = [list(1.0 * (rng.random(60) < 0.85) - (rng.random(60) < 0.55)) for _ in range(100)]
    assert sum(_sign_flip(differences, "greater", 0) <= 0.05 for differences in runs) > 80


@pytest.mark.parametrize(
    ("n", "worst", "mean"), [(5, 0.91, 0.96), (10, 0.89, 0.96), (20, 0.91, 0.955), (50, 0.93, 0.95)]
)
def test_the_interval_of_pass_or_fail_covers_the_truth(n, worst, mean):
    """Exactly, by adding up the probability of every outcome whose interval holds the truth."""
    cells = [(up, down) for up in range(n + 1) for down in range(n + 1 - up)]
    intervals = [of([0] * up + [1] * (n - up), [1] * up + [0] * down + [1] * (n - up - down)) for up, down in cells]
    ends = np.array([(found.low, found.high) for found in intervals])
    counts = np.array([(up, down, n - up - down) for up, down in cells])
    covered = []
    for up, down in itertools.product(np.arange(0, 1.01, 0.1), repeat=2):
        if up + down <= 1:
            chance = stats.multinomial.pmf(counts, n, [up, down, max(0.0, 1 - up - down)])
            holds = (ends[:, 0] <= up - down + 1e-9) & (up - down - 1e-9 <= ends[:, 1])
            covered.append(np.sum(chance * holds))
    assert min(covered) >= worst
    assert mean <= np.mean(covered) <= 0.99


def test_the_interval_of_graded_scores_covers_the_truth():
    rng = np.random.default_rng(13)
    runs, truth = 500, 4 / 6 - 3 / 6
    covered = 0
    for seed in range(runs):
        low, high = _bootstrap(list(rng.beta(4, 2, 50) - rng.beta(3, 3, 50)), seed)
        assert low is not None
        assert high is not None
        covered += low <= truth <= high
    # What 500 draws give at 95 %, and at the 94 % that a bootstrap of 50 examples really has.
    assert stats.binom.ppf(0.001, runs, 0.94) <= covered <= stats.binom.ppf(0.999, runs, 0.95)


# By tag, and by example


def test_what_is_a_tag():
    def metadata(**given):
        return Example("e", 1, None, given)

    cases = [
        {"tags": ["a", "b"]},
        {"tag": "a"},
        {"tag": 3, "tags": ["a", 3, "a"]},
        {"tags": "a"},
        {},
        {"tags": [None, {}, ""]},
    ]
    assert [tags_of([metadata(**case)]).get("e") for case in cases] == [
        ("a", "b"),
        ("a",),
        ("3", "a"),
        ("a",),
        None,
        None,
    ]


def test_the_effect_by_tag_is_that_of_its_examples():
    before, after = named([0.0] * 8 + [1.0] * 4), named([1.0] * 8 + [0.0] + [1.0] * 3)
    tags = {f"e{at}": ("refund", "all") if at < 8 else ("all",) for at in range(12)} | {
        "e11": ("all", "rare"),
        "gone": ("x",),
    }
    found = compare(before, after, tags=tags)
    assert [(effect.tag, effect.n) for effect in found.by_tag] == [("all", 12), ("rare", 1), ("refund", 8)]
    every, rare, refund = found.by_tag
    assert (every.before, every.after, every.difference) == (found.before, found.after, found.difference)
    assert (every.low, every.high) == (found.low, found.high)
    assert (refund.before, refund.after) == (0.0, 1.0)
    # Three tags were looked at, so each p-value counts for less than alone: by 1 + 1/2 + 1/3 more.
    assert refund.p_value == pytest.approx(2 / 2**8 * 3 * (1 + 1 / 2 + 1 / 3))
    assert rare.p_value == 1.0
    assert str(refund) == snapshot("refund: 0.00 -> 1.00, [+0.43, +1.00], p = 0.043, n = 8")


def test_tags_change_nothing_else_and_none_are_none():
    before, after = named([0.0, 0.5, 1.0]), named([0.5, 0.5, 0.7])
    tagged = compare(before, after, tags={"e0": ("a",), "e1": ("a",)})
    assert replace(tagged, by_tag=()) == compare(before, after)
    assert compare(before, after).by_tag == ()
    (one,) = tagged.by_tag
    assert (one.n, one.low is None) == (2, False)
    (alone,) = compare(before, after, tags={"e0": ("a",)}).by_tag
    assert str(alone) == snapshot("a: 0.00 -> 0.50, p = 1, n = 1")


def test_many_tags_of_no_effect_seldom_name_one():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(40):
        before, after = (named(rng.integers(0, 2, 60).astype(float)) for _ in range(2))
        tags = {f"e{at}": (f"t{at % 10}",) for at in range(60)}
        hits += any(effect.p_value <= 0.05 for effect in compare(before, after, tags=tags).by_tag)
    assert hits <= 4


def test_the_table_has_a_line_for_each_example_and_what_was_lost_first():
    assert compare(
        {"a": 0.0, "longer name": 1.0, "c": 0.5}, {"a": 1.0, "longer name": 0.5, "c": 0.5}
    ).table() == snapshot("""\
example      before  after  change
longer name    1.00   0.50   -0.50
c              0.50   0.50   +0.00
a              0.00   1.00   +1.00\
""")
