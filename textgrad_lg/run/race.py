"""Race: a candidate is run on more and more examples, and only as long as it can still win."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from textgrad_lg.run.gate import Verdict

if TYPE_CHECKING:
    from textgrad_lg.example import Example

Scores = Mapping[str, "float | None"]
"""Score by example id; None where it could not be judged."""
Gate = Callable[[Scores, Scores], Verdict]
"""Decides from the scores before and after."""
TOP = 1.0
"""The best score, where all that were seen lie between 0 and it."""


def order(examples: Sequence[Example], before: Scores) -> list[Example]:
    """The examples on which most can be won first, so that a candidate that wins nothing is found out early.

    The order decides nothing else: a race ends early only where the rest could not change its end.
    """
    return sorted(examples, key=lambda example: _room(before.get(example.id)), reverse=True)


def lost(gate: Gate, before: Scores, after: Scores, rest: Sequence[Example]) -> Verdict | None:
    """The verdict on a candidate that cannot win any more, whatever the examples in `rest` would bring; else None.

    No matter of chance: `gate` is asked what it would say if each of the rest reached the best score. Both gates favour a
    candidate the more, the higher each of its scores is (for the sign-flip test: a higher score raises the sum that was seen
    by at least as much as the sum under any flip), so if that is not enough, nothing is. Where the test's p-value is not
    exact but comes from random flips (more than 13 graded changes), this holds but for the chance in these.

    Args:
        gate: The gate, whose verdict never gets worse when a score in `after` rises.
        before: Scores without the candidate, of all examples.
        after: Scores with it, of those that were run.
        rest: The examples that were not run.
    """
    seen = [score for score in (*before.values(), *after.values()) if score is not None]
    if not rest or not seen or min(seen) < 0 or max(seen) > TOP:
        return None
    best = {**after, **{example.id: TOP for example in rest}}
    if gate(before, best).accepted:
        return None
    found = gate({name: before.get(name) for name in after}, after)
    reason = f"{found.reason}; not run on the other {len(rest)}, which could not have changed that"
    return replace(found, accepted=False, reason=reason, p_value=None)


def closed(gate: Gate, before: Scores, examples: Sequence[Example]) -> str | None:
    """Why no candidate could pass, whatever it did on the examples; None where one could.

    Args:
        gate: As in `lost`.
        before: Scores of the texts in force.
        examples: All of them.
    """
    if lost(gate, before, {}, examples) is None:
        return None
    left = sum(_room(before.get(example.id)) > 0 for example in examples)
    judged = sum(before.get(example.id) is not None for example in examples)
    if not left:
        those = "" if judged == len(examples) else " that could be judged"
        return f"all {judged} validation examples{those} pass, so no edit could be proven to be better"
    return (
        f"only {left} of {len(examples)} validation examples do not pass yet, and even an edit that makes all of them pass "
        "could be luck by the test of the validation gate; give more examples, or a higher Settings(alpha=...)"
    )


def _room(score: float | None) -> float:
    """How much can be won; nothing where there is no score to compare with."""
    return -1.0 if score is None else TOP - score
