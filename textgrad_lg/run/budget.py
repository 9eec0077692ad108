"""Budget: the hard limit of a run, and how a person writes it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from decimal import Decimal

from textgrad_lg.errors import BudgetError

DEFAULT_CALLS = 1000
"""The Budget of a run that was given none, in model calls."""

_FORMS = (
    "'$2', '500 calls', '200k tokens', '30 minutes', '300 rollouts', several of them as '$2, 30 minutes', or a Budget"
)
_PART = re.compile(
    r"(?P<dollar>\$)?\s*(?P<number>\d[\d_]*(?:,\d{3})*(?:\.\d+)?)(?P<scale>(?:[kKM](?![a-zA-Z]))?)\s*(?P<unit>[a-zA-Z]*)"
)
_SCALES = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000}
_UNITS = {
    **dict.fromkeys(("usd", "dollar", "dollars"), ("usd", 1)),
    **dict.fromkeys(("call", "calls"), ("calls", 1)),
    **dict.fromkeys(("token", "tokens"), ("tokens", 1)),
    **dict.fromkeys(("rollout", "rollouts"), ("rollouts", 1)),
    **dict.fromkeys(("s", "sec", "second", "seconds"), ("seconds", 1)),
    **dict.fromkeys(("min", "minute", "minutes"), ("seconds", 60)),
    **dict.fromkeys(("h", "hour", "hours"), ("seconds", 3600)),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """The hard limit of a run. None is no limit of that kind; at least one must be given.

    Attributes:
        usd: US dollars.
        calls: Model calls, retries included.
        tokens: Tokens, sent and received together.
        seconds: Wall time. No call and no rollout begins after it; one that has begun is not cut off.
        rollouts: Runs of the graph, for whatever phase. One that is found in the journal is none; one that was begun and
            cut off is one.

    Raises:
        BudgetError: No limit was given, or one that is not a positive number.
    """

    usd: float | None = None
    calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    rollouts: int | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _NAMES if getattr(self, name) is not None}
        if not given:
            raise BudgetError(f"a Budget without any limit is none; give one, as in {_FORMS}")
        for name, value in given.items():
            whole = name in _WHOLE
            fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not (fits and math.isfinite(value) and value > 0):
                kind = "whole number" if whole else "number"
                raise BudgetError(f"Budget({name}={value!r}): the limit must be a {kind} above 0")

    @classmethod
    def parse(cls, budget: Budget | str | None) -> Budget:
        """Read a Budget as a person writes it.

        Args:
            budget: "$2", "500 calls", "200k tokens", "30 minutes", "300 rollouts", or several of them as
                "$2, 30 minutes"; a Budget, which comes back as it is; or None for 1000 calls.

        Raises:
            BudgetError: It is none of these.
        """
        if budget is None:
            return cls(calls=DEFAULT_CALLS)
        if isinstance(budget, Budget):
            return budget
        if not isinstance(budget, str):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not check types
            raise BudgetError(f"budget={budget!r} does not say what it counts; write {_FORMS}")
        limits: dict[str, Decimal] = {}
        for part in re.split(r",\s+|\s+and\s+|\s*\+\s*", budget.strip()):
            name, value = _limit(part, budget)
            if name in limits:
                raise BudgetError(f"budget={budget!r} limits {name} twice; write {_FORMS}")
            limits[name] = value
        for name in _WHOLE:
            if name in limits and limits[name] % 1:
                raise BudgetError(f"budget={budget!r}: {name} are counted in whole numbers; write {_FORMS}")
        return cls(
            float(limits["usd"]) if "usd" in limits else None,
            int(limits["calls"]) if "calls" in limits else None,
            int(limits["tokens"]) if "tokens" in limits else None,
            float(limits["seconds"]) if "seconds" in limits else None,
            int(limits["rollouts"]) if "rollouts" in limits else None,
        )

    def __str__(self) -> str:
        """The Budget as `parse` reads it."""
        parts = [
            f"${Decimal(repr(self.usd)):f}" if self.usd is not None else "",
            f"{self.calls} calls" if self.calls is not None else "",
            f"{self.tokens} tokens" if self.tokens is not None else "",
            f"{Decimal(repr(self.seconds)):f} seconds" if self.seconds is not None else "",
            f"{self.rollouts} rollouts" if self.rollouts is not None else "",
        ]
        return ", ".join(part for part in parts if part)


_NAMES = tuple(item.name for item in fields(Budget))
_WHOLE = ("calls", "tokens", "rollouts")


def _limit(part: str, budget: str) -> tuple[str, Decimal]:
    found = _PART.fullmatch(part.strip())
    unit = found and (_UNITS.get(found["unit"].lower()) if found["unit"] else ("usd", 1) if found["dollar"] else None)
    if found is None or unit is None or (found["dollar"] and unit[0] != "usd"):
        raise BudgetError(f"budget={budget!r} cannot be read; write {_FORMS}")
    name, factor = unit
    number = Decimal(found["number"].replace(",", "").replace("_", ""))
    return name, number * _SCALES[found["scale"]] * factor
