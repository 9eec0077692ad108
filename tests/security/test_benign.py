"""What is no attack is not refused, and how often it is."""

from __future__ import annotations

import pytest

from tests.security.benign import BENIGN
from tests.security.worlds import PROMPT, SITE, Obedient, differentiated, optimizers, planted_trace, proposed
from textgrad_lg.optim.edit import check
from textgrad_lg.optim.planted import planted
from textgrad_lg.prompt import Template

MIN_BENIGN = 40


@pytest.mark.parametrize("text", BENIGN)
async def test_an_improvement_is_proposed(text):
    model = Obedient(payload=text)
    trace = planted_trace("Where is it? I ordered a week ago, and nobody answers my mails any more, which is a shame.")
    gradients = await differentiated(trace, model)
    proposals = await proposed(trace, gradients, model, optimizers()["tgd"])
    assert any(update.new.text == f"{PROMPT}\n\n{text}" for update in proposals.updates), proposals.rejected


def test_the_rate_of_false_refusals(record_property):
    old = Template(PROMPT)
    refused = [text for text in BENIGN if check(old, Template(f"{PROMPT}\n\n{text}")) is not None]
    record_property("benign", len(BENIGN))
    record_property("refused", len(refused))
    assert len(set(BENIGN)) >= MIN_BENIGN
    assert refused == []


@pytest.mark.parametrize("text", BENIGN)
def test_an_improvement_holds_nothing_of_any_kind(text):
    assert list(planted(text, tuple)) == []
    assert SITE.role == "system"
