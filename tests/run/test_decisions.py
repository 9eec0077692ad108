"""What is remembered of a candidate, and whether it may be tried again."""

from __future__ import annotations

import pytest

from textgrad_lg import Site, Template, Update
from textgrad_lg.example import Example
from textgrad_lg.run.decisions import Decisions
from textgrad_lg.run.emit import Emitter
from textgrad_lg.run.gate import Verdict, minibatch_gate, validation_gate
from textgrad_lg.run.race import lost

UPDATE = Update(Site(("plan",), "system"), Template("Plan."), Template("Plan well."), "why", "test")
BEFORE = {f"e{at}": float(at > 3) for at in range(8)}


def remembered(gate, verdict):
    decisions = Decisions(Emitter("run", (), lambda: 0.0), "run")
    decisions.decide((UPDATE,), gate, verdict, final=True)
    [attempt] = decisions.attempts
    return attempt.open


@pytest.mark.parametrize(
    ("change", "still"),
    [({}, True), ({"e0": 1.0, "e5": 0.0}, True), ({"e5": 0.0}, False)],
)
def test_what_was_not_worse_on_a_minibatch_is_open(change, still):
    assert remembered("minibatch", minibatch_gate(BEFORE, BEFORE | change)) == still


def test_what_was_given_up_on_a_minibatch_is_open():
    seen = {name: score for name, score in BEFORE.items() if name != "e7"}
    assert remembered("minibatch", lost(minibatch_gate, BEFORE, seen, [Example("e7", {})]))


@pytest.mark.parametrize(
    ("gate", "verdict"),
    [
        ("validation", validation_gate(BEFORE, BEFORE, alpha=0.05, seed=0)),
        ("edit", Verdict(False, "too long", None, None, 0)),
        ("minibatch", minibatch_gate({}, {})),
    ],
)
def test_all_else_is_settled(gate, verdict):
    assert not remembered(gate, verdict)
