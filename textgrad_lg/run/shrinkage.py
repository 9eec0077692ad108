"""Shrinkage: what is left on the test set of the gain that an edit was chosen for on the validation set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textgrad_lg.run.stats import RESAMPLES

if TYPE_CHECKING:
    from textgrad_lg.run.stats import Comparison

_CLEAR = 0.05
"""The p-value from which the words say that the two gains differ."""
_HALF = 0.5
_CHUNK = 256  # keeps memory small
_SEEN = 0.005  # a difference below it is none in the two digits that are printed


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """The gain on validation beside the gain on test.

    Of many candidates the one is taken that did best on the validation set, and some of that was luck: the winner's curse.
    The gain on the test set is not chosen for anything, so it is the one to believe.

    Attributes:
        validation: The gain on the validation set.
        test: The gain on the test set.
        p_value: One-sided: how often a gain on validation that is so much larger comes by chance alone, if the examples of
            both sets had been divided between them anew. From a permutation test of two independent samples.
    """

    validation: float
    test: float
    p_value: float

    @property
    def lost(self) -> float:
        """How much of the gain on validation the test set does not show; below 0 where it shows more."""
        return self.validation - self.test

    @property
    def large(self) -> bool:
        """Whether they differ much: by more than chance explains, or so that less than half of the gain is left."""
        return self.lost >= _SEEN and (self.p_value <= _CLEAR or self.test < _HALF * self.validation)

    def __str__(self) -> str:
        both = f"gain on validation {self.validation:+.2f}, on test {self.test:+.2f}"
        if not self.large:
            return both
        clear = self.p_value <= _CLEAR
        how, luck = ("more than chance explains", "was") if clear else ("which may be chance", "may have been")
        return (
            f"{both}: it shrank by {self.lost:.2f}, {how} (p = {self.p_value:.2g}). The edit was chosen for its gain on "
            f"validation, and a part of that {luck} luck (the winner's curse); believe the gain on test"
        )


def shrinkage(validation: Comparison | None, test: Comparison | None, *, seed: int = 0) -> Shrinkage | None:
    """Compare the gain on the validation set with that on the test set; None where one of them is not known.

    Args:
        validation: The accepted texts against the first ones on the validation set.
        test: The same on the test set.
        seed: Of all chance.
    """
    if validation is None or test is None or validation.difference is None or test.difference is None:
        return None
    import numpy as np
    from scipy import stats

    seen, held = ([new - old for _, old, new in found.per_example] for found in (validation, test))
    p_value = 1.0
    if len(set(seen + held)) > 1:
        found = stats.permutation_test(
            (np.array(seen), np.array(held)),
            _gap,
            permutation_type="independent",
            alternative="greater",
            n_resamples=RESAMPLES,
            batch=_CHUNK,
            vectorized=True,
            rng=np.random.default_rng(seed),
        )
        p_value = float(found.pvalue)
    return Shrinkage(validation.difference, test.difference, p_value)


def _gap(seen: Any, held: Any, axis: int) -> Any:
    """The difference of the two means; of numpy arrays, for which scipy gives no type."""
    return seen.mean(axis=axis) - held.mean(axis=axis)
