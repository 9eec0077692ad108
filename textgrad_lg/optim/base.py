"""The contracts between the run, its optimizer and the proposers that the optimizer draws from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from textgrad_lg.update import Update  # pydantic reads the annotations of Proposals, which the journal keeps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.gradient import Gradient, Gradients
    from textgrad_lg.prompt import Demo, Template
    from textgrad_lg.site import Site


@dataclass(frozen=True, slots=True)
class Attempt:
    """An edit that was tried, and what became of it: the optimizer's memory.

    Attributes:
        update: The edit.
        accepted: Whether it was taken.
        change: Mean score with it minus mean score without it, on the same examples; None if it was never run.
        reason: Why it was taken or not.
    """

    update: Update
    accepted: bool
    change: float | None
    reason: str

    def __str__(self) -> str:
        """What was tried and what became of it, in one line."""
        change = "never run" if self.change is None else f"score {self.change:+.2f}"
        return f"{self.update.why} ({'accepted' if self.accepted else 'rejected'}, {change})"


@dataclass(frozen=True, slots=True)
class StepContext:
    """All that an optimizer may look at in one step.

    Attributes:
        parameters: The trainable Parameters and their texts in force.
        gradients: The Gradients of this step's minibatch.
        goal: What the graph is for, in the user's words; may be empty.
        demos: Demonstrations from the train set that each Parameter could carry, best first.
        attempts: What was tried before, oldest first.
        model: Writes the proposals; None where there is none.
        step: Counts from 1.
        seed: The run's seed; all chance comes from it and `step`.
    """

    parameters: Mapping[Site, Template]
    gradients: Gradients
    goal: str = ""
    demos: Mapping[Site, tuple[Demo, ...]] = field(default_factory=dict["Site", "tuple[Demo, ...]"])
    attempts: tuple[Attempt, ...] = ()
    model: BaseChatModel | None = None
    step: int = 1
    seed: int = 0


class Proposer(Protocol):
    """Writes new texts for one Parameter.

    Proposals come back in a fixed order for a fixed context, best guess first. They need not keep the limits: the
    optimizer puts each through `edit.check`, and reports those it refuses. A proposer that can do nothing in this context
    returns an empty tuple. A model call that fails for good raises `ModelError`.
    """

    @property
    def name(self) -> str:
        """The name that the journal and the report give it."""
        ...

    async def propose(
        self, site: Site, template: Template, gradients: tuple[Gradient, ...], context: StepContext
    ) -> tuple[Update, ...]:
        """Propose new texts for the Parameter at `site`, asked for by `gradients`."""
        ...


class Optimizer(Protocol):
    """Turns Gradients into Updates. It does not run the graph, and it does not commit: the run does both."""

    @property
    def proposals(self) -> int:
        """Updates at most in one step; a run's plan counts with it."""
        ...

    async def propose(self, context: StepContext) -> Proposals:
        """Propose Updates for the Parameters that the Gradients blame, best guess first, without duplicates."""
        ...


@dataclass(frozen=True, slots=True)
class Proposals:
    """What an optimizer came up with.

    Attributes:
        updates: Updates that may be run, best guess first.
        rejected: Updates that were refused by code before any rollout, each with the reason.
        failures: Proposers that failed, in words.
    """

    updates: tuple[Update, ...] = ()
    rejected: tuple[tuple[Update, str], ...] = ()
    failures: tuple[str, ...] = ()
