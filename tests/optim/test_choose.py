"""Choose: which optimizer for which run, and that it says why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgrad_lg.optim import TGD, Joint, Momentum, Pareto, choose

A_STEP = 8 * 9
"""Calls of a step of eight examples and eight proposals, one call a run."""


@pytest.mark.parametrize(
    ("known", "kind", "proposals", "reason"),
    [
        ({"critic": False}, TGD, 8, "TGD: 40% of the examples fail, and no model writes proposals"),
        ({"failing": 0.0}, TGD, 1, "no example fails, so there is little to be won"),
        ({}, Momentum, 8, "Momentum: 40% of the examples fail, and calls are not limited, enough for past edits"),
        ({"calls": 6 * A_STEP}, Momentum, 8, "the calls left pay for about 6 steps, enough for past edits"),
        ({"calls": 6 * A_STEP - 1}, TGD, 8, "TGD: 40% of the examples fail, and the calls left pay for about 5 steps."),
        ({"calls": 6 * A_STEP, "calls_a_run": 2}, TGD, 8, "about 3 steps"),
        ({"calls": 6 * A_STEP - 1, "parameters": 3}, Joint, 8, "one call a step plans for all 3 Parameters"),
        ({"calls": 7 * A_STEP, "parameters": 2}, Pareto, 8, "one call a step plans for all 2 Parameters; gains too"),
        ({"parameters": 2}, Pareto, 8, "Pareto over Joint: 40% of the examples fail, calls are not limited"),
        ({"calls": 2 * A_STEP}, TGD, 8, "about 2 steps"),
        ({"calls": 32}, TGD, 3, "TGD with at most 3 a step: 40% of the examples fail, and 32 calls are left, too few"),
        (
            {"calls": 32, "parameters": 4},
            Joint,
            3,
            "Joint with at most 3 a step: 40% of the examples fail, and 32 calls",
        ),
        ({"calls": 0}, TGD, 1, "0 calls are left"),
    ],
)
def test_what_suits(known, kind, proposals, reason):
    choice = choose(**{"failing": 0.4, "parameters": 1, "critic": True, **known})
    assert type(choice.optimizer) is kind
    assert choice.optimizer.proposals == proposals
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("known", "code"),
    [
        ({"parameters": 2}, "Pareto(Joint(proposals=7))"),
        ({"calls": 2 * A_STEP}, "TGD()"),
        ({"calls": 32}, "TGD(proposals=3)"),
        ({"calls": 32, "parameters": 4}, "Joint(proposals=3)"),
    ],
)
def test_it_is_told_as_one_would_write_it(known, code):
    assert choose(**{"failing": 0.4, "parameters": 1, "critic": True, **known}).code == code


@pytest.mark.parametrize(
    "wrong",
    [{"failing": 1.1}, {"failing": float("nan")}, {"parameters": 0}, {"calls": -1}, {"batch": 0}, {"calls_a_run": 0}],
)
def test_numbers_that_make_no_sense(wrong):
    known: dict[str, Any] = {"failing": 0.4, "parameters": 1, "critic": True, **wrong}
    with pytest.raises(ValueError, match="failing lies between 0 and 1"):
        choose(**known)


@given(st.floats(0.01, 1), st.integers(1, 50), st.integers(0, 5_000), st.integers(1, 20), st.integers(1, 9))
def test_every_run_gets_one_that_it_can_pay_where_any_can_be_paid(failing, parameters, calls, batch, run):
    choice = choose(failing=failing, parameters=parameters, critic=True, calls=calls, batch=batch, calls_a_run=run)
    assert choice.reason.startswith(type(choice.optimizer).__name__)
    assert choice.reason.endswith(".")
    if calls >= 2 * batch * run:
        assert (1 + choice.optimizer.proposals) * batch * run <= calls
