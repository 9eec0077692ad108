"""Sources: nobody's traces make up more than a share of the feedback; and provenance: whose they were."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.optim import TGD, Insert, Joint, Proposals, StepContext
from textgrad_lg.optim.provenance import traced
from textgrad_lg.optim.sources import SHARE, capped
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site
from textgrad_lg.testing.models import ScriptedChatModel
from textgrad_lg.update import Update

PLAN, WRITE = Site.parse("plan/system"), Site.parse("write/system")


def gradient(trace: str, text: str = "Be brief.", *, site: Site | None = PLAN, score: float | None = 0.0) -> Gradient:
    return Gradient(f"v {text}", text, "s1", trace, score=score, site=site)


def count(gradients: Gradients, sources=None, site: Site | None = PLAN) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in gradients:
        if one.site == site:
            source = (sources or {}).get(one.trace, one.trace)
            found[source] = found.get(source, 0) + 1
    return found


def test_a_source_that_fails_most_often_gets_no_more_than_its_share():
    loud = [gradient(f"m{at}", f"Say {at}.") for at in range(9)]
    rest = [gradient(name, f"Not {name}.") for name in "abcdef"]
    sources = {one.trace: "mallory" for one in loud}
    kept = capped(Gradients((*loud, *rest)), sources)
    assert count(kept, sources) == {"mallory": 3, **dict.fromkeys("abcdef", 1)}
    # Without a key from the caller, each trace is a source of its own.
    assert len(capped(Gradients((*loud, *rest)), {})) == 15


def test_too_few_sources_for_the_share_are_told_alike_and_a_single_one_whole():
    two = Gradients((*(gradient("a", f"Say {at}.") for at in range(5)), gradient("b", "No.")))
    assert count(capped(two, {})) == {"a": 1, "b": 1}
    one = Gradients(tuple(gradient("a", f"Say {at}.") for at in range(5)))
    assert capped(one, {}) is one


def test_of_a_source_different_traces_come_first_then_the_worst_scores():
    mine = [gradient("m1", "one", score=0.2), gradient("m1", "two", score=0.0), gradient("m2", "three", score=0.9)]
    others = [gradient(name, name) for name in "abcd"]
    kept = capped(Gradients((*mine, *others)), {"m1": "m", "m2": "m"})
    assert [one.text for one in kept] == ["two", "three", *"abcd"]


def test_parameters_are_counted_apart_and_what_is_none_stays():
    items = (
        *(gradient("a", f"Say {at}.", site=WRITE) for at in range(4)),
        *(gradient(name, name) for name in "abc"),
        *(gradient("a", f"Between {at}.", site=None) for at in range(4)),
    )
    assert len(capped(Gradients(items, ("failed",)), {})) == len(items)
    more = (*items, gradient("b", "x", site=WRITE))
    kept = capped(Gradients(more, ("failed",)), {})
    assert (count(kept, site=WRITE), count(kept), len(kept.on("v Between 0."))) == (
        {"a": 1, "b": 1},
        dict.fromkeys("abc", 1),
        1,
    )
    assert kept.failures == ("failed",)


@pytest.mark.parametrize("share", [0, -1, 1.01])
def test_a_share_is_a_part(share):
    with pytest.raises(ValueError, match="it has to be more than 0, and at most 1"):
        capped(Gradients(), {}, share)


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from([PLAN, WRITE])), max_size=40), st.floats(0.05, 1))
def test_no_source_exceeds_its_share_and_capping_again_changes_nothing(given_, share):
    every = Gradients(tuple(gradient(name, f"Say {at}.", site=site) for at, (name, site) in enumerate(given_)))
    kept = capped(every, {}, share)
    assert capped(kept, {}, share) == kept
    assert set(kept) <= set(every)
    for site in (PLAN, WRITE):
        counts = count(kept, site=site)
        assert counts.keys() == count(every, site=site).keys()  # nobody is silenced
        for number in counts.values():
            assert number <= max(1, max(share, 1 / len(counts)) * sum(counts.values()) + 1e-6)


def context(*gradients: Gradient, **kwargs) -> StepContext:
    return StepContext({PLAN: Template("Plan."), WRITE: Template("Write.")}, Gradients(gradients), **kwargs)


def test_a_step_is_shown_what_is_capped_whoever_the_optimizer_is():
    every = [gradient("a", f"Say {at}.") for at in range(6)] + [gradient("b"), gradient("c")]
    assert len(context(*every).gradients) == 8  # the user's own examples
    step = context(*every, sources={})
    assert count(step.gradients) == {"a": 1, "b": 1, "c": 1}
    assert replace(step, step=2).gradients == step.gradients
    assert len(context(*every, sources={}, share=0.5).gradients) == 4
    assert step.share == SHARE


async def test_a_long_piece_of_feedback_is_shown_cut():
    model = ScriptedChatModel(replies=[{"plans": []}])
    await Joint(proposers=()).propose(context(gradient("a", "Say it. " * 400), gradient("b", "Be kind."), model=model))
    shown = model.requests[0].messages[1].text
    assert shown.count("Say it.") < 80
    assert "characters cut" in shown
    assert "- Be kind." in shown


async def test_an_update_names_the_traces_behind_it():
    first, second, other = gradient("a"), gradient("b"), gradient("c", "Be kind.")
    found = await TGD(proposers=[Insert()]).propose(context(first, second, other))
    assert {update.new.text.replace("Plan.", "").strip(): update.traces for update in found.updates} == {
        "Be brief.": ("a", "b"),
        "Be kind.": ("c",),
    }
    plan = {"why": "w", "edits": [{"parameter": "P1", "replacement": "A."}, {"parameter": "P2", "replacement": "B."}]}
    model = ScriptedChatModel(replies=[{"plans": [plan]}])
    found = await Joint(proposers=()).propose(context(first, gradient("d", site=WRITE), model=model))
    assert [[update.traces for update in candidate] for candidate in found.joint] == [[("a",), ("d",)]]
    # The journal keeps them.
    adapter = TypeAdapter(Proposals)
    assert adapter.validate_python(adapter.dump_python(found, mode="json")) == found


def test_what_a_proposer_knows_of_traces_is_kept():
    update = Update(PLAN, Template("a"), Template("b"), "", "mine", (gradient("a").id, "unknown"), ("z",))
    (found,) = traced(Proposals((update,), ((update, "no"),)), [gradient("a")]).updates
    assert found.traces == ("z", "a")
