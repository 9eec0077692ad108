"""Settings: how an optimisation run goes about its work."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from textgrad_lg.errors import DataError
from textgrad_lg.types import Strategy, Tools

if TYPE_CHECKING:
    from textgrad_lg.redact import Redactor
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
        concurrency: Rollouts side by side, at most. What a graph does side by side within its run is its own affair.
        calls_in_flight: Calls of one model under way at once, at most, whoever makes them; None for no limit. Either way, a
            server that says it is asked too much (429, 503) has fewer under way for a while.
        repeats: How often each validation and test example is run with the same texts. The mean of its scores enters the
            paired tests, so luck of one run weighs less; worth its price where graph or evaluator are noisy, as `diagnose`
            says. Each repetition asks the models anew.
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
        timeout: Seconds that a run of the graph, and each evaluator, may take, with what it waits for its turn; None for
            as long as it takes. A rollout that takes longer scores 0, and an evaluator then has no score. Their threads
            cannot be ended, and are left behind: they make no further model call, and nothing waits for them.
        redactor: Decides what may be shown of what runs hold: to the model that criticises, to those that propose, to the
            library's own judges, and to spans whose callback has none of its own; see `textgrad_lg.redact`. The graph, and
            evaluators of your own, are given what there is. A run that had one is gone on with only with one.
    """

    steps: int = 4
    batch: int = 8
    validate: int = 2
    alpha: float = 0.05
    significance: float = 0.05
    fractions: tuple[float, float, float] = (0.4, 0.3, 0.3)
    strategy: Strategy = Strategy.AUTO
    concurrency: int = 8
    calls_in_flight: int | None = None
    repeats: int = 1
    seed: int = 0
    carry_context: bool = False
    replay: bool = True
    tools: Tools = Tools.RUN
    pure_tools: tuple[str, ...] = ()
    timeout: float | None = None
    redactor: Redactor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate", "concurrency", "repeats"):
            if getattr(self, name) < 1:
                raise DataError(f"Settings({name}={getattr(self, name)}): it has to be 1 or more")
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise DataError(f"Settings(timeout={self.timeout}): it has to be a number of seconds above 0, or None")
        if self.calls_in_flight is not None and self.calls_in_flight < 1:
            raise DataError(f"Settings(calls_in_flight={self.calls_in_flight}): it has to be 1 or more, or None")
        words: tuple[tuple[str, type[StrEnum]], ...] = (("strategy", Strategy), ("tools", Tools))
        for name, kind in words:
            given = getattr(self, name)
            try:
                object.__setattr__(self, name, kind(given))
            except ValueError as error:
                raise DataError(f"Settings({name}={given!r}): it has to be {', '.join(kind)}") from error
        self._check_tools()
        if self.redactor is not None and not callable(self.redactor):
            raise DataError(
                f"Settings(redactor={self.redactor!r}): it has to be a function of a place and a value, or None"
            )
        for name in ("alpha", "significance"):
            if not 0 < getattr(self, name) < 1:
                raise DataError(f"Settings({name}={getattr(self, name)}): it has to lie between 0 and 1")

    def _check_tools(self) -> None:
        if self.tools is not Tools.RUN and not self.replay:
            raise DataError(f"Settings(tools={self.tools.value!r}, replay=False): without replay all tools run")
        if self.tools is not Tools.RUN and self.repeats > 1:
            raise DataError(
                f"Settings(tools={self.tools.value!r}, repeats={self.repeats}): a repetition runs tools again, which "
                "that keeps them from; leave repeats at 1, or tools at 'run'"
            )
        if isinstance(self.pure_tools, str):
            raise DataError(f"Settings(pure_tools={self.pure_tools!r}): it has to be the names of tools, as a tuple")

    def to_json(self) -> dict[str, JSON]:
        """The settings as plain values; of a redactor only that there is one."""
        # Without it, because `asdict` would copy what it holds.
        plain = asdict(replace(self, redactor=None))
        del plain["redactor"]
        return {
            **plain,
            "fractions": list(self.fractions),
            "strategy": self.strategy.value,
            "tools": self.tools.value,
            "pure_tools": list(self.pure_tools),
            **({} if self.redactor is None else {"redactor": True}),
        }
