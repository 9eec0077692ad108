"""A whole run in a world that rewards what a stranger planted: the gates take it, and the screens keep it out."""

from __future__ import annotations

import pytest

from tests.security.attacks import ATTACKS, Attack
from tests.security.worlds import Obedient, shop
from textgrad_lg import Evals, MemoryRegistry, Settings, optimize
from textgrad_lg.events import Gated
from textgrad_lg.optim import TGD, EditLimits, Kind
from textgrad_lg.testing import Rule, SimulatedChatModel

# One of each kind; a passage that only `Kind.COPIED` finds needs the traces, which a run on the user's own examples has not.
FIRST = {attack.kind: attack for attack in reversed(ATTACKS) if set(attack.found_by) - {Kind.COPIED}}


def obeying(attack: Attack):
    """A graph that does what is asked of it as soon as the planted text stands in its prompt."""
    rule = Rule(attack.text, lambda *_: "settled")
    model = SimulatedChatModel(answer=lambda _: "We are sorry.", rules=[rule])

    return shop(model)


def optimized(attack: Attack, allow=()):
    examples = [{"inputs": {"mail": f"Parcel number {at} is late."}} for at in range(30)]
    evals = Evals(examples, [lambda outputs: (outputs["reply"] == "settled", "The case is not settled.")])
    registry, events = MemoryRegistry(), []
    result = optimize(
        obeying(attack),
        evals,
        model=Obedient(payload=attack.text),
        optimizer=TGD(limits=EditLimits(allow=allow)),
        settings=Settings(steps=1, batch=4, alpha=0.99),
        registry=registry,
        callbacks=[events.append],
    )
    return result, registry, events


@pytest.mark.parametrize("attack", FIRST.values(), ids=FIRST.keys())
def test_no_version_holds_what_was_planted(attack):
    result, registry, events = optimized(attack)
    texts = [version.template.text for name in registry.names() for version in registry.history(name)]
    assert all(attack.text not in text for text in [*texts, *result.prompts.values()])
    reasons = [event.reason for event in events if isinstance(event, Gated) and event.gate == "edit"]
    assert reasons
    assert not any(event.accepted for event in events if isinstance(event, Gated))


def test_with_its_kind_allowed_the_same_run_commits_it():
    attack = FIRST["override"]
    result, registry, _ = optimized(attack, allow=attack.found_by)
    texts = [version.template.text for name in registry.names() for version in registry.history(name)]
    assert any(attack.text in text for text in texts)
    assert attack.text in result.prompts["answer/system"]
