"""The arithmetic of the sequential tests that were measured: the same verdicts as the gate's, fewer examples, no more errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import sequential
from benchmarks.sequential import ALPHA, E_VALUE, LOOKS, P_VALUE, RUNS, SIZE, WORLDS, decide, one, whole
from textgrad_lg.run.gate import validation_gate

LAST = [lambda won, lost: P_VALUE[won, lost] <= 0.0] * (len(LOOKS) - 1) + [
    lambda won, lost: P_VALUE[won, lost] <= ALPHA
]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(sequential, "DRAWS", 300)


@pytest.mark.parametrize("name", WORLDS)
def test_the_curtailed_test_takes_what_the_gate_takes(name):
    before, after = WORLDS[name](*np.random.default_rng(1).random((2, 40, SIZE)))
    taken, run = decide(before, after, LAST)
    for at, verdict in enumerate(taken):
        named = [{f"e{place}": float(value) for place, value in enumerate(side[at])} for side in (before, after)]
        assert validation_gate(*named, alpha=ALPHA, seed=0).accepted == verdict
    assert set(run) <= set(LOOKS)
    assert all(run[taken] == SIZE)


def test_a_bet_on_a_fair_coin_wins_nothing_on_average():
    # An e-value: its mean over all outcomes of a fair coin is 1.
    flips = 12
    chances = [math.comb(flips, won) / 2**flips for won in range(flips + 1)]
    values = [E_VALUE[won, flips - won] for won in range(flips + 1)]
    assert np.dot(chances, values) == pytest.approx(1.0)


def test_what_the_table_of_one_candidate_says():
    nothing, much = (one(WORLDS[name]) for name in ("each reply right by chance, 0.6 with and without", "wins 20 %"))
    assert all(taken < 0.09 for taken, _ in nothing.values())
    assert all(taken > 0.9 for taken, _ in much.values())
    assert nothing["e-value"][1] < nothing["O'Brien-Fleming"][1] < SIZE


def test_the_test_set_makes_up_for_many_candidates():
    chance, helps = RUNS["none helps, 0.6 by chance"]
    useless, claimed, _ = whole(chance, SIZE, ALPHA, helps=helps)
    assert useless > 0.08
    assert claimed < 0.03
    chance, helps = RUNS["one wins 20 %, breaks none"]
    assert whole(chance, SIZE, ALPHA, helps=helps)[2] > 0.95 > whole(chance, 30, ALPHA / 8, helps=helps)[2]
