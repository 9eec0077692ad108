"""Settings: how an optimisation run goes about its work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from textgrad_lg.errors import DataError
from textgrad_lg.types import Strategy

if TYPE_CHECKING:
    from textgrad_lg.types import JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an optimisation run goes about its work. Every default is meant to be left alone.

    Attributes:
        steps: Steps at most.
        batch: Train examples a step.
        validate: Proposals of a step that may go on to the validation gate, best first.
        alpha: The validation gate takes an edit when a one-sided paired test gives at most this p-value.
        significance: The result counts as an improvement when the two-sided p-value on the test set is at most this.
        fractions: Shares of the examples for train, validation and test, where the data does not say.
        strategy: How the reverse pass makes its gradients.
        concurrency: Rollouts and model calls side by side, at most.
        seed: All chance comes from it.
    """

    steps: int = 4
    batch: int = 8
    validate: int = 2
    alpha: float = 0.05
    significance: float = 0.05
    fractions: tuple[float, float, float] = (0.4, 0.3, 0.3)
    strategy: Strategy = Strategy.AUTO
    concurrency: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate", "concurrency"):
            if getattr(self, name) < 1:
                raise DataError(f"Settings({name}={getattr(self, name)}): it has to be 1 or more")
        for name in ("alpha", "significance"):
            if not 0 < getattr(self, name) < 1:
                raise DataError(f"Settings({name}={getattr(self, name)}): it has to lie between 0 and 1")

    def to_json(self) -> dict[str, JSON]:
        """The settings as plain values."""
        return {**asdict(self), "fractions": list(self.fractions), "strategy": self.strategy.value}
