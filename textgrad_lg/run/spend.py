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
    """What was spent beside what was predicted. Printing it gives a table, a line for each phase.

    Attributes:
        predicted: At most, said before anything was spent; None where nothing could be said.
        spent: In the end.
        forecast: At most, said once the graph as it is had been run; None where the run ended before its first step.
    """

    predicted: Spend | None
    spent: Spend
    forecast: Spend | None = None

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
        every = {"spent": self.spent, "forecast": self.forecast, "predicted": self.predicted}
        shown = {name: spend for name, spend in every.items() if spend is not None}
        if len(shown) == 1:
            return self.spent.table()
        rows = [(" / ".join(shown), "rollouts", "calls", "tokens", "US dollars")]
        used = [phase for phase in Phase if any(phase in spend.phases for spend in shown.values())]
        for name, usages in (
            *((phase.value, [spend.phases.get(phase, Usage()) for spend in shown.values()]) for phase in used),
            ("total", [spend.total for spend in shown.values()]),
        ):
            # Of what was predicted no price is better than a part of one.
            dollars = [
                "?" if spend.unpriced and spend is not self.spent else f"{usage.usd:.4f}"
                for spend, usage in zip(shown.values(), usages, strict=True)
            ]
            rows.append(
                (
                    name,
                    " / ".join(f"{usage.rollouts:,}" for usage in usages),
                    " / ".join(f"{usage.calls:,}" for usage in usages),
                    " / ".join(f"{usage.input_tokens + usage.output_tokens:,}" for usage in usages),
                    " / ".join(dollars),
                )
            )
        unpriced = dict.fromkeys(model for spend in shown.values() for model in spend.unpriced)
        return "\n".join([*columns(rows), *_unpriced(unpriced)])


def _unpriced(models: Iterable[str]) -> list[str]:
    names = ", ".join(models)
    return [f"not in the dollars, because their price is not known: {names}"] if names else []
