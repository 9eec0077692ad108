"""Advice: what to do next, from a diagnosis. Rules of thumb in the open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textgrad_lg.run.diagnosis import Diagnosis

_MOST = 0.5
"""From which share on something is called most of it."""
_GAIN = 0.1
"""The gain for which more examples are asked."""


def advice(found: Diagnosis) -> tuple[str, ...]:
    """What to do next, the most urgent first."""
    return (*_first(found), *_feedback(found), *_optimize(found), *_more(found))


def _first(found: Diagnosis) -> Iterator[str]:
    """What has to be put right before anything else."""
    room, noise = found.headroom, found.noise
    for name, (_, error) in room.errors.items():
        yield f"repair the evaluator {name!r} ({error}); what it cannot judge teaches nothing"
    if room.raised:
        yield f"look at what the graph raises on {', '.join(list(room.raised)[:3])}; new words may not cure it"
    if noise.evaluator and noise.within and noise.evaluator > _MOST * noise.within:
        yield (
            "make the evaluator steadier: most of the noise is its own, it judges the same output now so, now so; "
            "temperature 0, a closer rubric, or a vote of several judgings"
        )


def _feedback(found: Diagnosis) -> Iterator[str]:
    room = found.headroom
    if room.failing and room.silent > _MOST * room.failing:
        yield "let evaluators return (score, why): the reason is what an edit is made from"
    if room.failing and room.worded > _MOST * room.failing:
        yield (
            "look at the form first: most failing outputs hold what was expected among other words, so asking for the exact "
            "form in the prompt that writes them may be all it takes"
        )


def _optimize(found: Diagnosis) -> Iterator[str]:
    room = found.headroom
    if room.score is None or not found.parameters:
        return
    if not room.failing:
        yield (
            "do not optimise yet: nothing failed, so there is nothing to learn from and no gain to prove; bring harder "
            "examples, or a stricter evaluator or pass_at"
        )
        return
    if found.choice is not None:
        only = list(found.optimize_only) if len(found.optimize_only) < len(found.parameters) else []
        only = f", optimize_only={only!r}" if only else ""
        strategy = (
            "strategy auto" if found.critic else "strategy structural, because no model was found that could criticise"
        )
        yield f"optimize(..., optimizer={found.choice.code}{only}), {strategy}"
        yield f"why {found.choice.reason}"
    if not any(each.seen for each in found.parameters) and any(each.effects for each in found.parameters):
        yield (
            "no trial showed an effect"
            + (" (nothing passes, so taking words away cannot make it worse)" if room.score == 0 else "")
            + "; the Parameters to begin with are those that the feedback leads to and whose trials changed the output. More "
            "examples show smaller effects"
        )
    better = [
        str(each.site)
        for each in found.parameters
        if any(effect.seen and (effect.comparison.difference or 0) > 0 for effect in each.effects)
    ]
    if better:
        yield f"the score rose when {', '.join(better)} was replaced: compare the text that was tried with yours"


def _more(found: Diagnosis) -> Iterator[str]:
    few = [str(each.site) for each in found.parameters if not each.reached]
    if found.unreached or few:
        yield f"add examples that reach {', '.join([*few, *found.unreached][:3])}, or leave it out"
    test = found.sizes[2]
    room = found.headroom
    if found.needed is not None and room.failing and room.score is not None and test < found.needed[_GAIN]:
        total = math.ceil(found.needed[_GAIN] * sum(found.sizes) / test) - sum(found.sizes)
        short = found.detectable is None or found.detectable > 1 - room.score
        yield (
            ("the test set is too small to prove any gain that is left; " if short else "")
            + f"to prove a gain of {_GAIN:.2f}, bring {found.needed[_GAIN] - test} more test examples, which is {total} more "
            "in all at the present shares"
        )
    if found.unfinished is not None:
        yield f"call diagnose again with a larger budget and run_dir={str(found.run_dir)!r}; nothing is paid for twice"
