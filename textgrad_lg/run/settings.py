"""Settings: how an optimisation run goes about its work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from textgrad_lg.errors import DataError
from textgrad_lg.types import Strategy, Tools

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
        carry_context: Whether to carry the context into threads that the graph starts by itself, in the whole process,
            while the run lasts; see `textgrad_lg.carry_context`. A run warns where that is needed.
        replay: Whether a rollout gets the replies of earlier rollouts on its example for model calls that ask the same.
            It then pays for what a changed text changes, and the same call has the same reply on both sides of a
            comparison. Off, every rollout makes all its calls, as is needed to measure how much they vary.
        tools: What becomes of tool calls in rollouts. "run": they run, each time. "record": no call runs twice on one
            example. "replay": once a rollout on an example has ended, tools do not run on it any more; a rollout that
            then calls one otherwise is not judged.
        pure_tools: Names of tools that may run again under "replay".
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
    carry_context: bool = False
    replay: bool = True
    tools: Tools = Tools.RUN
    pure_tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate", "concurrency"):
            if getattr(self, name) < 1:
                raise DataError(f"Settings({name}={getattr(self, name)}): it has to be 1 or more")
        words: tuple[tuple[str, type[StrEnum]], ...] = (("strategy", Strategy), ("tools", Tools))
        for name, kind in words:
            given = getattr(self, name)
            try:
                object.__setattr__(self, name, kind(given))
            except ValueError as error:
                raise DataError(f"Settings({name}={given!r}): it has to be {', '.join(kind)}") from error
        if self.tools is not Tools.RUN and not self.replay:
            raise DataError(f"Settings(tools={self.tools.value!r}, replay=False): without replay all tools run")
        if isinstance(self.pure_tools, str):
            raise DataError(f"Settings(pure_tools={self.pure_tools!r}): it has to be the names of tools, as a tuple")
        for name in ("alpha", "significance"):
            if not 0 < getattr(self, name) < 1:
                raise DataError(f"Settings({name}={getattr(self, name)}): it has to lie between 0 and 1")

    def to_json(self) -> dict[str, JSON]:
        """The settings as plain values."""
        return {
            **asdict(self),
            "fractions": list(self.fractions),
            "strategy": self.strategy.value,
            "tools": self.tools.value,
            "pure_tools": list(self.pure_tools),
        }
