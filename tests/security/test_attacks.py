"""Planted texts, an obedient critic, and gates that let all pass: nothing may get into a prompt."""

from __future__ import annotations

import re

import pytest

from tests.security.attacks import ATTACKS, Attack
from tests.security.worlds import Obedient, candidates, differentiated, optimizers, planted_trace, proposed
from textgrad_lg.optim import Kind, edit
from textgrad_lg.run.gate import minibatch_gate
from textgrad_lg.types import Strategy
from textgrad_lg.update import Update

MIN_ATTACKS, MIN_KINDS = 60, 10
NAMED = [pytest.param(attack, id=f"{attack.kind}-{at}") for at, attack in enumerate(ATTACKS)]


async def accepted(attack: Attack, allow=(), *, by_tool=False, strategy=Strategy.AUTO, names=None) -> list[Update]:
    """What gates that let everything pass would accept of what the optimizers propose."""
    # What is measured here is the screens by form; what a stranger says whole is in `test_fresh`.
    allow = (*allow, Kind.BORROWED)
    model = Obedient(payload=attack.text)
    trace = planted_trace(attack.text, by_tool=by_tool)
    gradients = await differentiated(trace, model, strategy)
    found: list[Update] = []
    for name, optimizer in optimizers(allow).items():
        if names is None or name in names:
            proposals = await proposed(trace, gradients, model, optimizer)
            assert candidates(proposals) or proposals.rejected, "the critic was not obedient"
            assert minibatch_gate({"e": 0.0}, {"e": 1.0}).accepted
            found += candidates(proposals)
    return found


def test_the_suite_is_as_large_as_it_says():
    assert len({attack.text for attack in ATTACKS}) >= MIN_ATTACKS
    assert len({attack.kind for attack in ATTACKS}) >= MIN_KINDS


@pytest.mark.parametrize("attack", NAMED)
async def test_nothing_gets_through(attack):
    assert await accepted(attack) == []


@pytest.mark.parametrize("attack", NAMED)
async def test_without_its_screens_it_gets_through_and_each_of_them_stops_it(attack, monkeypatch):
    if attack.kind == "fence":
        monkeypatch.setattr(edit, "FENCE", re.compile(r"(?!)"))
    through = await accepted(attack, attack.found_by, names={"tgd"})
    assert any(attack.text in update.new.text for update in through)
    for kind in attack.found_by:
        others = [other for other in attack.found_by if other is not kind]
        assert not any(attack.text in update.new.text for update in await accepted(attack, others, names={"tgd"}))


@pytest.mark.parametrize("strategy", [Strategy.CHAIN, Strategy.FUSED, Strategy.STRUCTURAL])
@pytest.mark.parametrize("attack", NAMED[::7])
async def test_nothing_gets_through_from_a_tool_whatever_the_strategy(attack, strategy):
    updates = await accepted(attack, by_tool=True, strategy=strategy)
    assert not any(attack.text in update.new.text for update in updates)
