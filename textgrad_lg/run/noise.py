"""Noise: how much of a score is chance, and how many examples it takes to see a gain through it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

POWER = 0.8
"""The chance with which a gain that is there is to be seen."""


@dataclass(frozen=True, slots=True)
class Noise:
    """How much the score of one example varies by chance. What was not measured is None.

    The model is a nested one: examples differ, runs of one example differ, judgings of one output differ. Each variance
    is the mean of those within the groups, weighted by their degrees of freedom.

    Attributes:
        runs: Times each example was run with the same texts.
        judgings: Times the output of each first run was judged.
        within: Variance of the scores of one example's runs: what the graph and the evaluator add together.
        evaluator: Variance of the scores of one output.
        moved: Examples whose judged output was not the same in all their runs.
    """

    runs: int
    judgings: int
    within: float | None
    evaluator: float | None
    moved: int

    @property
    def graph(self) -> float | None:
        """Variance that the graph alone adds: `within` without `evaluator`, and not below 0."""
        return None if self.within is None else max(0.0, self.within - (self.evaluator or 0.0))


def pooled(groups: Iterable[Sequence[float | None]]) -> float | None:
    """The variance within groups, pooled over them by degrees of freedom; None where no group has two values.

    Args:
        groups: Repeated measurements, one group for each thing that was measured; None is left out.
    """
    squares, degrees = 0.0, 0
    for group in groups:
        values = [value for value in group if value is not None]
        if values:
            mean = math.fsum(values) / len(values)
            squares += math.fsum((value - mean) ** 2 for value in values)
            degrees += len(values) - 1
    return squares / degrees if degrees else None


def needed(gain: float, within: float, *, significance: float = 0.05, power: float = POWER) -> int:
    """Test examples that are needed to see a gain of the mean score in a paired test.

    Connor's formula for paired proportions, with the share of examples whose score changes taken as the gain itself plus
    what changes by chance between two runs of one graph, which is `2 * within` for pass or fail. For graded scores
    between 0 and 1 it is the number for a gain that comes as all or nothing, and so the most.

    Source: R. J. Connor (1987), "Sample size for testing differences in proportions for the paired-sample design",
    Biometrics 43, 207-211. And no fewer than the exact sign test needs to reject at all.

    Args:
        gain: Of the mean score, above 0 and at most 1.
        within: Variance of the score between runs of one example.
        significance: The two-sided p-value that counts as significant.
        power: The chance with which the gain is to be seen.

    Raises:
        ValueError: `gain` is not above 0, or above 1.
    """
    if not 0 < gain <= 1:
        msg = f"gain is {gain}; it is a difference of mean scores, above 0 and at most 1"
        raise ValueError(msg)
    from scipy.stats import norm

    changing = min(1.0, gain + 2 * within)
    rejects, finds = float(norm.ppf(1 - significance / 2)), float(norm.ppf(power))
    root = rejects * math.sqrt(changing) + finds * math.sqrt(changing - gain**2)
    return max(math.ceil((root / gain) ** 2), math.ceil(math.log2(2 / significance)))


def detectable(examples: int, within: float, *, significance: float = 0.05) -> float | None:
    """The smallest gain, in whole points of 0.01, that so many test examples show; None where they show none."""
    points = range(1, 101)
    return next((at / 100 for at in points if needed(at / 100, within, significance=significance) <= examples), None)
