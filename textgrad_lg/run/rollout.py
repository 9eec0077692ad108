"""Rollout: one run of the graph on one example, judged, and the texts it was made with."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter

from textgrad_lg.evals import example_score, failed
from textgrad_lg.example import Example, Score
from textgrad_lg.overlay import Replacement
from textgrad_lg.record.messages import kept_in
from textgrad_lg.record.offered import offered
from textgrad_lg.run.spend import Spend
from textgrad_lg.site import Site
from textgrad_lg.trace import Trace

Candidate = Mapping[Site, Replacement]
"""The Parameters whose text differs from the graph's own."""
ERROR = "error"
"""The key of the one score of a rollout whose graph raised."""
TIMEOUT = "timeout"
"""The key of the one score of a rollout that took too long."""
REPLAY = "replay"
"""The key of the one score, without a value, of a rollout that cannot be judged, because a tool was not run."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One run of the graph on one example, judged.

    Attributes:
        example: The example.
        trace: The recorded run; None where the graph raised before anything was recorded.
        scores: One or more an evaluator. Where the graph raised: one score of 0 with the exception as its comment.
        again: The scores of further runs of the same, where it was repeated; None where one could not be judged.
    """

    example: Example
    trace: Trace | None
    scores: tuple[Score, ...]
    again: tuple[float | None, ...] = ()

    @property
    def raised(self) -> str | None:
        """What the graph raised, in words; None where it did not raise."""
        return next((score.comment for score in self.scores if score.key in {ERROR, TIMEOUT}), None)

    @property
    def score(self) -> float | None:
        """Mean of the evaluators' scores, and where it was repeated, the mean of that over all runs; None where none is."""
        known = [score for score in (example_score(self.scores), *self.again) if score is not None]
        return math.fsum(known) / len(known) if self.again and known else next(iter(known), None)


def candidate_hash(candidate: Candidate) -> str:
    """Twelve hex digits of the changed texts; the same for the same texts, "original" where none is changed."""
    if not candidate:
        return "original"
    content = json.dumps(sorted((str(site), change.new.hash) for site, change in candidate.items()))
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def same_texts(trace: Trace | None, one: Candidate, other: Candidate) -> bool:
    """Whether a run went by the same texts under two candidates: they differ in no text that it visited."""
    visited = visited_in(trace)
    return texts_at(one, visited) == texts_at(other, visited)


def scores_by_id(rollouts: Sequence[Rollout]) -> dict[str, float | None]:
    """Each example's score, by its id."""
    return {rollout.example.id: rollout.score for rollout in rollouts}


def failing(rollouts: Sequence[Rollout], pass_at: float) -> list[Rollout]:
    """The rollouts that some evaluator gave less than `pass_at`."""
    return [rollout for rollout in rollouts if failed(rollout.scores, pass_at)]


def place_of(site: Site) -> tuple[str, str, str]:
    """The place where the text of a Site enters: its path, agent and role."""
    return "/".join(site.path), site.agent or "", site.role


def visited_in(trace: Trace | None) -> set[tuple[str, str, str]]:
    """The places where a text entered, or could have entered, a run."""
    if trace is None:
        return set()
    entered = {place_of(variable.site) for variable in trace.variables if variable.site is not None}
    entered |= {place_of(kept.site) for span in trace.spans for kept in kept_in(span)}
    return entered | {place_of(place) for span in trace.spans for place, _ in offered(span)}


def texts_at(candidate: Candidate, visited: AbstractSet[tuple[str, ...]]) -> dict[str, str]:
    """The changed texts that a run which visited these places was made with."""
    return {str(site): change.new.hash for site, change in sorted(candidate.items()) if place_of(site) in visited}


@cache
def scores_adapter() -> TypeAdapter[tuple[Score, ...]]:
    """Reads and writes the Scores of a run."""
    return TypeAdapter(tuple[Score, ...])


@cache
def spend_adapter() -> TypeAdapter[Spend]:
    """Reads and writes what was spent. Built on first use: building it costs more than importing a module."""
    return TypeAdapter(Spend)
