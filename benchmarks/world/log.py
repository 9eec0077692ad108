"""The log of a world's calls, and what is reported of it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WORKER, CRITIC = "worker", "critic"
TEST = "test"


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was answered.

    Attributes:
        model: WORKER or CRITIC.
        kind: A node's name; of the critic "gradient", "proposal", or "critic" and "other" where it is not known.
        start: When the whole request was there, in seconds of one clock.
        end: When the reply was sent.
        sent: Tokens of the request's messages.
        forms: Tokens of the definitions of tools and of the reply's form.
        received: Tokens of the reply.
        split: The split whose example it is about, of a node's call.
    """

    model: str
    kind: str
    start: float
    end: float
    sent: int
    forms: int
    received: int
    split: str = ""


@dataclass
class Log:
    """Everything that was called since the world was set up anew."""

    calls: list[Call] = field(default_factory=list[Call])
    solved_calls: int | None = None
    solved_at: float | None = None
    began: int = 0
    first: float | None = None
    most: int = 0
    open: int = 0

    def begin(self, now: float) -> None:
        """A request has come in."""
        self.began += 1
        self.open += 1
        self.most = max(self.most, self.open)
        self.first = now if self.first is None else self.first

    def end(self, call: Call) -> None:
        """A request has been answered."""
        self.open -= 1
        self.calls.append(call)

    def solve(self, now: float) -> None:
        """A run with all instructions in place has come to its last call; the first time counts."""
        if self.solved_calls is None:
            self.solved_calls, self.solved_at = self.began, now

    def report(self, latency: float) -> dict[str, Any]:
        """The report: counts, tokens and times in seconds, from the first call on.

        Calls on the test set are told apart and are in none of the other figures: not every library makes any.
        """
        calls = [call for call in self.calls if call.split != TEST]
        tested = [call for call in self.calls if call.split == TEST]
        first = self.first or 0.0
        chain = rounds(calls)
        return {
            "calls": {
                "total": len(calls),
                **{model: sum(call.model == model for call in calls) for model in (WORKER, CRITIC)},
                "by_kind": _counted(call.kind for call in calls),
                "by_split": _counted(call.split for call in calls if call.split),
            },
            "tokens": {model: _tokens([call for call in calls if call.model == model]) for model in (WORKER, CRITIC)},
            "solved": {
                "calls": self.solved_calls,
                "seconds": None if self.solved_at is None else self.solved_at - first,
            },
            "rounds": chain,
            "peak": self.most,
            "wall": max((call.end for call in calls), default=first) - first,
            "critical": chain * latency,
            "longest": longest(calls),
            "latency": latency,
            "test": {"calls": len(tested), "tokens": _tokens(tested)},
        }


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _tokens(calls: Sequence[Call]) -> dict[str, int]:
    return {
        "sent": sum(call.sent for call in calls),
        "forms": sum(call.forms for call in calls),
        "received": sum(call.received for call in calls),
    }


def rounds(calls: Iterable[Call]) -> int:
    """The most calls of which each began after the one before had ended."""
    count, free = 0, float("-inf")
    # Taking always the call that ends first gives the longest chain of intervals that do not overlap.
    for call in sorted(calls, key=lambda call: call.end):
        if call.start >= free:
            count, free = count + 1, call.end
    return count


def longest(calls: Iterable[Call]) -> float:
    """The seconds of the longest chain of calls of which each began after the one before had ended."""
    ends: list[float] = [float("-inf")]
    best: list[float] = [0.0]
    for call in sorted(calls, key=lambda call: call.end):
        seconds = best[bisect_right(ends, call.start) - 1] + call.end - call.start
        ends.append(call.end)
        best.append(max(best[-1], seconds))
    return best[-1]
