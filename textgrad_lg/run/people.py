"""People: what they said of the graph's runs, as seeds of the reverse pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from textgrad_lg.errors import DataError
from textgrad_lg.evals.feedback import scores_from_feedback
from textgrad_lg.example import Score
from textgrad_lg.run.rollout import same_texts

if TYPE_CHECKING:
    from textgrad_lg.evals import Evals
    from textgrad_lg.run.rollout import Candidate, Rollout
    from textgrad_lg.types import JSON


@dataclass(frozen=True)
class People:
    """What people said of what the graph made of examples.

    Attributes:
        scores: What it amounts to, by example id.
    """

    scores: Mapping[str, tuple[Score, ...]] = field(default_factory=dict[str, "tuple[Score, ...]"])

    @classmethod
    def of(cls, feedback: Mapping[str, Sequence[object]], evals: Evals) -> Self:
        """Read feedback; see `optimize`.

        Raises:
            DataError: It is on an example that there is not, or cannot be read.
        """
        known = {example.id for example in evals.examples}
        for name, said in feedback.items():
            if name not in known:
                raise DataError(f"there is feedback on the example {name!r}, and no example has that id")
            if isinstance(said, str | Mapping):
                raise DataError(f"the feedback on the example {name!r} has to be a list; put the one item into a list")
        return cls({name: scores_from_feedback(said) for name, said in feedback.items()})

    def on(self, rollout: Rollout, texts: Candidate, start: Candidate) -> tuple[Score, ...]:
        """What people said of a run; nothing where it did not go by the texts that they saw at work.

        Args:
            rollout: A run.
            texts: The texts it was run with.
            start: Those that the optimisation began with.
        """
        said = self.scores.get(rollout.example.id, ())
        return said if said and same_texts(rollout.trace, texts, start) else ()

    def identity(self) -> dict[str, JSON]:
        """What of it makes a run the same run."""
        if not self.scores:
            return {}
        said = [[name, score.key, score.value, score.comment] for name, found in self.scores.items() for score in found]
        content = hashlib.sha256(json.dumps(said).encode()).hexdigest()
        return {"feedback": f"on {len(self.scores)} examples with hash {content[:12]}"}
