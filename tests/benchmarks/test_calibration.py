"""A small version of the calibration: few runs, few examples, the same gates; and what its table says."""

from __future__ import annotations

import asyncio

import pytest
from inline_snapshot import snapshot

from benchmarks.calibration import INSTRUCTION, PROMPT, WORLDS, Claim, Luck, run, share, summary

BY_NAME = {world.name: world for world in WORLDS}
SIZES = {"train": 8, "validation": 60, "test": 60, "steps": 1}


def claims(name, seeds):
    return [asyncio.run(run(BY_NAME[name], seed, **SIZES)) for seed in seeds]


def test_where_no_prompt_can_help_none_is_claimed_to():
    found = claims("null", range(2))
    assert not any(claim.claimed for claim in found)


def test_a_gain_of_20_points_is_found_and_it_is_the_instruction():
    found = claims("gain offered", range(2))
    assert all(claim.claimed and claim.right for claim in found)
    assert all(claim.test > 0.05 for claim in found)


@pytest.mark.parametrize(
    ("name", "told", "share"),
    [
        ("null", True, 0.6),
        ("null", False, 0.6),
        ("gain", True, 0.7),
        ("gain", False, 0.5),
        ("coin", True, 0.7),
        ("coin", False, 0.5),
    ],
)
def test_the_worlds_are_worth_what_they_say(name, told, share):
    luck, prompt = Luck(0), f"{PROMPT} {INSTRUCTION}" if told else PROMPT
    questions = [f"What is order {at}?" for at in range(4000)]
    right = sum(luck.draw(prompt, each) < BY_NAME[name].chance(luck.lot(each), told) for each in questions)
    assert right / len(questions) == pytest.approx(share, abs=0.025)


def test_what_the_table_says():
    found = [
        Claim("gain", 0, claimed=True, right=True, accepted=True, validation=0.3, test=0.2, calls=400),
        Claim("gain", 1, claimed=False, right=False, accepted=False, validation=None, test=None, calls=300),
    ]
    assert summary(BY_NAME["gain"], found) == snapshot("""\
gain: 2 runs, a true gain of 0.20 to be found
  claim an improvement: 1 of 2, 50.0% [1.3%, 98.7%]
  claim it and have the instruction: 1 of 2, 50.0% [1.3%, 98.7%]
  an edit passed the validation gate: 1 of 2, 50.0% [1.3%, 98.7%]
  mean gain of those: validation +0.300, test +0.200
  model calls a run: 350\
""")
    assert share([False] * 200) == "0 of 200, 0.0% [0.0%, 1.8%]"
