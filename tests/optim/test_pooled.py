"""Pareto the optimizer: it draws parents and merges from the pool, and leaves proposing to another."""

from __future__ import annotations

import random

import pytest

from tests.optim.test_pareto import POOL, ROOT, member
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import TGD, Joint, Pareto, PoolOptimizer, Proposals, StepContext
from textgrad_lg.optim.pareto import front


class Noted:
    proposals = 3

    def __init__(self):
        self.asked = []

    async def propose(self, context):
        self.asked.append(context)
        return Proposals(failures=("none",))


async def test_it_proposes_what_its_optimizer_proposes():
    inner = Noted()
    optimizer = Pareto(inner, merges=2)
    context = StepContext({}, Gradients())
    assert (await optimizer.propose(context)).failures == ("none",)
    assert inner.asked == [context]
    assert optimizer.proposals == 5


def test_parents_come_from_the_front_and_by_the_seed_alone():
    optimizer = Pareto()
    drawn = [optimizer.parent(POOL, random.Random(f"0/{step}")) for step in range(50)]
    assert set(drawn) == set(front(POOL))
    assert drawn == [optimizer.parent(POOL, random.Random(f"0/{step}")) for step in range(50)]


def test_merges_are_of_complementary_members_and_never_one_that_the_pool_has():
    (merge,) = Pareto().merges(POOL)
    assert {str(site): text.text for site, text in merge.texts.items()} == {"a/system": "A1", "b/system": "B1"}
    assert merge.parents == (1, 2)
    assert Pareto().merges((*POOL, member("999", (1, 2), a="A1", b="B1"))) == ()
    assert Pareto(merges=0).merges(POOL) == ()
    assert Pareto().merges((ROOT,)) == ()


def test_only_optimizers_with_a_pool_are_asked_for_parents():
    assert isinstance(Pareto(), PoolOptimizer)
    assert not isinstance(TGD(), PoolOptimizer)
    assert not isinstance(Joint(), PoolOptimizer)


def test_bad_options_are_refused_in_words():
    with pytest.raises(ValueError, match="merges is -1; it has to be 0 or more"):
        Pareto(merges=-1)
    with pytest.raises(TypeError, match="Pareto has a pool of its own"):
        Pareto(Pareto())
