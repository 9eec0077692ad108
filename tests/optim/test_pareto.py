"""Pareto: the front, the draw of parents, and merges, as pure functions of the pool."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgrad_lg.optim.pareto import (
    Member,
    ancestors,
    best,
    common_ancestor,
    complements,
    dominates,
    front,
    merge,
    parent,
)
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site

A, B, C = (Site((name,), "system") for name in "abc")


def member(scores: str, parents: tuple[int, ...] = (), **texts: str) -> Member:
    """A member with one score from 0 to 9 an example, "-" where it was not judged; texts by the letter of the Site."""
    sites = {"a": A, "b": B, "c": C}
    found = {f"e{at}": int(score) / 9 for at, score in enumerate(scores) if score != "-"}
    return Member({sites[name]: Template(text) for name, text in texts.items()}, found, parents)


ROOT = member("000")
POOL = (ROOT, member("900", (0,), a="A1"), member("099", (0,), b="B1"), member("500", (1,), a="A2"))


def test_the_best_on_each_example_ties_included():
    assert best(POOL) == {"e0": (1,), "e1": (2,), "e2": (2,)}
    assert best([member("5-"), member("55"), member("--")]) == {"e0": (0, 1), "e1": (1,)}
    assert best([]) == {}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("55", "55", False),
        ("56", "55", True),
        ("65", "56", False),
        ("56", "5-", False),  # where both were judged they are equal
        ("66", "5-", True),
        ("9-", "55", False),  # nothing is known of the second example
    ],
)
def test_dominates(one, other, expected):
    assert dominates(member(one), member(other)) is expected


def test_the_front_and_on_how_much_each_is_best():
    assert front(POOL) == {1: 1, 2: 2}
    assert front([member("55"), member("55")]) == {0: 2, 1: 2}
    assert front([member("50"), member("59")]) == {1: 2}  # best on an example, and dominated all the same
    assert front([member("--")]) == {}


def test_parents_are_drawn_in_proportion_and_by_the_seed():
    draws = Counter(parent(POOL, random.Random(seed)) for seed in range(1_500))
    assert draws.keys() == {1, 2}
    assert draws[2] / 1_500 == pytest.approx(2 / 3, abs=0.04)
    assert parent(POOL, random.Random(7)) == parent(POOL, random.Random(7))


def test_a_pool_without_scores_has_no_parent():
    with pytest.raises(ValueError, match="run the graph as it is first"):
        parent([member("--")], random.Random(1))


def test_ancestors():
    pool = (*POOL, member("999", (2, 3)))
    assert ancestors(pool, 4) == {0, 1, 2, 3, 4}
    assert common_ancestor(pool, 2, 3) == 0
    assert common_ancestor(pool, 3, 2) == 0
    assert common_ancestor(pool, 1, 3) is None  # one comes from the other
    assert common_ancestor(pool, 1, 1) is None
    assert common_ancestor([member("1"), member("2")], 0, 1) is None


def test_a_merge_takes_of_each_parameter_what_was_changed():
    found = merge(POOL, 2, 1)
    assert found is not None
    assert found.texts == {A: Template("A1"), B: Template("B1")}
    assert (found.parents, found.ancestor, dict(found.taken)) == ((1, 2), 0, {A: 1, B: 2})


def test_where_both_changed_a_text_the_better_one_gives_it_and_among_equals_the_earlier():
    for scores, text in (("95", "two"), ("41", "one"), ("33", "one")):
        pool = (
            member("00", c="C0"),
            member("33", (0,), a="one", b="B1", c="C0"),
            member(scores, (0,), a="two", c="C2"),
        )
        found = merge(pool, 1, 2)
        assert found is not None
        assert found.texts == {A: Template(text), B: Template("B1"), C: Template("C2")}


def test_a_text_that_was_put_back_is_the_graphs_own():
    pool = (member("00", a="A0"), member("11", (0,)), member("11", (0,), a="A0", b="B1"))
    found = merge(pool, 1, 2)
    assert found is not None
    assert found.texts == {B: Template("B1")}


@pytest.mark.parametrize(
    "pool",
    [
        (member("9"), member("5", (0,), a="A"), member("5", (0,), b="B")),  # the ancestor is better
        (member("0"), member("5", (0,), a="A"), member("5", (0,), a="A")),  # the same
        (member("0"), member("5", (0,), a="A"), member("9", (0,), a="B")),  # one would give all
        (member("0"), member("5", (0,), a="A"), member("5", (0,), b="B"), member("7", (1, 2), a="A", b="B")),  # known
        (member("0"), member("5", (0,), a="A"), member("5", (1,), a="A", b="B")),  # a descendant
        (member("0"), member("5", a="A"), member("5", b="B")),  # strangers
    ],
)
def test_what_is_not_worth_merging(pool):
    assert merge(pool, 1, 2) is None
    assert merge(pool, 2, 1) is None


def test_complements_are_those_that_are_each_better_somewhere():
    assert complements(POOL) == ((1, 2),)
    pool = (
        member("0000"),
        member("9000", (0,), a="A"),
        member("0990", (0,), b="B"),
        member("0009", (0,), c="C"),
    )
    assert complements(pool) == ((1, 2), (2, 3), (1, 3))  # three examples to be won, three, two
    assert complements((member("00"), member("09", (0,), a="A"), member("09", (0,), b="B"))) == ()


def test_a_member_that_was_never_judged():
    assert member("--").mean == -math.inf
    assert member("09").mean == 0.5


@st.composite
def pools(draw):
    """Pools whose members descend from earlier ones by an edit of one text."""
    examples = draw(st.integers(1, 4))
    row = st.text("0123456789-", min_size=examples, max_size=examples)
    pool = [member(draw(row))]
    for at in range(1, draw(st.integers(1, 7))):
        origin = draw(st.integers(0, at - 1))
        site = draw(st.sampled_from([A, B, C]))
        scores = member(draw(row)).scores
        pool.append(Member({**pool[origin].texts, site: Template(f"text {at}")}, scores, (origin,)))
    return tuple(pool)


@given(pools())
def test_nothing_outside_dominates_the_front_and_all_else_is_dominated_or_never_best(pool):
    found = front(pool)
    winners = {at for top in best(pool).values() for at in top}
    for at, one in enumerate(pool):
        beaten = any(dominates(other, one) for other in pool)
        assert (at in found) == (at in winners and not beaten)
    assert (not found) == (not winners)
    assert all(wins == sum(at in top for top in best(pool).values()) for at, wins in found.items())


@given(pools(), st.integers())
def test_a_drawn_parent_is_on_the_front(pool, seed):
    if front(pool):
        assert parent(pool, random.Random(seed)) in front(pool)


@given(pools(), st.data())
def test_a_merge_is_new_symmetric_and_made_of_its_parents(pool, data):
    one, other = (data.draw(st.integers(0, len(pool) - 1)) for _ in range(2))
    found = merge(pool, one, other)
    assert found == merge(pool, other, one)
    if found is None:
        return
    assert all(member.texts != found.texts for member in pool)
    assert set(found.taken.values()) == {one, other} == set(found.parents)
    root = pool[found.ancestor].texts
    for site in (A, B, C):
        texts = [pool[at].texts.get(site) for at in found.parents]
        assert found.texts.get(site) in texts
        if site in found.taken:
            assert found.texts.get(site) == pool[found.taken[site]].texts.get(site) != root.get(site)
        else:
            assert texts[0] == texts[1]
    assert found.ancestor in ancestors(pool, one) & ancestors(pool, other)
    assert pool[found.ancestor].mean <= min(pool[one].mean, pool[other].mean)


@given(pools())
def test_complements_are_pairs_of_the_front_that_merge(pool):
    for one, other in complements(pool):
        assert one < other
        assert {one, other} <= front(pool).keys()
        assert merge(pool, one, other) is not None
