"""What a candidate gives and what it costs, and which candidates no other one beats in everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.run.latency import critical_path
from textgrad_lg.run.rollout import REPLAY
from textgrad_lg.types import SpanKind

if TYPE_CHECKING:
    from textgrad_lg.prompt import Template
    from textgrad_lg.run.prices import Prices
    from textgrad_lg.run.rollout import Rollout
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Span

_SHOWN_SITES = 3


@dataclass(frozen=True, slots=True)
class Objectives:
    """What one candidate gives and costs, as means over runs of the graph on the same examples. None where not known.

    A call that a replay answered from memory counts as if it had been made: this is what the graph costs its user and
    not what it cost to find out.

    Attributes:
        quality: Mean score of the examples that could be judged. More is better; of all others, less.
        usd: US dollars that a run costs. None where a price, or what a call used, is not known.
        tokens: Tokens that a run sends and receives. None where a model did not say.
        calls: Model calls that a run makes.
        seconds: Seconds that a run takes; see `latency.critical_path`. Compared to two significant digits, because the
            rest is noise.
        characters: Length of all its texts, demonstrations included.
    """

    quality: float | None
    usd: float | None
    tokens: float | None
    calls: float | None
    seconds: float | None
    characters: int

    def dominates(self, other: Objectives) -> bool:
        """Whether this is better in something and worse in nothing.

        What is not known of `other` is not compared. What is not known of this one might be worse, so it dominates none
        of which it is known. That makes it an order: of those that are dominated, each is by one that is not.
        """
        better = False
        for mine, theirs in zip(_compared(self), _compared(other), strict=True):
            if theirs is None:
                continue
            if mine is None or mine < theirs:
                return False
            better = better or mine > theirs
        return better


def measured(rollouts: Iterable[Rollout], texts: Iterable[Template], prices: Prices) -> Objectives:
    """What a candidate gives and costs.

    Args:
        rollouts: Its rollouts on the examples by which candidates are compared. Those that raised, or in which a tool was
            refused, count for quality alone: a run that was cut short says nothing about what one costs.
        texts: All texts of the graph that may change, as they are with this candidate: those it leaves alone as well,
            so that candidates can be compared.
        prices: What model calls cost.
    """
    rollouts = list(rollouts)
    whole = [rollout.trace for rollout in rollouts if rollout.trace is not None and _has_ended(rollout)]
    calls = [[span for span in trace.spans if span.kind is SpanKind.LLM] for trace in whole]
    return Objectives(
        quality=_mean([rollout.score for rollout in rollouts if rollout.score is not None]),
        usd=_mean([_sum(_usd(call, prices) for call in run) for run in calls]),
        tokens=_mean([_sum(_tokens(call) for call in run) for run in calls]),
        calls=_mean([len(run) for run in calls]),
        seconds=_mean([critical_path(trace) for trace in whole]),
        characters=sum(map(_length, texts)),
    )


def front(objectives: Sequence[Objectives]) -> tuple[int, ...]:
    """Which candidates are dominated by none, by their number, those of the best quality first.

    Of several that are equal in all that is compared, it is the first.
    """
    first: dict[tuple[float | None, ...], int] = {}
    for number, mine in enumerate(objectives):
        first.setdefault(_compared(mine), number)
    best = [n for n in first.values() if not any(other.dominates(objectives[n]) for other in objectives)]
    return tuple(sorted(best, key=lambda n: tuple(math.inf if at is None else -at for at in _compared(objectives[n]))))


@dataclass(frozen=True, slots=True)
class FrontEntry:
    """A candidate on the front.

    Attributes:
        number: Its number among all candidates.
        changed: The Parameters whose text it changes; empty for the graph as it was given.
        objectives: What it gives and costs.
    """

    number: int
    changed: tuple[Site, ...]
    objectives: Objectives


@dataclass(frozen=True, slots=True)
class Front:
    """The candidates that no other one dominates: to have more of one thing, something else has to be given up.

    Attributes:
        entries: The best quality first.
    """

    entries: tuple[FrontEntry, ...] = ()

    @classmethod
    def of(cls, candidates: Sequence[Iterable[Site]], objectives: Sequence[Objectives]) -> Front:
        """The front of all candidates.

        Args:
            candidates: What each changes.
            objectives: What each gives and costs.

        Raises:
            ValueError: They are not as many.
        """
        pairs = list(zip(candidates, objectives, strict=True))
        return cls(tuple(FrontEntry(n, tuple(sorted(pairs[n][0], key=str)), pairs[n][1]) for n in front(objectives)))

    def __str__(self) -> str:
        """A table with a row for each candidate; the best of each column has a star."""
        every = [_compared(entry.objectives) for entry in self.entries]
        columns = [
            ["#", *(str(entry.number) for entry in self.entries)],
            ["changes", *(_names(entry.changed) for entry in self.entries)],
        ]
        for at, (title, write) in enumerate(_COLUMNS):
            top = max((value for row in every if (value := row[at]) is not None), default=None)
            column = [title]
            for entry, row in zip(self.entries, every, strict=True):
                best = len(every) > 1 and top is not None and row[at] == top
                column.append(f"{write(entry.objectives)}{'*' if best else ' '}")
            columns.append(column)
        rows = zip(*(_padded(column, left=at == 1) for at, column in enumerate(columns)), strict=True)
        return "\n".join("  ".join(row).rstrip() for row in rows)


def _compared(objectives: Objectives) -> tuple[float | None, ...]:
    """What is compared, in the order of the columns; more is better."""
    costs = (objectives.usd, objectives.tokens, objectives.calls, _rounded(objectives.seconds), objectives.characters)
    return objectives.quality, *(None if cost is None else -cost for cost in costs)


_COLUMNS: tuple[tuple[str, Callable[[Objectives], str]], ...] = (
    ("quality ", lambda found: _shown(found.quality, "{:.3f}")),
    ("usd/run ", lambda found: _shown(found.usd, "{:.3g}")),
    ("tokens/run ", lambda found: _shown(found.tokens, "{:,.0f}")),
    ("calls/run ", lambda found: _shown(found.calls, "{:.1f}")),
    ("seconds/run ", lambda found: _shown(_rounded(found.seconds), "{:g}")),
    ("characters ", lambda found: _shown(found.characters, "{:,}")),
)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.2g}")


def _shown(value: float | None, form: str) -> str:
    return "n/a" if value is None else form.format(value)


def _names(sites: Sequence[Site]) -> str:
    shown = [str(site) for site in sites[:_SHOWN_SITES]]
    more = [f"{len(sites) - len(shown)} more"] if len(sites) > len(shown) else []
    return ", ".join([*shown, *more]) or "nothing"


def _padded(column: Sequence[str], *, left: bool) -> list[str]:
    width = max(map(len, column))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in column]


def _has_ended(rollout: Rollout) -> bool:
    return rollout.raised is None and all(score.key != REPLAY for score in rollout.scores)


def _mean(values: Sequence[float | None]) -> float | None:
    total = _sum(values)
    return total / len(values) if values and total is not None else None


def _sum(values: Iterable[float | None]) -> float | None:
    known: list[float] = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    return math.fsum(known)


def _counts(call: Span) -> tuple[int, int] | None:
    sent, received = call.attributes.get("input_tokens"), call.attributes.get("output_tokens")
    if isinstance(sent, int) and isinstance(received, int):
        return sent, received
    # No reply, no tokens: providers do not charge for an error.
    return (0, 0) if call.error is not None else None


def _tokens(call: Span) -> int | None:
    counts = _counts(call)
    return None if counts is None else sum(counts)


def _usd(call: Span, prices: Prices) -> float | None:
    named = str(call.attributes.get("provider") or ""), str(call.attributes.get("model") or "")
    counts = _counts(call)
    if counts is not None:
        return prices.cost(*named, *counts)
    price = prices.of(*named)
    # What costs nothing costs nothing, however much of it there was.
    return 0.0 if price is not None and not (price.input or price.output) else None


def _length(text: Template) -> int:
    demos = sum(len(value) for demo in text.demos for _, value in (*demo.inputs, ("", demo.output)))
    return len(text.text) + demos
