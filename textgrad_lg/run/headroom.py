"""Headroom: what a graph scores now, what its failing runs have in common, and what luck alone would reach."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.evals import failed
from textgrad_lg.run.rollout import ERROR
from textgrad_lg.run.stats import compare
from textgrad_lg.variable import text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgrad_lg.run.rollout import Rollout

_VARIES = re.compile(r"""(?<!\w)'[^']*'(?!\w)|"[^"]*"|`[^`]*`|\d+(?:[.,]\d+)*""")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Headroom:
    """What a graph scores now, and how it fails. A run is one of an example; a failing one has less than `pass_at`.

    Attributes:
        examples: Examples that were run.
        runs: Times each of them was run.
        score: Mean over the examples of the mean over their runs; None where none could be judged.
        low: Lower end of the 95 % interval of `score`: Wilson's where each example passes or fails in all its runs, else
            the BCa bootstrap over examples.
        high: Upper end of it.
        best: Mean over the examples of the best of their runs: what luck alone reaches; None where there was one run each.
        judged: Runs that were judged.
        failing: Those of them that failed.
        always: Examples that failed in all their runs.
        sometimes: Examples that failed in some.
        worded: Failing runs whose output holds each word that was expected: they may fail by their form alone.
        silent: Failing runs of which no evaluator said why.
        comments: What evaluators said of failing runs of more than one example, with the number of examples, most common
            first. Quoted words and numbers are left out.
        raised: What the graph raised, in words, by example id.
        errors: By evaluator that could not judge: in how many runs, and its first error.
    """

    examples: int
    runs: int
    score: float | None
    low: float | None
    high: float | None
    best: float | None
    judged: int
    failing: int
    always: int
    sometimes: int
    worded: int
    silent: int
    comments: tuple[tuple[str, int], ...]
    raised: dict[str, str]
    errors: dict[str, tuple[int, str]]

    @property
    def share(self) -> float | None:
        """The share of judged runs that failed; None where none was judged."""
        return self.failing / self.judged if self.judged else None


def headroom(runs: Sequence[Sequence[Rollout]], pass_at: float, seed: int) -> Headroom:
    """What repeated runs of the same examples show.

    Args:
        runs: One list of rollouts for each time the examples were run, all in the same order.
        pass_at: From which score a run passes.
        seed: Of the bootstrap.
    """
    groups = list(zip(*runs, strict=True))
    scores = [[rollout.score for rollout in group if rollout.score is not None] for group in groups]
    judged = [values for values in scores if values]
    means = [math.fsum(values) / len(values) for values in judged]
    failures = [[rollout for rollout in group if failed(rollout.scores, pass_at)] for group in groups]
    bad = [rollout for group in failures for rollout in group]
    low, high = _interval(means, seed)
    return Headroom(
        examples=len(groups),
        runs=len(runs),
        score=math.fsum(means) / len(means) if means else None,
        low=low,
        high=high,
        best=math.fsum(map(max, judged)) / len(judged) if judged and len(runs) > 1 else None,
        judged=sum(map(len, scores)),
        failing=len(bad),
        always=sum(0 < len(values) == len(found) for values, found in zip(scores, failures, strict=True)),
        sometimes=sum(0 < len(found) < len(values) for values, found in zip(scores, failures, strict=True)),
        worded=sum(map(_worded, bad)),
        silent=sum(all(not score.comment for score in rollout.scores) for rollout in bad),
        comments=_comments(bad),
        raised={rollout.example.id: rollout.raised for group in groups for rollout in group if rollout.raised},
        errors=_errors([rollout for each in runs for rollout in each]),
    )


def judged_output(rollout: Rollout) -> str:
    """The fields that the evaluators read, or the whole output where they do not say, without ids that are new each run."""
    output = rollout.trace.output() if rollout.trace is not None else {}
    fields = {field for score in rollout.scores for field in score.fields}
    chosen = {name: value for name, value in output.items() if name in fields} or output
    return "\n".join(f"{name}: {text_of(value)}" for name, value in chosen.items())


def _interval(means: Sequence[float], seed: int) -> tuple[float | None, float | None]:
    if not means:
        return None, None
    if all(mean in {0.0, 1.0} for mean in means):
        from scipy.stats import binomtest

        found = binomtest(round(math.fsum(means)), len(means)).proportion_ci(method="wilson")
        return float(found.low), float(found.high)
    # The difference to a graph that always scores 0 is the score itself.
    nothing = dict.fromkeys(map(str, range(len(means))), 0.0)
    compared = compare(nothing, {str(at): mean for at, mean in enumerate(means)}, seed=seed)
    return compared.low, compared.high


def _worded(rollout: Rollout) -> bool:
    expected = [text_of(value) for score in rollout.scores for value in (score.expected or {}).values()]
    wanted = Counter(_words(" ".join(dict.fromkeys(expected))))
    return bool(wanted) and wanted <= Counter(_words(judged_output(rollout)))


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _comments(failing: Sequence[Rollout]) -> tuple[tuple[str, int], ...]:
    found: dict[str, dict[str, None]] = {}
    for rollout in failing:
        for score in rollout.scores:
            if score.comment and score.key != ERROR:
                words = " ".join(_VARIES.sub("…", score.comment).split())
                found.setdefault(words, {})[rollout.example.id] = None
    several = [(words, len(ids)) for words, ids in found.items() if len(ids) > 1]
    return tuple(sorted(several, key=lambda item: -item[1]))


def _errors(rollouts: Sequence[Rollout]) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for rollout in rollouts:
        for score in rollout.scores:
            if score.error is not None:
                times, first = found.get(score.key, (0, score.error))
                found[score.key] = (times + 1, first)
    return found
