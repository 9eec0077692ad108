"""What the benchmarks share: cases that take turns, and differences between neighbours instead of totals.

A shared machine is slower at one moment than at the next, so nothing is compared across moments. In each round every case
runs once, in an order drawn anew, and what a case adds is the difference to the base case of the same round. Printed are
medians of those differences with their quartiles, in CPU time: other processes' turns are not in it.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

SEED = 0


@dataclass(frozen=True)
class Samples:
    """The seconds that each round took, by case.

    Attributes:
        cpu: CPU time of the whole process.
        wall: Wall time.
    """

    cpu: Mapping[str, list[float]]
    wall: Mapping[str, list[float]]


@dataclass(frozen=True)
class Figure:
    """A median with its quartiles, in microseconds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:7.1f} ({self.low:.1f} to {self.high:.1f})"


def take_turns(
    cases: Mapping[str, Callable[[], object]],
    rounds: int,
    around: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext(),
) -> Samples:
    """Run each case once a round, after a round that is not counted, and time it.

    What was there before is taken out of the garbage collector's sight, and garbage of one case is not left to the next.

    Args:
        cases: What to run, by name.
        rounds: How often.
        around: Gives the block in which a case runs; opening and closing it is not timed.
    """
    order = random.Random(SEED)
    names = list(cases)
    cpu: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    for name, case in cases.items():
        with around(name):
            case()
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            order.shuffle(names)
            for name in names:
                case = cases[name]
                gc.collect()
                with around(name):
                    wall_start, cpu_start = time.perf_counter(), time.process_time()
                    case()
                    cpu[name].append(time.process_time() - cpu_start)
                    wall[name].append(time.perf_counter() - wall_start)
    finally:
        gc.unfreeze()
    return Samples(cpu, wall)


def added(seconds: Mapping[str, list[float]], case: str, base: str, parts: int) -> Figure:
    """What `case` takes more than `base` in the same round, for each of `parts`, in microseconds."""
    return _figure([(mine - its) / parts * 1e6 for mine, its in zip(seconds[case], seconds[base], strict=True)])


def taken(seconds: Mapping[str, list[float]], case: str, parts: int) -> Figure:
    """What `case` takes for each of `parts`, in microseconds."""
    return _figure([mine / parts * 1e6 for mine in seconds[case]])


def verdict(value: float, limit: float) -> str:
    """Whether a figure is within its limit, in words."""
    return "holds" if value <= limit else "DOES NOT HOLD"


def _figure(values: list[float]) -> Figure:
    low, median, high = statistics.quantiles(values, n=4)
    return Figure(median, low, high)
