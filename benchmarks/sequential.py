"""What a sequential test, or a share of alpha for each candidate, would bring to the validation gate.

    python -m benchmarks.sequential

Nothing of a run is made here but its arithmetic: examples that pass or fail, the exact paired test of the gate, and eight
examples at a time, as many as run side by side. Two tables:

- One candidate: how often it is taken, and on how many examples it is run to the end of the decision. The exact test, given
  up where it cannot be passed any more (as `textgrad_lg.run.race` does), beside two group-sequential tests and an e-value.
- A whole run: eight candidates, one after the other, on the same validation set, and then the test set. The gate at alpha for
  each candidate, as it is, beside the gate at alpha / 8, which keeps the error of all eight together at alpha (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special, stats

ALPHA, DRAWS, SIZE, CHUNK, CANDIDATES, TEST = 0.05, 4_000, 60, 8, 8, 100
LOOKS = [*range(CHUNK, SIZE, CHUNK), SIZE]

Array = Any  # of numpy, in whose stubs each operation has a type of its own
World = Callable[[Array, Array], tuple[Array, Array]]
Rule = Callable[[Array, Array], Array]

# From two lots of each example: whether it passes without the candidate, and with it.
WORLDS: dict[str, World] = {
    "each reply right by chance, 0.6 with and without": lambda one, two: (one < 0.6, two < 0.6),
    "wins 5 %, loses 5 %": lambda one, _: (one < 0.5, (one >= 0.05) & (one < 0.55)),
    "loses 10 %": lambda one, _: (one < 0.5, (one >= 0.1) & (one < 0.5)),
    "wins 20 %": lambda one, _: (one < 0.5, one < 0.7),
    "0.5 to 0.7, each reply by chance": lambda one, two: (one < 0.5, two < 0.7),
}

RUNS: dict[str, tuple[Rule, bool]] = {
    "none helps, 0.6 by chance": (lambda lots, _told: np.full_like(lots, 0.6), False),
    "one wins 20 %, breaks none": (lambda lots, told: lots < np.where(told, 0.7, 0.5), True),
    "one helps, 0.5 to 0.7 by chance": (lambda lots, told: np.where(told, 0.7, 0.5) + 0 * lots, True),
}

_WON, _LOST = np.meshgrid(np.arange(TEST + 1), np.arange(TEST + 1), indexing="ij")
P_VALUE: Array = stats.binom.sf(_WON - 1, _WON + _LOST, 0.5)
"""One-sided p-value of the exact paired test, by the numbers of examples won and lost."""
E_VALUE: Array = np.exp(
    (_WON + _LOST + 1) * math.log(2) + stats.beta.logsf(0.5, _WON + 1, _LOST + 1) + special.betaln(_WON + 1, _LOST + 1)
)
"""How much a bet that an example that changes is rather won has made: on all shares above one half alike."""


def decide(before: Array, after: Array, passed: Sequence[Rule]) -> tuple[Array, Array]:
    """Whether each draw is taken, and after how many examples that is known; `passed` is the rule of each look."""
    change = after.astype(int) - before
    taken, open_ = np.zeros(len(change), bool), np.ones(len(change), bool)
    run = np.full(len(change), SIZE)
    for at, size in enumerate(LOOKS):
        won, lost = (change[:, :size] > 0).sum(1), (change[:, :size] < 0).sum(1)
        room = (~before[:, size:]).sum(1)
        yes = open_ & passed[at](won, lost)
        # What is left could win wherever there is room, and lose nothing.
        no = open_ & ~yes & ~np.any([rule(won + room, lost) for rule in passed[at + 1 :]], axis=0)
        taken |= yes
        run[yes | no] = size
        open_ &= ~(yes | no)
    return taken, run


def _at_most(bound: float) -> Rule:
    return lambda won, lost: P_VALUE[won, lost] <= bound


def _obrien_fleming(share: float, bound: float) -> float:
    return float(stats.norm.sf(stats.norm.isf(max(bound, 1e-9)) / math.sqrt(share)))


def spent(shape: Callable[[float, float], float], seed: int) -> list[Rule]:
    """The rule of each look, so that in all at most alpha of the draws without an effect pass, at the worst of three rates."""
    low, high = 0.0, ALPHA
    for _ in range(12):
        middle = (low + high) / 2
        rules = [_at_most(shape(size / SIZE, middle)) for size in LOOKS]
        worst = 0.0
        for rate in (0.2, 0.5, 1.0):
            lot = np.random.default_rng(seed).random((DRAWS, SIZE))
            won, lost = (np.cumsum(part, axis=1) for part in (lot < rate / 2, (lot >= rate / 2) & (lot < rate)))
            hits = [rule(won[:, size - 1], lost[:, size - 1]) for rule, size in zip(rules, LOOKS, strict=True)]
            worst = max(worst, np.any(hits, axis=0).mean())
        low, high = (middle, high) if worst <= ALPHA else (low, middle)
    return [_at_most(shape(size / SIZE, low)) for size in LOOKS]


def one(world: World, seed: int = 0) -> dict[str, tuple[float, float]]:
    """How often a candidate is taken, and the examples it is run on: all if it is taken, as the next is compared with it."""
    before, after = world(*np.random.default_rng(seed).random((2, DRAWS, SIZE)))
    first = np.argsort(before, axis=1, kind="stable")  # those on which something can be won, as the race orders them
    ordered = [np.take_along_axis(side, first, axis=1) for side in (before, after)]
    found = {"curtailed": decide(ordered[0], ordered[1], [*[_at_most(0.0)] * (len(LOOKS) - 1), _at_most(ALPHA)])}
    # The early yes of the others needs a random order.
    found["O'Brien-Fleming"] = decide(before, after, spent(_obrien_fleming, seed))
    found["Pocock"] = decide(before, after, spent(lambda _, bound: bound, seed))
    found["e-value"] = decide(before, after, [lambda won, lost: E_VALUE[won, lost] >= 1 / ALPHA] * len(LOOKS))
    return {name: (taken.mean(), np.where(taken, SIZE, run).mean()) for name, (taken, run) in found.items()}


def whole(chance: Rule, size: int, alpha: float, *, helps: bool, seed: int = 0) -> tuple[float, float, float]:
    """Runs of eight candidates, of which at most one helps: how many took one that does not, claim a gain, and found the one."""
    rng = np.random.default_rng(seed)
    place = rng.integers(CANDIDATES, size=DRAWS) if helps else np.full(DRAWS, -1)

    def outcomes(lots: Array, told: Array) -> Array:
        return rng.random(lots.shape) < chance(lots, told[:, None])

    def counted(before: Array, after: Array) -> tuple[Array, Array]:
        return (after & ~before).sum(1), (before & ~after).sum(1)

    told, took, useless = (np.zeros(DRAWS, bool) for _ in range(3))
    lots = rng.random((DRAWS, size))
    before = outcomes(lots, told)
    for at in range(CANDIDATES):
        then = told | (place == at)
        after = outcomes(lots, then)
        taken = P_VALUE[counted(before, after)] <= alpha
        useless |= taken & (then == told)
        before, told, took = np.where(taken[:, None], after, before), np.where(taken, then, told), took | taken
    lots = rng.random((DRAWS, TEST))
    claimed = took & (P_VALUE[counted(outcomes(lots, np.zeros(DRAWS, bool)), outcomes(lots, told))] <= ALPHA / 2)
    return useless.mean(), claimed.mean(), (claimed & told).mean()


def main() -> None:
    """Print both tables."""
    rows = {name: one(world) for name, world in WORLDS.items()}
    print(f"One candidate, {SIZE} examples: examples run, share taken; {DRAWS} draws")
    print("| world |", " | ".join(next(iter(rows.values()))), "|")
    for name, found in rows.items():
        print(f"| {name} |", " | ".join(f"{run:.1f}, {taken:.1%}" for taken, run in found.values()), "|")
    print(
        f"\n{CANDIDATES} candidates and {TEST} test examples: took a useless one, claims a gain, found the one that helps"
    )
    for name, (chance, helps) in RUNS.items():
        for size in (30, SIZE):
            found = [whole(chance, size, alpha, helps=helps) for alpha in (ALPHA, ALPHA / CANDIDATES)]
            print(
                f"| {name} | {size} |", " | ".join(", ".join(f"{share:.1%}" for share in each) for each in found), "|"
            )


if __name__ == "__main__":
    main()
