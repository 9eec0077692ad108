"""The gain on validation beside the gain on test, in numbers and in words."""

from __future__ import annotations

import random

import pytest
from inline_snapshot import snapshot

from textgrad_lg.run.shrinkage import Shrinkage, shrinkage
from textgrad_lg.run.stats import compare


def of(won, lost, size):
    """A comparison in which so many of the examples were won and so many lost."""
    before = [0.0] * won + [1.0] * lost + [1.0] * (size - won - lost)
    after = [1.0] * won + [0.0] * lost + [1.0] * (size - won - lost)
    return compare(
        {f"e{at}": score for at, score in enumerate(before)},
        dict(zip(map("e{}".format, range(size)), after, strict=True)),
    )


def test_a_gain_that_is_there_has_not_shrunk():
    found = shrinkage(of(12, 0, 30), of(13, 1, 30))
    assert not found.large
    assert str(found) == snapshot("gain on validation +0.40, on test +0.40")


def test_a_gain_that_was_luck_is_said_in_words():
    found = shrinkage(of(14, 0, 30), of(3, 2, 30))
    assert found.large
    assert found.lost == pytest.approx(13 / 30)
    assert str(found) == snapshot(
        "gain on validation +0.47, on test +0.03: it shrank by 0.43, more than chance explains (p = 0.0006). The edit was chosen for its gain on validation, and a part of that was luck (the winner's curse); believe the gain on test"
    )


def test_a_gain_of_which_little_is_left_may_be_chance_where_examples_are_few():
    found = shrinkage(of(5, 0, 8), of(2, 0, 8))
    assert found.p_value > 0.05
    assert str(found) == snapshot(
        "gain on validation +0.62, on test +0.25: it shrank by 0.38, which may be chance (p = 0.16). The edit was chosen for its gain on validation, and a part of that may have been luck (the winner's curse); believe the gain on test"
    )


def test_a_gain_that_is_larger_on_test_is_no_curse():
    found = shrinkage(of(5, 0, 20), of(12, 0, 20))
    assert found.lost < 0
    assert not found.large


def test_where_a_side_is_not_known_nothing_is_said():
    known, none = of(5, 0, 10), compare({"a": None}, {"a": None})
    assert shrinkage(None, known) is None
    assert shrinkage(known, None) is None
    assert shrinkage(known, none) is None
    assert shrinkage(none, known) is None


def test_equal_gains_of_all_examples_are_no_evidence():
    assert shrinkage(of(4, 0, 4), of(6, 0, 6)) == Shrinkage(1.0, 1.0, 1.0)


def test_without_selection_the_p_value_is_small_as_seldom_as_it_says():
    draw = random.Random(5)
    hits = 0
    for _ in range(30):
        one, other = (of(draw.randint(0, 6), draw.randint(0, 2), 20) for _ in range(2))
        hits += shrinkage(one, other).p_value <= 0.05
    assert hits <= 4


def test_the_same_seed_gives_the_same():
    one, other = of(14, 1, 40), of(6, 2, 40)
    assert shrinkage(one, other, seed=3) == shrinkage(one, other, seed=3)
