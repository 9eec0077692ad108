"""Variances that are split as they should be, and numbers of examples that are enough and not far too many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from textgrad_lg.run.noise import Noise, detectable, needed, pooled


def power(n, gain, changing):
    """The exact power of McNemar's exact test, two-sided at 0.05, where a share `changing` of examples changes."""
    total = 0.0
    for m in range(n + 1):
        # The most changes to the worse with which m changes are significant; -1 where none is few enough.
        worse = int(stats.binom.ppf(0.025, m, 0.5))
        worse -= bool(stats.binom.cdf(worse, m, 0.5) > 0.025)
        better = (changing + gain) / (2 * changing)
        found = stats.binom.sf(m - worse - 1, m, better) + stats.binom.cdf(worse, m, better) if worse >= 0 else 0.0
        total += float(stats.binom.pmf(m, n, changing) * found)
    return total


@pytest.mark.parametrize("gain", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("within", [0.0, 0.05, 0.2])
def test_so_many_examples_show_the_gain_about_as_often_as_promised(gain, within):
    n = needed(gain, within)
    changing = min(1.0, gain + 2 * within)
    # The test that is really made is the exact one, which is a little less powerful than the formula's.
    assert 0.7 < power(n, gain, changing) < 0.87
    assert power(max(1, n // 2), gain, changing) < 0.6


def test_known_numbers():
    # Connor's formula by hand: (1.95996 * sqrt(0.2) + 0.84162 * sqrt(0.2 - 0.04))^2 / 0.04 = 36.8
    assert needed(0.2, 0.0) == 37
    assert needed(0.2, 0.05) == math.ceil((1.95996 * math.sqrt(0.3) + 0.84162 * math.sqrt(0.3 - 0.04)) ** 2 / 0.04)
    # Six changes of one sign are the fewest that the exact test calls significant.
    assert needed(1.0, 0.0) == 6


@given(st.floats(0.01, 1.0), st.floats(0.0, 0.25), st.floats(0.0, 0.25))
def test_more_noise_and_smaller_gains_take_more(gain, one, other):
    low, high = sorted([one, other])
    assert needed(gain, low) <= needed(gain, high)
    assert needed(gain, low) <= needed(gain / 2, low)


@hypothesis_settings(max_examples=25)
@given(st.integers(1, 400), st.floats(0.0, 0.25))
def test_what_is_detectable_is_what_that_many_are_needed_for(n, within):
    gain = detectable(n, within)
    if gain is None:
        assert needed(1.0, within) > n
    else:
        assert needed(gain, within) <= n
        assert gain == 0.01 or needed(gain - 0.01, within) > n


@pytest.mark.parametrize("gain", [0.0, -0.1, 1.1])
def test_a_gain_that_is_none(gain):
    with pytest.raises(ValueError, match="gain is"):
        needed(gain, 0.0)


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=6))
def test_groups_of_one_size_have_the_mean_of_their_variances(groups):
    assert pooled(groups) == pytest.approx(float(np.mean([np.var(group, ddof=1) for group in groups])), abs=1e-12)


def test_what_was_not_measured_is_none():
    assert pooled([]) is None
    assert pooled([[1.0], [None, 0.5], []]) is None
    assert pooled([[1.0, None, 0.0], [1.0]]) == 0.5
    assert Noise(1, 1, None, None, 0).graph is None


def test_the_graph_adds_what_the_evaluator_does_not():
    assert Noise(3, 3, 0.3, 0.1, 0).graph == pytest.approx(0.2)
    assert Noise(3, 3, 0.1, 0.3, 0).graph == 0.0
    assert Noise(3, 3, 0.3, None, 0).graph == 0.3


def test_a_world_with_known_variances_is_split_into_them():
    rng = np.random.default_rng(0)
    examples, runs, judgings, graph, evaluator = 4000, 3, 3, 0.04, 0.01
    own = rng.normal(0, 0.3, examples)
    outputs = own[:, None] + rng.normal(0, math.sqrt(graph), (examples, runs))
    scores = outputs + rng.normal(0, math.sqrt(evaluator), (examples, runs))
    judged = outputs[:, :1] + rng.normal(0, math.sqrt(evaluator), (examples, judgings))
    noise = Noise(runs, judgings, pooled(scores.tolist()), pooled(judged.tolist()), 0)
    assert noise.evaluator == pytest.approx(evaluator, rel=0.1)
    assert noise.graph == pytest.approx(graph, rel=0.1)
