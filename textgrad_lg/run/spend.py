"""Spend: what was spent, or is expected to be, by phase."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from textgrad_lg.types import Phase, Usage

PICO = 10**12
"""Picodollars in a US dollar: sums of them are exact."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What was spent.

    Attributes:
        phases: By what it was spent for; phases in which nothing was spent are left out.
        seconds: Wall time since the run began.
        unpriced: The models whose price is not known, in the order of their first call. Their calls count as $0.
        unwatched: The models whose clients send in a way that is not watched. If they try again by themselves, that is in
            no figure.
    """

    phases: Mapping[Phase, Usage] = field(default_factory=dict[Phase, Usage])
    seconds: float = 0.0
    unpriced: tuple[str, ...] = ()
    unwatched: tuple[str, ...] = ()

    @property
    def total(self) -> Usage:
        """The sum over all phases, to a picodollar: the same whatever phases it was spent in."""
        total = sum((self.phases[phase] for phase in Phase if phase in self.phases), Usage())
        return replace(total, usd=round(total.usd * PICO) / PICO)

    def table(self) -> str:
        """One line a phase, and one for the total."""
        used = [(phase.value, self.phases[phase]) for phase in Phase if phase in self.phases]
        rows = [("", "rollouts", "calls", "tokens in", "tokens out", "US dollars")]
        for name, usage in (*used, ("total", self.total)):
            tokens = (f"{usage.input_tokens:,}", f"{usage.output_tokens:,}")
            rows.append((name, f"{usage.rollouts:,}", f"{usage.calls:,}", *tokens, f"{usage.usd:.4f}"))
        lines = columns(rows)
        names = ", ".join(self.unwatched)
        hidden = [f"without what their clients may have tried again by themselves: {names}"] if names else []
        return "\n".join([*lines, *_unpriced(self.unpriced), *hidden])

    def __str__(self) -> str:
        total = self.total
        if not self.unpriced:
            price = f"${total.usd:.2f}"
        else:
            price = f"${total.usd:.2f} and calls of unknown price" if total.usd else "price not known"
        return f"{total.calls:,} calls, {total.input_tokens + total.output_tokens:,} tokens, {price}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines: the first column begins, and the others end, at the same place in each."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Costs:
    """What was predicted beside what was spent. Printing it gives a table, a line for each phase.

    Attributes:
        predicted: At most, if every reply of a model can be used; None where nothing could be predicted.
        spent: In the end.
    """

    predicted: Spend | None
    spent: Spend

    @property
    def phases(self) -> dict[Phase, tuple[Usage, Usage]]:
        """What was predicted and what was spent for each phase that has either."""
        predicted = (self.predicted or Spend()).phases
        return {
            phase: (predicted.get(phase, Usage()), self.spent.phases.get(phase, Usage()))
            for phase in Phase
            if phase in predicted or phase in self.spent.phases
        }

    def __str__(self) -> str:
        if self.predicted is None:
            return self.spent.table()
        rows = [("spent / predicted", "rollouts", "calls", "tokens", "US dollars")]
        both = [(phase.value, *pair) for phase, pair in self.phases.items()]
        for name, before, after in (*both, ("total", self.predicted.total, self.spent.total)):
            tokens = (usage.input_tokens + usage.output_tokens for usage in (after, before))
            most = "?" if self.predicted.unpriced else f"{before.usd:.4f}"
            rows.append(
                (
                    name,
                    f"{after.rollouts:,} / {before.rollouts:,}",
                    f"{after.calls:,} / {before.calls:,}",
                    " / ".join(f"{each:,}" for each in tokens),
                    f"{after.usd:.4f} / {most}",
                )
            )
        unpriced = dict.fromkeys((*self.spent.unpriced, *self.predicted.unpriced))
        return "\n".join([*columns(rows), *_unpriced(unpriced)])


def _unpriced(models: Iterable[str]) -> list[str]:
    names = ", ".join(models)
    return [f"not in the dollars, because their price is not known: {names}"] if names else []
