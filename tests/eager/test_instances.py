"""Instances as Parameters: a piece of code, an answer, a molecule, the weights of a plan; solved one by one, at test time.

The critic can name what is wrong only if the request that it got shows it; the objective is a real function each time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

import textgrad_lg.eager as tg
from textgrad_lg.eager.autograd.string_based_ops import StringBasedFunction

from .support import fixed, text
from .test_twins import world

STEPS = 6


def solve(instance, loss_of, optimizer, engine, *, done):
    """Steps until the loss is as wanted; the iterates, the last one included."""
    iterates = [tg.Variable(instance.value, role_description=instance.role_description)]
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(instance)
        if done(loss.value):
            return iterates
        loss.backward(engine)
        optimizer.step()
        iterates.append(tg.Variable(instance.value, role_description=instance.role_description))
    raise AssertionError(f"not solved in {STEPS} steps: {instance.value!r}")


# --- A piece of code, judged by its unit tests

CODE = """\
def median(values):
    ordered = values
    return ordered[len(ordered) // 2]
"""
CASES = [([3, 1, 2], 2), ([4, 1, 3, 2], 2.5)]


def failures(tmp_path):
    """Runs the unit tests on a piece of code in an interpreter of its own, which sees nothing of this one."""

    def run(code, cases):
        lines = [f"print(median({given!r}), {want!r})" for given, want in cases.value]
        file = tmp_path / "candidate.py"
        file.write_text(f"{code.value}\n" + "\n".join(lines), encoding="utf-8")
        ran = subprocess.run([sys.executable, "-I", file], capture_output=True, text=True, timeout=20, check=False)
        if ran.returncode:
            return f"raised {ran.stderr.strip().splitlines()[-1]}"
        pairs = zip(cases.value, (line.split() for line in ran.stdout.splitlines()), strict=True)
        wrong = [
            f"median({given}) is {got}, not {want}" for (given, _), (got, want) in pairs if float(got) != float(want)
        ]
        return "; ".join(wrong) or "all tests pass"

    return StringBasedFunction(run, "runs the unit tests of the code, and says which fail")


def test_a_piece_of_code_is_mended_by_what_its_unit_tests_say(tmp_path):
    advice = {
        "median([3, 1, 2]) is 1, not 2": "Sort the values.",
        "NameError": "There is no such name.",
        "median([4, 1, 3, 2]) is 3, not 2.5": "Of an even number, take the mean of both in the middle.",
    }

    def hint(request):
        return next((said for seen, said in advice.items() if seen in request), "")

    def mend(old, feedback):
        if "Sort" in feedback:
            return old.replace("= values", "= sort(values)")
        if "no such name" in feedback:
            return old.replace("sort(", "sorted(")
        if "mean" in feedback:
            return old.replace(
                "return ordered[len(ordered) // 2]",
                "half = len(ordered) // 2\n    return (ordered[half] + ordered[-half - 1]) / 2",
            )
        return old

    engine = world(lambda messages: "", hint, mend)
    code = text(CODE, "code of the function median")
    check, cases = failures(tmp_path), fixed(CASES, "unit tests")
    iterates = solve(
        code,
        lambda code: check({"code": code, "cases": cases}, "results of the unit tests"),
        tg.TGD([code], engine=engine, constraints=["Keep the name of the function."]),
        engine,
        done=lambda said: said == "all tests pass",
    )
    assert len(iterates) == 4
    assert "sorted(values)" in code.value
    assert "/ 2" in code.value


# --- An answer, judged at test time by a model that does not know it

QUESTION = "A train leaves at 9:40 and rides 95 minutes. When does it arrive? (A) 11:05 (B) 11:15 (C) 11:35"


def test_an_answer_is_the_vote_over_its_iterates():
    """The critic finds the wrong step; later it doubts the right answer as well, and the vote holds on to it."""

    def judge(messages):
        shown = messages[-1].text
        if "95 minutes is 1:25" in shown:
            return "95 minutes are not 1:25."
        return "Are you sure of (B)?" if shown.count("checked") == 2 else "No fault found."

    def mend(old, feedback):
        if "not 1:25" in feedback:
            return "95 minutes is 1:35, so 11:15. Answer: B"
        return old.replace("Answer: B", "Answer: C") if "Are you sure" in feedback else f"checked. {old}"

    engine = world(judge, lambda request: "", mend)
    answer = text("95 minutes is 1:25, so 11:05. Answer: A", "answer to the multiple choice question")
    loss = tg.MultiChoiceTestTime("Look at each step of the calculation.", engine)
    optimizer = tg.TGD([answer], engine=engine, constraints=["End with 'Answer: ' and a letter."])
    iterates = [tg.Variable(answer.value, role_description="iterate")]
    for _ in range(4):
        optimizer.zero_grad()
        loss(QUESTION, answer).backward(engine)
        optimizer.step()
        iterates.append(tg.Variable(answer.value, role_description="iterate"))
    letters = [iterate.value.rpartition("Answer: ")[2] for iterate in iterates]
    assert letters == ["A", "B", "B", "B", "C"]
    voted = tg.majority_vote(iterates, lambda said: said.rpartition("Answer: ")[2])
    assert voted.value == iterates[1].value


# --- A molecule, judged by a property of it

_ATOM = re.compile(r"Cl|Br|[BCNOPSFI]|[bcnops]|\[[^\]]+\]")
_WEIGHTS = {"C": 12.011, "N": 14.007, "O": 15.999, "F": 18.998, "Cl": 35.45, "Br": 79.904, "S": 32.06}
SMILES = r"(?:Cl|Br|[BCNOPSFIbcnops]|[()=#\d-])+"


def properties(smiles):
    """Heavy atoms and their weight, and whether rings and branches are closed."""
    atoms = [at.capitalize() for at in _ATOM.findall(smiles.value)]
    rings = [smiles.value.count(number) % 2 for number in set(re.findall(r"\d", smiles.value))]
    broken = any(rings) or smiles.value.count("(") != smiles.value.count(")")
    polar = sum(at in ("N", "O") for at in atoms)
    weight = round(sum(_WEIGHTS[at] for at in atoms), 1)
    return {"valid": not broken, "heavy atoms": len(atoms), "polar atoms": polar, "weight": weight}


def test_a_molecule_is_led_by_a_property_of_it():
    def hint(request):
        if '"valid": false' in request:
            return "Close each ring and branch."
        seen = re.search(r'"polar atoms": (\d+)', request)
        return "Add a hydroxy group." if seen and int(seen[1]) < 3 else ""

    def mend(old, feedback):
        if "Close" in feedback:
            return f"{old}1"
        return (
            f"{old}O" if old.endswith("c1") and "hydroxy" in feedback else f"OC{old}" if "hydroxy" in feedback else old
        )

    engine = world(lambda messages: "", hint, mend)
    molecule = text("c1ccccc", "SMILES string of a molecule")
    score = StringBasedFunction(properties, "computes properties of the molecule; it shall have three polar atoms")
    optimizer = tg.TGD(
        [molecule], engine=engine, checks=[lambda new: None if re.fullmatch(SMILES, new) else "it is no SMILES string"]
    )
    solve(
        molecule,
        lambda smiles: score({"smiles": smiles}),
        optimizer,
        engine,
        done=lambda found: found["valid"] and found["polar atoms"] >= 3,
    )
    assert properties(molecule) == {"valid": True, "heavy atoms": 11, "polar atoms": 3, "weight": 144.1}


def test_what_is_no_molecule_never_becomes_the_instance():
    engine = world(lambda messages: "", lambda request: "Add oxygen.", lambda old, feedback: "two waters, please")
    molecule = text("CC", "SMILES string of a molecule")
    score = StringBasedFunction(properties, "computes properties of the molecule")
    optimizer = tg.TGD(
        [molecule], engine=engine, checks=[lambda new: None if re.fullmatch(SMILES, new) else "it is no SMILES string"]
    )
    score({"smiles": molecule}).backward(engine)
    with pytest.raises(tg.StepRefused, match="no SMILES"):
        optimizer.step()
    assert molecule.value == "CC"


# --- The weights of a plan, judged by a simulator

ORGANS = ["tumour", "rectum", "bladder"]


def simulate(weights):
    """The dose in Gy that each organ gets: what protects one takes a little from all others."""
    total = sum(weights.value)
    return {
        organ: round(80 * weight / total * (1.5 if organ == "tumour" else -0.5) + (20 if organ == "tumour" else 50), 1)
        for organ, weight in zip(ORGANS, weights.value, strict=True)
    }


LIMITS = {"rectum": 42.0, "bladder": 44.0}


def test_the_weights_of_a_plan_follow_the_simulated_dose():
    def judge(messages):
        dose: dict[str, Any] = json.loads(messages[-1].text)
        over = [organ for organ, most in LIMITS.items() if dose[organ] > most]
        return "; ".join(f"the {organ} gets {dose[organ]} Gy, above {LIMITS[organ]}" for organ in over) or "Accepted."

    def hint(request):
        found = re.search(r"the (rectum|bladder) gets", request)
        return f"Raise the weight of the {found[1]}." if found else ""

    def mend(old, feedback):
        weights = json.loads(old)
        found = re.search(r"weight of the (\w+)", feedback)
        return json.dumps([w + (name == (found and found[1])) * 2 for name, w in zip(ORGANS, weights, strict=True)])

    engine = world(judge, hint, mend)
    weights = text([10, 1, 1], "importance of tumour, rectum and bladder")
    plan = StringBasedFunction(simulate, "computes the dose that each organ gets from the weights")
    loss = tg.TextLoss("Compare the dose with the limits of the protocol.", engine)
    solve(
        weights,
        lambda weights: loss(plan({"weights": weights})),
        tg.TGD([weights], engine=engine, constraints=["A JSON list of three numbers."]),
        engine,
        done=lambda said: said == "Accepted.",
    )
    dose = simulate(weights)
    assert isinstance(weights.value, list)
    assert all(dose[organ] <= most for organ, most in LIMITS.items())
    assert dose["tumour"] > 80
