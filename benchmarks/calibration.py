"""How often `optimize` claims an improvement: where no prompt can help, and where one is worth 20 points.

    python -m benchmarks.calibration                    200 runs in each world
    python -m benchmarks.calibration --worlds gain --runs 50 --out runs.jsonl

Every run is `optimize(graph, evals)` with its own optimizer, gates and test set; only the models are simulated, in this
process. A run claims an improvement where `result.improved` says so. The worlds:

- `null`: a reply is right by a chance of 0.6, whatever the prompt says; each prompt has luck of its own on each question.
- `gain`: half of the questions are answered right anyway, one in five only where the prompt holds an instruction, the rest
  never. The instruction turns 20 of 100 from wrong to right, and breaks none: a true gain of 20 points, and no noise.
- `coin`: every reply is right by chance, at 0.5 without the instruction and at 0.7 with it. The same 20 points in the worst
  noise there is, where most of what changes between two runs is luck. `coin x3` is the same with `Settings(repeats=3)`.

No method takes what was never proposed, so a world also says how good its critic is. It writes four texts in each step. In
these worlds one of them has the instruction in every second step, by chance, whatever was tried before; in `gain offered` it
is so in each step, so that what is missing there was lost in the gates. The critic reads no feedback. All other texts,
the feedback and the demonstrations that are tried beside them change nothing in these worlds but luck.

Beside the share of claims, with its exact 95 % interval, stand the mean gains on validation and test of the runs that accepted an
edit, so that one can see what the selection on the validation set adds, and what the test set takes away.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph
from scipy import stats

from textgrad_lg import Budget, Evals, MemoryRegistry, Settings, Strategy, aoptimize
from textgrad_lg.testing import ScriptedChatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import BaseMessage

RUNS, FIRST = 200, 10_000
TRAIN, VALIDATION, TEST = 40, 60, 100
"""Examples of each split."""
STEPS = Settings().steps
INSTRUCTION = "Answer with the number alone."
PROMPT = "You answer questions about orders."
ALTERNATIVES = 4
"""Texts that the critic writes in one reply; a step has room for all of them."""
TEXT_NOW = re.compile(r"<<<DATA the text now [0-9a-f]+>>>\n(.*?)\n<<<END", re.DOTALL)
LIMIT, WANTED = 0.05, 0.8
"""What is asked: claims at most where nothing can help, and at least where there is a gain."""


@dataclass(frozen=True)
class World:
    """One world.

    Attributes:
        name: What the table calls it.
        chance: How probable a right reply is, by the question's lot (0 to 1) and by whether the instruction is there.
        gain: What the instruction is worth.
        offered: How probable it is that the instruction is among the texts of one step.
        repeats: How often validation and test examples are run.
    """

    name: str
    chance: Callable[[float, bool], float]
    gain: float
    offered: float
    repeats: int = 1


def _gain(lot: float, told: bool) -> float:
    return 1.0 if lot < 0.5 or (told and lot < 0.7) else 0.0


WORLDS = (
    World("null", lambda _lot, _told: 0.6, gain=0.0, offered=0.0),
    World("gain", _gain, gain=0.2, offered=0.5),
    World("gain offered", _gain, gain=0.2, offered=1.0),
    World("coin", lambda _lot, told: 0.7 if told else 0.5, gain=0.2, offered=0.5),
    World("coin x3", lambda _lot, told: 0.7 if told else 0.5, gain=0.2, offered=0.5, repeats=3),
)


@dataclass(frozen=True)
class Claim:
    """What came of one run.

    Attributes:
        world: The world's name.
        seed: Of the world and of the run.
        claimed: Whether it claims an improvement.
        right: Whether the texts it ends with really hold more than those it began with.
        accepted: Whether the validation gate took an edit.
        validation: The gain on the validation set; None where nothing was accepted.
        test: The same on the test set.
        calls: Model calls in all.
    """

    world: str
    seed: int
    claimed: bool
    right: bool
    accepted: bool
    validation: float | None
    test: float | None
    calls: int


class State(TypedDict, total=False):
    """The graph's state."""

    question: str
    answer: str


@dataclass
class Luck:
    """Draws that depend on what is asked and on how often it was asked before, and on no order of calls."""

    seed: int

    def __post_init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def lot(self, question: str) -> float:
        """Which kind of question it is, from 0 to 1; the same each time."""
        return random.Random(f"{self.seed}/{question}").random()

    def draw(self, prompt: str, question: str) -> float:
        """A number from 0 to 1, another one each time the same prompt meets the same question."""
        key = f"{self.seed}/{prompt}/{question}"
        with self._lock:
            self._asked[key] += 1
            again = self._asked[key]
        return random.Random(f"{key}/{again}").random()


def graph_of(world: World, seed: int) -> Any:
    """One node, which asks a model that is right as often as the world says."""
    luck = Luck(seed)

    def reply(messages: Sequence[BaseMessage]) -> str:
        prompt, question = messages[0].text, messages[-1].text
        chance = world.chance(luck.lot(question), INSTRUCTION in prompt)
        return "right" if luck.draw(prompt, question) < chance else "wrong"

    model = ScriptedChatModel(replies=reply, model_name="worker")

    async def answer(state: State) -> State:
        said = await model.ainvoke([SystemMessage(PROMPT), HumanMessage(state.get("question", ""))])
        return {"answer": said.text}

    return StateGraph(State).add_node(answer).add_edge(START, "answer").compile(name="orders")


