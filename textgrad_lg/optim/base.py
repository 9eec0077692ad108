"""The contracts between the run, its optimizer and the proposers that the optimizer draws from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from textgrad_lg.optim.sources import SHARE, capped
from textgrad_lg.update import Update  # pydantic reads the annotations of Proposals, which the journal keeps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.domain import Domain
    from textgrad_lg.example import Example
    from textgrad_lg.gradient import Gradient, Gradients
    from textgrad_lg.prompt import Demo, Template
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Trace


@dataclass(frozen=True, slots=True)
class Attempt:
    """An edit that was tried, and what became of it: the optimizer's memory.

    Attributes:
        update: The edit.
        accepted: Whether it was taken.
        change: Mean score with it minus mean score without it, on the same examples; None if it was never run.
        reason: Why it was taken or not.
        step: The step it was tried in; 0 where that is not known.
        feedback: What was said of the Parameter in that step, as `autograd.reduce.distinct` tells it; empty where that is
            not known.
        open: Whether little is known of it yet: it was not worse on a minibatch, and was run on nothing else.
    """

    update: Update
    accepted: bool
    change: float | None
    reason: str
    step: int = 0
    feedback: tuple[str, ...] = ()
    open: bool = False

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
        own: The graph's own texts, from which the ceiling on all growth is counted; see `own_text`.
        domains: Which values the settings among the Parameters may take.
        examples: The train examples, so that a text that copies one out can be refused. None of validation or test.
        traces: The traces behind the Gradients, of this step and of steps before, so that a text that copies out of one can
            be refused.
        sources: Whose traces those are that strangers made, by id: an end user, a thread, a group. A trace that is not there
            is a source of its own. None where the traces are runs of the user's own examples: then nobody's share is capped.
        share: Part of the Gradients on one Parameter that one source may give; the rest of them is left out of `gradients`.
        said: What evaluators are told to go by, in the user's words: rubrics, what was expected. What stands there may stand
            in a new text. Comments on a run are no such words, for they repeat what strangers wrote.

    Raises:
        ValueError: `share` is no part.
    """

    parameters: Mapping[Site, Template]
    gradients: Gradients
    goal: str = ""
    demos: Mapping[Site, tuple[Demo, ...]] = field(default_factory=dict["Site", "tuple[Demo, ...]"])
    attempts: tuple[Attempt, ...] = ()
    model: BaseChatModel | None = None
    step: int = 1
    seed: int = 0
    own: Mapping[Site, Template] = field(default_factory=dict["Site", "Template"])
    examples: tuple[Example, ...] = ()
    domains: Mapping[Site, Domain] = field(default_factory=dict["Site", "Domain"])
    traces: tuple[Trace, ...] = ()
    sources: Mapping[str, str] | None = None
    share: float = SHARE
    said: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Here, so that no optimizer sees more, whoever wrote it.
        if self.sources is not None:
            object.__setattr__(self, "gradients", capped(self.gradients, self.sources, self.share))

    def own_text(self, site: Site) -> Template:
        """The graph's own text at `site`: as given in `own`, else as it was before the first edit that was tried."""
        first = next((attempt.update.old for attempt in self.attempts if attempt.update.site == site), None)
        return self.own.get(site) or first or self.parameters[site]

    def tried(self, site: Site, latest: int) -> tuple[Attempt, ...]:
        """The `latest` edits that were tried at `site`, oldest first."""
        found = [attempt for attempt in self.attempts if attempt.update.site == site]
        return tuple(found[max(0, len(found) - latest) :])


class Proposer(Protocol):
    """Writes new texts for one Parameter.

    Proposals come back in a fixed order for a fixed context, best guess first. They need not keep the limits: the
    optimizer puts each through `edit.check`, and reports those it refuses. A proposer that can do nothing in this context
    returns an empty tuple; one that has to tell of a part of its work that failed returns Proposals, of which `updates` and
    `failures` count. A model call that fails for good raises `ModelError`.
    """

    @property
    def name(self) -> str:
        """The name that the journal and the report give it."""
        ...

    async def propose(
        self, site: Site, template: Template, gradients: tuple[Gradient, ...], context: StepContext
    ) -> tuple[Update, ...] | Proposals:
        """Propose new texts for the Parameter at `site`, asked for by `gradients`."""
        ...


class Optimizer(Protocol):
    """Turns Gradients into Updates. It does not run the graph, and it does not commit: the run does both."""

    @property
    def proposals(self) -> int:
        """Candidates at most in one step, joint ones included; a run's plan counts with it."""
        ...

    async def propose(self, context: StepContext) -> Proposals:
        """Propose Updates for the Parameters that the Gradients blame, best guess first, without duplicates."""
        ...


@dataclass(frozen=True, slots=True)
class Proposals:
    """What an optimizer came up with.

    Attributes:
        updates: Updates that may be run, best guess first. Each is a candidate of its own.
        rejected: Updates that were refused by code before any rollout, each with the reason.
        failures: Proposers that failed, in words.
        joint: Candidates that change several Parameters at once, best guess first: each has one Update for each of two or
            more Sites, all of which are to be run, taken and committed together or not at all. Whoever does not know of
            them loses nothing else: `updates` stand on their own.
    """

    updates: tuple[Update, ...] = ()
    rejected: tuple[tuple[Update, str], ...] = ()
    failures: tuple[str, ...] = ()
    joint: tuple[tuple[Update, ...], ...] = ()
