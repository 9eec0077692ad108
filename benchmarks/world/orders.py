"""Orders: what a customer asks, what is right, and what comes out where nodes go wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass

Failed = frozenset[str]
"""The nodes whose part went wrong, so far along the pipeline."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an order; the price of one piece is in cents."""

    count: int
    thing: str
    cents: int

    def __str__(self) -> str:
        return f"{self.count} x {self.thing} at {money(self.cents)}"


@dataclass(frozen=True, slots=True)
class Case:
    """One order.

    Attributes:
        id: Four digits, unique in a task.
        lines: What is wanted.
        cancelled: A line that is not wanted any more.
        voucher: Its worth in cents; 0 for none.
        delivery: What delivery costs in cents; 0 for nothing.
        halved: The line that is at half price, by its place.
        dollars: Whether the customer names another currency.
        needs: The nodes whose instruction it needs.
        tools: Whether the voucher's worth has to be looked up.
    """

    id: str
    lines: tuple[Line, ...]
    cancelled: Line | None
    voucher: int
    delivery: int
    halved: int | None
    dollars: bool
    needs: Failed
    tools: bool = False

    @property
    def question(self) -> str:
        """What the customer asks."""
        parts = [f"Order {self.id}. Wanted: {', '.join(self.listed(frozenset({'read'})))}."]
        if self.voucher:
            parts.append(
                f"We have the voucher {self.code}." if self.tools else f"Our voucher is worth {money(self.voucher)}."
            )
        if self.delivery:
            parts.append(f"Delivery is {money(self.delivery)}.")
        if self.dollars:
            parts.append("We are used to dollars.")
        return " ".join([*parts, "What do we owe?"])

    @property
    def answer(self) -> str:
        """The right answer."""
        return f"EUR {money(self.total(frozenset()))}"

    @property
    def code(self) -> str:
        """The voucher's code."""
        return f"V{self.voucher:04d}"

    @property
    def notes(self) -> str:
        """What those nodes have to know that are not given the question."""
        notes = {
            "Voucher": (self.code if self.tools else money(self.voucher)) if self.voucher else "",
            "Delivery": money(self.delivery) if self.delivery else "",
            "Currency": "dollars" if self.dollars else "",
        }
        return "".join(f" {name}: {note}." for name, note in notes.items() if note)

    def listed(self, failed: Failed) -> list[str]:
        """The lines as they are listed."""
        texts = [f"{line}{' (half price)' if at == self.halved else ''}" for at, line in enumerate(self.lines)]
        if self.cancelled is not None and "read" in failed:
            texts.insert(1, f"{self.cancelled} (cancelled)")
        return texts

    def amounts(self, failed: Failed) -> list[tuple[Line, int]]:
        """What each line makes, in cents."""
        found = [
            (line, line.count * line.cents // (2 if at == self.halved and "line" not in failed else 1))
            for at, line in enumerate(self.lines)
        ]
        if self.cancelled is not None and "read" in failed:
            found.insert(1, (self.cancelled, self.cancelled.count * self.cancelled.cents))
        return found

    def total(self, failed: Failed) -> int:
        """What the order comes to, in cents, where these nodes went wrong."""
        total = sum(cents for _, cents in self.amounts(failed))
        return total - (0 if "price" in failed else self.voucher) + (0 if "check" in failed else self.delivery)


def voucher_worth(code: str) -> str:
    """The tool of the world with tools: what a voucher is worth."""
    return money(int(code[1:])) if re.fullmatch(r"V\d{4}", code) else "unknown voucher"


def money(cents: int) -> str:
    """Cents as an amount with two decimals."""
    return f"{cents // 100}.{cents % 100:02d}"