def critic_of(world: World, seed: int) -> ScriptedChatModel:
    """A critic that writes texts of which none helps, or, where the instruction is offered, one."""
    chance = random.Random(f"critic/{seed}")

    def reply(messages: Sequence[BaseMessage]) -> dict[str, Any]:
        found = TEXT_NOW.search(messages[-1].text)
        text = found[1] if found else PROMPT
        hints = [f"Mind point {chance.randrange(10**9)} of the handbook." for _ in range(ALTERNATIVES)]
        if chance.random() < world.offered:
            hints[chance.randrange(ALTERNATIVES)] = INSTRUCTION
        return {"alternatives": [{"why": "it may help", "text": f"{text}\n\n{hint}"} for hint in hints]}

    return ScriptedChatModel(replies=reply, model_name="critic")


def judge(outputs: Mapping[str, Any]) -> tuple[bool, str]:
    """The evaluator."""
    return outputs["answer"] == "right", "that is not what the order says"


def examples(train: int = TRAIN, validation: int = VALIDATION, test: int = TEST) -> list[dict[str, Any]]:
    """The examples, with their splits."""
    splits = ["train"] * train + ["validation"] * validation + ["test"] * test
    return [
        {"id": f"q{at}", "inputs": {"question": f"What is order {at}?"}, "split": split}
        for at, split in enumerate(splits)
    ]


async def run(world: World, seed: int, steps: int = STEPS, **sizes: int) -> Claim:
    """One run of `optimize` in a world of its own; `sizes` are those of `examples`."""
    with tempfile.TemporaryDirectory() as folder:
        result = await aoptimize(
            graph_of(world, seed),
            Evals(examples(**sizes), [judge]),
            model=critic_of(world, seed),
            budget=Budget(calls=1_000_000),
            registry=MemoryRegistry(),
            run_dir=Path(folder) / "run",
            # Structural: the evaluator's words are the feedback. What is measured is the gates, and the critic knows nothing.
            settings=Settings(seed=seed, steps=steps, strategy=Strategy.STRUCTURAL, repeats=world.repeats),
        )
    if result.raised or result.unjudged:
        raise RuntimeError(f"examples were not run as they should be: {result.summary()}")
    held = [any(INSTRUCTION in text for text in texts.values()) for texts in (result.original, result.prompts)]
    return Claim(
        world=world.name,
        seed=seed,
        claimed=result.improved,
        right=bool(world.gain) and held == [False, True],
        accepted=bool(result.texts),
        validation=result.validation.difference if result.validation else None,
        test=result.test.difference if result.test else None,
        calls=result.spend.total.calls,
    )


def summary(world: World, claims: Sequence[Claim]) -> str:
    """What the runs of one world come to."""
    took = [claim for claim in claims if claim.accepted]
    lines = [f"{world.name}: {len(claims)} runs, a true gain of {world.gain:.2f} to be found"]
    lines.append(f"  claim an improvement: {share([claim.claimed for claim in claims])}")
    if world.gain:
        lines.append(
            f"  claim it and have the instruction: {share([claim.claimed and claim.right for claim in claims])}"
        )
    lines.append(f"  an edit passed the validation gate: {share([claim.accepted for claim in claims])}")
    if took:
        gains = [mean([value for value in column if value is not None]) for column in _columns(took)]
        lines.append(f"  mean gain of those: validation {gains[0]:+.3f}, test {gains[1]:+.3f}")
    lines.append(f"  model calls a run: {mean(claim.calls for claim in claims):.0f}")
    return "\n".join(lines)


def share(found: Sequence[bool]) -> str:
    """A share with its exact 95 % interval."""
    hits, runs = sum(found), len(found)
    interval = stats.binomtest(hits, runs).proportion_ci(method="exact")
    return f"{hits} of {runs}, {hits / runs:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the worlds, and print how often an improvement was claimed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs in each world")
    parser.add_argument("--first", type=int, default=FIRST, help="the seed of the first run")
    parser.add_argument("--worlds", default="", help="only worlds of these names, divided by commas")
    parser.add_argument("--out", type=Path, help="a file for the runs, one line of JSON each")
    given = parser.parse_args(arguments)
    wanted = [name.strip() for name in given.worlds.split(",") if name.strip()]
    failed: list[str] = []
    for world in [world for world in WORLDS if not wanted or world.name in wanted]:
        claims: list[Claim] = []
        for seed in range(given.first, given.first + given.runs):
            claims.append(asyncio.run(run(world, seed)))
            if given.out is not None:
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(claims[-1])) + "\n")
            print(claims[-1], file=sys.stderr)
        print(summary(world, claims))
        found = mean(claim.claimed for claim in claims)
        if (world.name == "null" and found > LIMIT) or ("gain" in world.name and found < WANTED):
            failed.append(f"{world.name}: {found:.1%}")
    if failed:
        sys.exit(f"not as it should be: {', '.join(failed)}")


def _columns(claims: Sequence[Claim]) -> tuple[list[float | None], list[float | None]]:
    return [claim.validation for claim in claims], [claim.test for claim in claims]


if __name__ == "__main__":
    main()
