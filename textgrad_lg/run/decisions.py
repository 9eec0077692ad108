"""Decisions: what became of each proposal, told to observers, kept for the result, and remembered for the optimizer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textgrad_lg.autograd import distinct
from textgrad_lg.events import Gated
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import Attempt

if TYPE_CHECKING:
    from textgrad_lg.run.emit import Emitter
    from textgrad_lg.run.gate import Verdict
    from textgrad_lg.site import Site
    from textgrad_lg.update import Update


@dataclass
class Decisions:
    """What was decided in one run.

    Attributes:
        emit: Tells observers.
        run: The run's id.
        gradients: Those of the step under way: what was said of a Parameter is remembered with what was then tried.
        attempts: Edits that were tried, oldest first: the optimizer's memory.
        made: Every decision, oldest first.
    """

    emit: Emitter
    run: str
    gradients: Gradients = field(default_factory=Gradients)
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    made: list[Gated] = field(default_factory=list[Gated])

    def decide(self, updates: tuple[Update, ...], gate: str, verdict: Verdict, *, final: bool) -> None:
        """A gate has decided on a candidate; where that is `final`, nothing else will be asked about it."""
        fields: dict[str, Any] = {
            "update": updates[0],
            "together": updates[1:],
            "gate": gate,
            "accepted": verdict.accepted,
            "reason": verdict.reason,
            "before": verdict.before,
            "after": verdict.after,
            "n": verdict.n,
            "p_value": verdict.p_value,
            "alpha": verdict.alpha,
        }
        self.emit(Gated, **fields)
        self.made.append(Gated(run=self.run, time=time.time(), step=self.emit.step, **fields))
        if final:
            still = gate == "minibatch" and verdict.change is not None and verdict.change >= 0
            self.remember(updates, verdict, accepted=verdict.accepted, reason=verdict.reason, still_open=still)

    def remember(
        self, updates: tuple[Update, ...], verdict: Verdict, *, accepted: bool, reason: str, still_open: bool
    ) -> None:
        """Keep what became of each Update of a candidate.

        Args:
            updates: Those of the candidate.
            verdict: What the last gate found.
            accepted: Whether it was taken.
            reason: Why, or why not.
            still_open: Whether it was run on a minibatch alone, and not worse there.
        """
        said = self.gradients.parameters()
        for update in updates:
            others = [str(other.site) for other in updates if other is not update]
            why = f"{reason} (together with edits of {', '.join(others)})" if others else reason
            feedback = distinct(said.get(update.site, ()))
            self.attempts.append(Attempt(update, accepted, verdict.change, why, self.emit.step, feedback, still_open))

    def tried(self, site: Site) -> list[str]:
        """What was tried on a Parameter, in a line each, oldest first."""
        return [str(attempt) for attempt in self.attempts if attempt.update.site == site]
