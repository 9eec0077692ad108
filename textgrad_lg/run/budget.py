"""Budget: the hard limit of a run, and the Ledger that keeps it."""

from __future__ import annotations

import math
import re
import threading
import time
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from textgrad_lg.errors import BudgetError, BudgetExhausted, UnknownPrice
from textgrad_lg.run.prices import Prices
from textgrad_lg.run.spend import PICO, Spend
from textgrad_lg.types import ModelCall, Phase, Ticket, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_OUTPUT_TOKENS = 4096
"""Tokens that a call which carries no limit of its own is taken to receive at most."""
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


class _Amount(NamedTuple):
    """A Usage in whole numbers, so that sums are exact and a limit is met to the last digit."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    picodollars: int = 0
    rollouts: int = 0

    def plus(self, other: _Amount, times: int = 1) -> _Amount:
        # Written out: it is the innermost part of every admission.
        return _Amount(
            self.calls + times * other.calls,
            self.input_tokens + times * other.input_tokens,
            self.output_tokens + times * other.output_tokens,
            self.picodollars + times * other.picodollars,
            self.rollouts + times * other.rollouts,
        )

    @property
    def limited(self) -> _Limits:
        return self.calls, self.input_tokens + self.output_tokens, self.picodollars, self.rollouts

    @property
    def usage(self) -> Usage:
        return Usage(self.calls, self.input_tokens, self.output_tokens, self.picodollars / PICO, self.rollouts)


_Limits = tuple[int, int, int, int]
"""What is limited: calls, tokens, picodollars, rollouts."""
_LIMITED = ("calls", "tokens", "usd", "rollouts")


class Ledger:
    """Keeps a Budget: admits each model call, or refuses it before it is made. All methods may be called from any thread.

    A call is admitted if its worst case still fits: the estimate of its input and the most it may answer, at its price,
    beside what is spent, what calls under way may yet use, and what is held for other phases. When it has ended, what
    it really used takes the place of the worst case. So the Budget is not exceeded as long as calls keep within what
    they declare. A call that uses more than it declared (a model without an output limit that writes more than 4096
    tokens, say) shows in the Spend in full, and no further call is admitted.

    Args:
        budget: The limits.
        prices: What calls cost; default: the built-in list.
        clock: Gives a time in seconds that never goes back.
        spent: What earlier sessions of the same run have spent; it counts against the limits.
    """

    def __init__(
        self,
        budget: Budget,
        prices: Prices | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        spent: Spend | None = None,
    ) -> None:
        before = spent or Spend()
        usd = None if budget.usd is None else round(budget.usd * PICO)
        self.budget = budget
        self._limits = (budget.calls, budget.tokens, usd, budget.rollouts)
        self._prices = prices if prices is not None else Prices()
        self._clock = clock
        self._started = clock() - before.seconds
        self._lock = threading.Lock()
        self._spent = {phase: _amount(before.phases.get(phase, Usage())) for phase in Phase}
        self._reserved = {phase: _Amount() for phase in Phase}
        self._holds: dict[Phase, tuple[_Limits, _Limits]] = {}  # what is held, and what the phase had used by then
        self._unpriced = dict.fromkeys(before.unpriced)
        self._unwatched = dict.fromkeys(before.unwatched)

    @property
    def spend(self) -> Spend:
        """What was spent up to now; calls that are under way are not in it."""
        with self._lock:
            phases = {phase: amount.usage for phase, amount in self._spent.items() if any(amount)}
            return Spend(phases, self._clock() - self._started, tuple(self._unpriced), tuple(self._unwatched))

    def doubt(self, model: str) -> None:
        """Note that the client of a model may make calls that are not counted."""
        with self._lock:
            self._unwatched.setdefault(model or "(a model without a name)")

    def meter(self, phase: Phase) -> _Meter:
        """The Meter for calls that are made for `phase`."""
        return _Meter(partial(self._admit, phase), partial(self._count, phase))

    def begin(self, phase: Phase) -> None:
        """Count a run of the graph that is about to begin.

        Raises:
            BudgetExhausted: It would be one too many, or the time is up; it must not begin.
        """
        one = _Amount(rollouts=1)
        with self._lock:
            self._check_time()
            self._check(phase, one.limited, "this rollout")
            self._spent[phase] = self._spent[phase].plus(one)

    def hold(self, phase: Phase, usage: Usage) -> None:
        """Keep back `usage` for `phase`: other phases cannot spend it, and the phase draws on it first.

        A second hold for a phase takes the place of the first.

        Raises:
            BudgetExhausted: That much is not left; an earlier hold of the phase stands.
        """
        amount = _amount(usage).limited
        with self._lock:
            self._check(phase, amount, f"what is to be kept for {phase.value}")
            self._holds[phase] = (amount, self._used(phase))

    def release(self, phase: Phase) -> None:
        """Give what is still held for `phase` free for all."""
        with self._lock:
            self._holds.pop(phase, None)

    def _admit(self, phase: Phase, call: ModelCall) -> Ticket:
        worst, priced = self._cost(call, None, None)
        if not priced and self.budget.usd is not None:
            raise _unknown(self.budget.usd, call.model)
        with self._lock:
            self._check_time()
            self._check(phase, worst.limited, "this call")
            self._reserved[phase] = self._reserved[phase].plus(worst)
        return _Ticket(partial(self._settle, phase, call, worst), partial(self._withdraw, phase, worst))

    def _settle(
        self, phase: Phase, call: ModelCall, worst: _Amount, input_tokens: int | None, output_tokens: int | None
    ) -> None:
        used, priced = self._cost(call, input_tokens, output_tokens)
        with self._lock:
            self._reserved[phase] = self._reserved[phase].plus(worst, -1)
            self._spent[phase] = self._spent[phase].plus(used)
            if not priced:
                self._unpriced.setdefault(call.model or "(a model without a name)")

    def _withdraw(self, phase: Phase, worst: _Amount) -> None:
        with self._lock:
            self._reserved[phase] = self._reserved[phase].plus(worst, -1)

    def _count(self, phase: Phase, call: ModelCall, input_tokens: int | None, output_tokens: int | None) -> None:
        self._settle(phase, call, _Amount(), input_tokens, output_tokens)

    def _cost(self, call: ModelCall, input_tokens: int | None, output_tokens: int | None) -> tuple[_Amount, bool]:
        """What a call costs, and whether its price is known; what was not measured counts at its worst."""
        most = MAX_OUTPUT_TOKENS if call.max_output_tokens is None else call.max_output_tokens
        sent = max(0, call.input_tokens if input_tokens is None else input_tokens)
        received = max(0, most if output_tokens is None else output_tokens)
        usd = self._prices.cost(call.provider, call.model, sent, received)
        return _Amount(1, sent, received, round((usd or 0.0) * PICO)), usd is not None

    def _used(self, phase: Phase) -> _Limits:
        """What a phase has spent and reserved."""
        return self._spent[phase].plus(self._reserved[phase]).limited

    def _held(self, phase: Phase) -> _Limits:
        """What is still held for a phase that has a hold: the hold without what the phase has used since."""
        amount, before = self._holds[phase]
        now = self._used(phase)
        calls, tokens, money, rollouts = (
            # A call that was under way when the hold was made may have cost less than its worst case since.
            min(held, max(0, held - (used - then)))
            for held, used, then in zip(amount, now, before, strict=True)
        )
        return calls, tokens, money, rollouts

    def _check_time(self) -> None:
        """Refuse what would begin after the time is up; the caller has the lock."""
        elapsed = self._clock() - self._started
        if self.budget.seconds is not None and elapsed >= self.budget.seconds:
            raise BudgetExhausted(
                f"the budget of {self.budget.seconds:g} seconds is used up: {elapsed:.1f} seconds have passed; "
                f"{self._cure('seconds', self.budget.seconds)}"
            )

    def _check(self, phase: Phase, amount: _Limits, what: str) -> None:
        """Refuse `amount` for `phase` where it does not fit; the caller has the lock."""
        spent, reserved = _Amount(), _Amount()
        for each in Phase:
            spent, reserved = spent.plus(self._spent[each]), reserved.plus(self._reserved[each])
        kept = [self._held(other) for other in self._holds if other is not phase]
        for at, (name, limit) in enumerate(zip(_LIMITED, self._limits, strict=True)):
            if limit is None:
                continue
            used, under_way, held = spent.limited[at], reserved.limited[at], sum(other[at] for other in kept)
            if used + under_way + held + amount[at] > limit:
                parts = [f"{_text(name, used)} spent"]
                parts += [f"{_text(name, under_way)} reserved by calls under way"] if under_way else []
                parts += [f"{_text(name, held)} kept for other phases"] if held else []
                shown: float = limit / PICO if name == "usd" else limit
                raise BudgetExhausted(
                    f"the budget of {_text(name, limit)} does not allow {what}, which may cost "
                    f"{_text(name, amount[at])} (phase {phase.value}): {', '.join(parts)}; {self._cure(name, shown)}"
                )

    def _cure(self, name: str, limit: float) -> str:
        larger = replace(self.budget, **{name: limit * 2 if name in {"usd", "seconds"} else int(limit) * 2})
        return f"for more, raise it, as in budget={str(larger)!r}"


class _Meter:
    """Admits calls for one phase; see `textgrad_lg.types.Meter`."""

    def __init__(
        self, admit: Callable[[ModelCall], Ticket], count: Callable[[ModelCall, int | None, int | None], None]
    ) -> None:
        self._admit, self._count = admit, count

    def admit(self, call: ModelCall) -> Ticket:
        """Reserve the worst case of `call`; see `Ledger`."""
        return self._admit(call)

    def count(self, call: ModelCall, input_tokens: int | None, output_tokens: int | None) -> None:
        """Count a call that was made elsewhere; see `textgrad_lg.types.Counter`."""
        self._count(call, input_tokens, output_tokens)


class _Ticket:
    """One admitted call; see `textgrad_lg.types.Ticket`."""

    def __init__(self, settle: Callable[[int | None, int | None], None], withdraw: Callable[[], None]) -> None:
        self._open = [(settle, withdraw)]

    def settle(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Put what was used in the place of the worst case; a second time does nothing."""
        try:
            settle, _ = self._open.pop()  # one step, so that of two threads only one gets it
        except IndexError:
            return
        settle(input_tokens, output_tokens)

    def withdraw(self) -> None:
        """Give back what was reserved; see `textgrad_lg.types.Withdrawable`."""
        try:
            _, withdraw = self._open.pop()
        except IndexError:
            return
        withdraw()


def _amount(usage: Usage) -> _Amount:
    usd = round(usage.usd * PICO)
    return _Amount(usage.calls, usage.input_tokens, usage.output_tokens, usd, usage.rollouts)


def check_price(budget: Budget, prices: Prices, provider: str, model: str) -> None:
    """Refuse a model that a Budget in money could not keep account of, before anything is spent.

    Args:
        budget: The limits.
        prices: What calls cost.
        provider: LangChain's `ls_provider`; empty where it is not known.
        model: The model's name.

    Raises:
        UnknownPrice: Money is limited, and the price is not known.
    """
    if budget.usd is not None and prices.of(provider, model) is None:
        raise _unknown(budget.usd, model)


def _unknown(usd: float, model: str) -> UnknownPrice:
    name = repr(model) if model else "a model that does not say its name"
    return UnknownPrice(
        f"the budget of ${usd:g} cannot be kept, because the price of {name} is not known. Pass "
        f"prices={{{model!r}: Price(input=..., output=...)}} in US dollars per million tokens, 0 for a "
        "model that costs nothing; or limit calls instead of money, as in budget='500 calls'"
    )


def _text(name: str, value: int) -> str:
    return f"${value / PICO:.4g}" if name == "usd" else f"{value:,} {name}"
