"""How often a text that does not help is accepted, where verdicts and models are noisy; beside a gate of three examples.

    python -m benchmarks.gates                     short runs in the noisy and in the null world, without latency
    python -m benchmarks.gates --runs 40 --out decisions.jsonl

In the noisy world a model does as it is told in 8 calls of 10, and 1 verdict in 10 is turned round. In the null world no
instruction can help, and chance decides. What a candidate is really worth is known exactly, from the texts alone. A false accept
is a candidate that passed the run's gates and whose true score is not above that of the texts before it; the rate is over all
candidates that are not better and that were run at all. The gate of three examples takes a candidate when the mean verdict on
three examples of the train set is higher than before, as is usual elsewhere; each candidate is put to it many times over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.optimizers import ROWS, Judge, Row, run, texts_of
from benchmarks.world.server import running
from benchmarks.world.task import Kind, Task
from benchmarks.world.world import OBEY

if TYPE_CHECKING:
    from benchmarks.world.server import Client
    from textgrad_lg import OptimizeResult
    from textgrad_lg.events import Gated

FLIPS = 0.1
"""Share of the verdicts that are turned round."""
RUNS, STEPS = 20, 6
THREE, DRAWS = 3, 2_000
"""Examples of the other gate, and how often each candidate is put to it."""

Texts = Mapping[str, str]
"""The prompt of each node."""


@dataclass(frozen=True)
class Decision:
    """What became of one candidate.

    Attributes:
        kind: The world.
        seed: Of the world and of the run.
        step: The step in which it was proposed.
        before: The true score of the texts that it would have replaced.
        after: Its own.
        accepted: Whether the run took it.
        three: How often the gate of three examples takes it, drawn anew each time on the same three examples.
    """

    kind: str
    seed: int
    step: int
    before: float
    after: float
    accepted: bool
    three: float

    @property
    def better(self) -> bool:
        """Whether it really helps."""
        return self.after > self.before + 1e-9


class Flips:
    """Turns round the verdicts that chance picks: by the seed, by what is judged, and by how often it was judged before."""

    def __init__(self, seed: int, share: float = FLIPS) -> None:
        self._seed, self._share = seed, share
        self._seen: Counter[tuple[str, str]] = Counter()

    def __call__(self, output: str, answer: str) -> bool:
        """Whether this verdict is to be turned round."""
        self._seen[output, answer] += 1
        key = f"{self._seed}/{output}/{answer}/{self._seen[output, answer]}"
        return random.Random(key).random() < self._share


def decisions(result: OptimizeResult[Any], task: Task) -> list[Decision]:
    """Every candidate of a run that was run at all, with its true worth.

    Raises:
        ValueError: What was accepted does not add up to the result's texts.
    """
    texts = texts_of(result.original)
    found: list[Decision] = []
    for group in _candidates(result.decisions):
        first = group[0]
        changed = {**texts, **{one.site.path[0]: one.new.text for one in (first.update, *first.together)}}
        accepted = any(gated.gate == "validation" and gated.accepted for gated in group)
        found.append(
            Decision(
                task.kind,
                task.seed,
                first.step,
                worth(task, texts),
                worth(task, changed),
                accepted,
                three_examples(task, texts, changed),
            )
        )
        if accepted:
            texts = changed
    if texts != {**texts_of(result.original), **{site.path[0]: new.new.text for site, new in result.texts.items()}}:
        raise ValueError("the accepted candidates do not add up to the result's texts")
    return found


def worth(task: Task, texts: Texts) -> float:
    """The true score of texts: the share of right answers to expect."""
    return task.score(texts, obey=OBEY.get(task.kind, 1.0))


def three_examples(task: Task, before: Texts, after: Texts, draws: int = DRAWS) -> float:
    """How often the mean verdict on three examples is higher with the texts `after` than with those `before`.

    Each side is drawn anew, and so are the examples. Where nothing fails before, there is nothing to accept, as such a gate
    is not asked then.
    """
    held = [
        tuple(node.name for node in task.nodes.values() if node.holds(texts[node.name])) for texts in (before, after)
    ]
    return _three(task, held[0], held[1], draws)


@cache
def _three(task: Task, before: tuple[str, ...], after: tuple[str, ...], draws: int) -> float:
    draw = random.Random(f"{task.kind}/{task.seed}/{before}/{after}")
    cases = task.splits["train"]
    obey = OBEY.get(task.kind, 1.0)

    def verdicts(held: tuple[str, ...], chosen: Sequence[Any]) -> int:
        right = [
            all(draw.random() < (obey if task.kind is Kind.NULL or name in held else 0.0) for name in case.needs)
            for case in chosen
        ]
        return sum(verdict != (draw.random() < FLIPS) for verdict in right)

    asked = taken = 0
    for _ in range(draws):
        chosen = draw.sample(cases, THREE)
        old = verdicts(before, chosen)
        if old < THREE:
            asked += 1
            taken += verdicts(after, chosen) > old
    return taken / max(asked, 1)


def measured(world: Client, kind: Kind, seed: int, row: Row, steps: int) -> tuple[list[Decision], dict[str, Any]]:
    """One run: its decisions, and what came of it."""
    world.reset(kind=kind, seed=seed, latency=0)
    result = asyncio.run(run(world, row, seed, judge=Judge(Flips(seed)), steps=steps))
    task = Task(kind, seed)
    found = decisions(result, task)
    start, kept = worth(task, texts_of(result.original)), worth(task, texts_of(result.prompts))
    return found, {"published": result.improved, "start": start, "end": kept, "better": kept > start + 1e-9}


def summary(kind: str, found: Sequence[Decision], runs: Sequence[Mapping[str, Any]]) -> str:
    """What the decisions of one world come to."""
    same, better = [one for one in found if not one.better], [one for one in found if one.better]
    wrong = sum(one.accepted for one in same)
    fooled = len({(one.kind, one.seed) for one in same if one.accepted})
    false = sum(run["published"] and not run["better"] for run in runs)
    three = {True: _mean([one.three for one in better]), False: _mean([one.three for one in same])}
    score = [_mean([run[when] for run in runs]) for when in ("start", "end")]
    return f"""{kind}: {len(runs)} runs, {len(found)} candidates that were run
  not better: {len(same)}; accepted {wrong}, {_share(wrong, len(same))}, in {fooled} of the runs
    by a gate of three examples: {three[False]}
  better: {len(better)}; accepted {sum(one.accepted for one in better)}
    by a gate of three examples: {three[True]}
  published without being better: {false} of {len(runs)} runs
  better in the end: {sum(run["better"] for run in runs)} of {len(runs)} runs; true score {score[0]} -> {score[1]}"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both worlds, and print what became of the candidates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs in each world")
    parser.add_argument("--steps", type=int, default=STEPS)
    # Without a pool, a candidate would replace the texts in force, so that its worth is known from them.
    parser.add_argument("--row", choices=[row.name for row in ROWS if "Joint" in row.name], default="Joint, fused")
    parser.add_argument("--out", type=Path, help="a file for the decisions, one line of JSON each")
    given = parser.parse_args(arguments)
    row = next(row for row in ROWS if row.name == given.row)
    with running() as world:
        for kind in (Kind.NOISY, Kind.NULL):
            found: list[Decision] = []
            runs: list[dict[str, Any]] = []
            for seed in range(given.runs):
                some, came = measured(world, kind, seed, row, given.steps)
                found += some
                runs.append(came)
                if given.out is not None:
                    with given.out.open("a", encoding="utf-8") as file:
                        file.writelines(json.dumps(asdict(one)) + "\n" for one in some)
                print(f"{kind}, seed {seed}: {len(some)} candidates, {came}", file=sys.stderr)
            print(summary(kind, found, runs))


def _candidates(gated: Sequence[Gated]) -> list[list[Gated]]:
    """The decisions by candidate, in the order of their first one; without those that were refused unrun."""
    found: dict[object, list[Gated]] = {}
    for one in gated:
        if one.gate != "edit":
            changes = frozenset((update.site, update.new) for update in (one.update, *one.together))
            found.setdefault((one.step, changes), []).append(one)
    # What a step accepts is decided after all of its candidates were run.
    return sorted(found.values(), key=lambda group: (group[0].step, any(one.accepted for one in group[1:])))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "-"


if __name__ == "__main__":
    main()
