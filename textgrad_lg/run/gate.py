"""The gates: an edit is taken only when it does better on the same examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.run.stats import compare

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate found.

    Attributes:
        accepted: Whether the edit goes on.
        reason: Why, in words.
        before: Mean score without the edit; None where nothing could be compared.
        after: Mean score with it.
        n: Examples compared.
        p_value: One-sided, for "the edit does not help"; None where the gate makes no test.
        alpha: The highest `p_value` that is accepted; None where the gate makes no test.
    """

    accepted: bool
    reason: str
    before: float | None
    after: float | None
    n: int
    p_value: float | None = None
    alpha: float | None = None

    @property
    def change(self) -> float | None:
        """Mean score with the edit minus mean score without it."""
        return None if self.before is None or self.after is None else self.after - self.before


def minibatch_gate(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> Verdict:
    """Pass an edit on when its mean on the step's own minibatch is higher. It proves nothing; it saves validation runs."""
    pairs = [(before[name], after.get(name)) for name in before]
    both = [(old, new) for old, new in pairs if old is not None and new is not None]
    if not both:
        return Verdict(False, "no example of the minibatch could be judged both times", None, None, 0)
    old, new = (sum(column) / len(both) for column in zip(*both, strict=True))
    if new > old:
        return Verdict(True, f"minibatch {old:.2f} -> {new:.2f}", old, new, len(both))
    return Verdict(False, f"minibatch {old:.2f} -> {new:.2f}: not better", old, new, len(both))


def validation_gate(
    before: Mapping[str, float | None], after: Mapping[str, float | None], *, alpha: float, seed: int
) -> Verdict:
    """Take an edit when a paired one-sided permutation test on the validation set gives at most `alpha`."""
    found = compare(before, after, seed=seed)
    if found.before is None or found.after is None or found.p_better is None:
        return Verdict(False, "no example of the validation set could be judged both times", None, None, 0)
    text = f"validation {found.before:.2f} -> {found.after:.2f}, n = {found.n}, one-sided p = {found.p_better:.3g}"
    accepted = found.after > found.before and found.p_better <= alpha
    reason = text if accepted else f"{text}: not enough at alpha = {alpha:g}"
    return Verdict(accepted, reason, found.before, found.after, found.n, found.p_better, alpha)
