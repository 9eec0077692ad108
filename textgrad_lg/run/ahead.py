"""Ahead: minibatches that are run before their step, where nothing that is known by then will change how they are run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textgrad_lg.example import Example
    from textgrad_lg.run.rollout import Candidate
    from textgrad_lg.run.session import Session
    from textgrad_lg.run.trial import Trial

_SPARE = 10
"""Minibatches that the budget must still pay for before one is run on a guess: about what a step takes."""


@dataclass
class Ahead:
    """The minibatches of a run's steps.

    Attributes:
        session: The run.
        batches: Gives minibatches without end.
        coming: Those of the next steps, as far as they were drawn.
        streak: How many steps in a row had nothing that failed.
    """

    session: Session
    batches: Iterator[list[Example]]
    coming: list[list[Example]]
    streak: int = 0

    def now(self, step: int) -> list[list[Example]]:
        """The minibatches to run in a step: its own, and those after it that will probably pass like the last ones.

        As many as run side by side anyway. How they are run could change only by an edit, and where nothing fails there
        is none.
        """
        session, settings = self.session, self.session.settings
        ahead = 0
        if session.settled():
            places = settings.concurrency // min(settings.batch, len(session.splits.train))
            ahead = max(0, min(self.streak, places - 1, settings.steps - step))
        self.coming += islice(self.batches, max(0, ahead + 2 - len(self.coming)))
        return self.coming[: ahead + 1]

    def step_over(self, *, failed: bool) -> None:
        """A step has ended, in whose minibatch something `failed` or nothing did."""
        self.coming = self.coming[1:]
        self.streak = 0 if failed else self.streak + 1

    def beside(self, taken: Trial | None, places: int | None = None) -> list[tuple[Example, Candidate]]:
        """The next minibatch with the texts that it will probably be run with, to be run beside what is going on.

        It saves the next step the wait for its rollouts, and is paid for in vain where the guess is wrong. So there is
        none where the guess is weak, or where the budget may be needed for what is certain.

        Args:
            taken: The trial of this step that will probably be taken; None for none.
            places: So many rollouts at most; None for as many as there are.
        """
        session, step = self.session, self.session.rollouts.emit.step
        examples = self.coming[1] if step < session.settings.steps else []
        left, cost = session.reserve.calls_left(), len(examples) * session.reserve.run.calls
        if (left is not None and left < _SPARE * cost) or (places is not None and places < len(examples)):
            return []
        if taken is None:
            base = session.pool.entries[session.parent(step + 1)].texts
        elif session.settled():
            base = taken.texts
        else:
            return []
        return [(example, base) for example in examples]
