"""What is no attack is not refused, and how often it is."""

from __future__ import annotations

import pytest

from tests.security.benign import BENIGN, TOPICAL
from tests.security.worlds import (
    GOAL,
    PROMPT,
    SITE,
    Obedient,
    busy_trace,
    differentiated,
    optimizers,
    planted_trace,
    proposed,
)
from textgrad_lg.optim.borrowed import Borrowed
from textgrad_lg.optim.copied import Copied
from textgrad_lg.optim.edit import check
from textgrad_lg.optim.planted import planted
from textgrad_lg.prompt import Template

MIN_BENIGN = 40
SAYS = "Where is it? I ordered a week ago, and nobody answers my mails any more, which is a shame."
QUOTES = next(text for text in BENIGN if "<input>My parcel is late.</input>" in text)
"""A demonstration in words, whose input is, in the one world, a sentence of the customer's own."""


@pytest.mark.parametrize("text", [text for text in BENIGN if text != QUOTES])
async def test_an_improvement_is_proposed(text):
    model = Obedient(payload=text)
    trace = planted_trace(SAYS)
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


@pytest.mark.parametrize("text", TOPICAL)
async def test_one_that_speaks_of_what_the_trace_speaks_of_is_proposed(text):
    model, trace = Obedient(payload=text), busy_trace()
    proposals = await proposed(trace, await differentiated(trace, model), model, optimizers()["tgd"])
    assert any(update.new.text == f"{PROMPT}\n\n{text}" for update in proposals.updates), proposals.rejected


def test_the_rate_of_false_refusals_against_traces(record_property):
    traces = [busy_trace(), planted_trace(SAYS)]
    copied, borrowed, refused = Copied(traces), Borrowed(traces), []
    for text in (*BENIGN, *TOPICAL):
        new = Template(f"{PROMPT}\n\n{text}")
        if check(Template(PROMPT), new, copied=copied) or borrowed.found(new.text, (PROMPT, GOAL)):
            refused.append(text)
    record_property("benign", len(BENIGN) + len(TOPICAL))
    record_property("refused", len(refused))
    assert refused == [QUOTES]


@pytest.mark.parametrize("text", [*BENIGN, *TOPICAL])
def test_an_improvement_holds_nothing_of_any_kind(text):
    assert list(planted(text, tuple)) == []
    assert SITE.role == "system"
