"""Demos: which demonstrations are drawn."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.optim import Demos, StepContext
from textgrad_lg.optim.demos import draw
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.site import Site

SITE = Site(("classify",), "system")
TEMPLATE = Template("Classify.")
GRADIENTS = (Gradient("v1", "Wrong label.", "s1", "t1", score=0.0, site=SITE),)


def demo(human: str, output: str) -> Demo:
    return Demo((("human", human),), output)


POOL = tuple(demo(f"{label} {at}", label) for at in range(6) for label in ("positive", "positive too", "negative")[::2])


async def propose(pool=POOL, *, template=TEMPLATE, sizes=(2, 4), seed=0, step=1):
    context = StepContext({SITE: template}, Gradients(GRADIENTS), demos={SITE: pool}, seed=seed, step=step)
    return await Demos(sizes).propose(SITE, template, GRADIENTS, context)


async def test_one_update_a_size_with_every_label_as_often():
    updates = await propose()

    assert [len(update.new.demos) for update in updates] == [2, 4]
    assert [Counter(d.output for d in update.new.demos) for update in updates] == [
        {"positive": 1, "negative": 1},
        {"positive": 2, "negative": 2},
    ]
    assert {update.new.text for update in updates} == {"Classify."}
    assert [(update.why, update.proposer, update.gradients) for update in updates] == snapshot(
        [
            (
                "2 demonstrations from passing examples, with 2 distinct outputs.",
                "demos",
                ("9b8bb4ff6965",),
            ),
            (
                "4 demonstrations from passing examples, with 2 distinct outputs.",
                "demos",
                ("9b8bb4ff6965",),
            ),
        ]
    )


async def test_the_same_seed_and_step_draw_the_same_and_others_draw_others():
    assert await propose() == await propose()
    draws = {(await propose(seed=seed, step=step))[1].new.demos for seed in (0, 1) for step in (1, 2, 3)}
    assert len(draws) > 3


async def test_demonstrations_that_are_there_are_replaced():
    [update] = await propose(template=Template("Classify.", (), (demo("old", "old"),)), sizes=(2,))
    assert "old" not in {d.output for d in update.new.demos}


async def test_a_draw_that_is_there_already_is_not_proposed():
    [update] = await propose(sizes=(2,))
    assert await propose(template=update.new, sizes=(2,)) == ()


async def test_a_small_pool_gives_one_set_and_an_empty_one_none():
    [update] = await propose((demo("a", "x"), demo("a", "x")))
    assert update.new.demos == (demo("a", "x"),)
    assert await propose(()) == ()
    assert await propose(sizes=(0, -1)) == ()


async def test_a_parameter_without_demonstrations_gets_none():
    context = StepContext({SITE: TEMPLATE}, Gradients(GRADIENTS))
    assert await Demos().propose(SITE, TEMPLATE, GRADIENTS, context) == ()


def test_the_better_demonstration_is_drawn_more_often():
    pool = tuple(demo(str(at), "x") for at in range(8))
    first = Counter(pool.index(draw(pool, random.Random(seed))[0]) for seed in range(400))
    assert first[0] > first[3] > 0
    assert first[0] > 400 / 8


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc"))), st.integers())
def test_a_draw_is_an_even_permutation(items, seed):
    pool = tuple(demo(str(at), label) for at, label in items)
    drawn = draw(pool, random.Random(seed))

    assert sorted(drawn, key=str) == sorted(set(pool), key=str)
    available = Counter(d.output for d in drawn)
    for size in range(len(drawn) + 1):
        counts = Counter(d.output for d in drawn[:size])
        for label in available:
            for other in available:
                if counts[label] < available[label]:  # one that is not used up is at most one turn behind
                    assert counts[other] <= counts[label] + 1


@given(st.integers(1, 12), st.integers(), st.integers(1, 50))
def test_never_more_than_asked_for(size, seed, step):
    for update in asyncio.run(propose(sizes=(size,), seed=seed, step=step)):
        assert len(update.new.demos) == min(size, len(POOL))
