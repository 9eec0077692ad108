"""Pool: every candidate that was run on the whole validation set, the graph as it was given first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textgrad_lg.optim import Member
from textgrad_lg.run.objectives import Front, Objectives, measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from textgrad_lg.prompt import Template
    from textgrad_lg.run.prices import Prices
    from textgrad_lg.run.rollout import Candidate, Rollout


@dataclass(frozen=True, slots=True)
class Entry:
    """One candidate.

    Attributes:
        texts: The texts it was run with, where they are not the graph's own.
        scores: Its score on each validation example; None where it could not be judged.
        objectives: What it is worth, and what a run of it takes.
        member: The same for optimizers that have a pool.
    """

    texts: Candidate
    scores: Mapping[str, float | None]
    objectives: Objectives
    member: Member


@dataclass
class Pool:
    """The candidates, and which of them is in force.

    Attributes:
        prices: What model calls cost.
        entries: The candidates, oldest first.
        current: The number of the one in force.
    """

    prices: Prices
    entries: list[Entry] = field(default_factory=list["Entry"])
    current: int = 0

    def add(
        self,
        texts: Candidate,
        rollouts: Sequence[Rollout],
        every: Iterable[Template],
        parents: tuple[int, ...] = (),
    ) -> int:
        """Take a candidate in that was run on the whole validation set; returns its number.

        Args:
            texts: The texts it was run with, where they are not the graph's own.
            rollouts: Its runs of the validation set.
            every: The texts of all Parameters under it.
            parents: The numbers of the candidates it was made from.
        """
        scores = {rollout.example.id: rollout.score for rollout in rollouts}
        known = {name: score for name, score in scores.items() if score is not None}
        member = Member({site: text.new for site, text in texts.items()}, known, parents)
        self.entries.append(Entry(texts, scores, measured(rollouts, every, self.prices), member))
        return len(self.entries) - 1

    @property
    def members(self) -> tuple[Member, ...]:
        """The candidates as optimizers see them."""
        return tuple(entry.member for entry in self.entries)

    def front(self) -> Front:
        """Those that no other beats in every objective at once."""
        return Front.of([entry.texts for entry in self.entries], [entry.objectives for entry in self.entries])
