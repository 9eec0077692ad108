"""Ledger: keeps a Budget, call by call."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from textgrad_lg.errors import BudgetExhausted, UnknownPrice
from textgrad_lg.run.prices import Prices
from textgrad_lg.run.spend import PICO, Spend
from textgrad_lg.types import ModelCall, Phase, Ticket, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textgrad_lg.run.budget import Budget

MAX_OUTPUT_TOKENS = 4096
"""Tokens that a call which carries no limit of its own is taken to receive at most."""


class _Amount(NamedTuple):
    """A Usage in whole numbers, so that sums are exact and a limit is met to the last digit."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    picodollars: int = 0
    rollouts: int = 0

    def plus(self, other: _Amount) -> _Amount:
        # Written out: it is the innermost part of every admission.
        return _Amount(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.picodollars + other.picodollars,
            self.rollouts + other.rollouts,
        )

    def minus(self, other: _Amount) -> _Amount:
        return _Amount(
            self.calls - other.calls,
            self.input_tokens - other.input_tokens,
            self.output_tokens - other.output_tokens,
            self.picodollars - other.picodollars,
            self.rollouts - other.rollouts,
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


class _Ended(NamedTuple):
    """A call that has ended: what it had reserved, what it used, and the model's name where its price is not known."""

    phase: Phase
    reserved: _Amount
    used: _Amount
    unpriced: str | None = None


class Ledger:
    """Keeps a Budget: admits each model call, or refuses it before it is made. All methods may be called from any thread.

    A call is admitted if its worst case still fits: the estimate of its input and the most it may answer, at its price,
    beside what is spent, what calls under way may yet use, and what is held for other phases. When it has ended, what
    it really used takes the place of the worst case. So the Budget is not exceeded as long as calls keep within what
    they declare. A call that uses more than it declared (a model without an output limit that writes more than 4096
    tokens, say) shows in the Spend in full, and no further call is admitted. It refuses at once; `Metering` has calls
    wait that fit as soon as others have ended, which `may_fit` tells.

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
        # Reentrant: the garbage collector runs others' code at any allocation, and that may come here.
        self._lock = threading.RLock()
        # Calls that have ended and are not in the figures yet. To settle one takes no lock and only adds to this, because
        # the garbage collector may close an abandoned stream, and settle its ticket, in the middle of what is done here
        # on the same thread: whoever takes the lock brings the figures up to date first, and they then stand still.
        self._ended: deque[_Ended] = deque()
        self._spent = {phase: _amount(before.phases.get(phase, Usage())) for phase in Phase}
        self._reserved = {phase: _Amount() for phase in Phase}
        self._all_spent, self._all_reserved = _Amount(), _Amount()  # over all phases
        for amount in self._spent.values():
            self._all_spent = self._all_spent.plus(amount)
        self._holds: dict[Phase, tuple[_Limits, _Limits]] = {}  # what is held, and what the phase had used by then
        self._unpriced = dict.fromkeys(before.unpriced)
        self._unwatched = dict.fromkeys(before.unwatched)

    @property
    def spend(self) -> Spend:
        """What was spent up to now; calls that are under way are not in it."""
        with self._lock:
            self._update()
            phases = {phase: amount.usage for phase, amount in self._spent.items() if any(amount)}
            return Spend(phases, self._clock() - self._started, tuple(self._unpriced), tuple(self._unwatched))

    def doubt(self, model: str) -> None:
        """Note that the client of a model may make calls that are not counted."""
        with self._lock:
            self._unwatched.setdefault(model or "(a model without a name)")

    def meter(self, phase: Phase) -> _Meter:
        """The Meter for calls that are made for `phase`."""
        return _Meter(partial(self._admit, phase), partial(self._count, phase))

    def may_fit(self, phase: Phase, calls: Sequence[ModelCall]) -> bool:
        """Whether calls that leave together would fit beside what is spent and held, if those under way used nothing."""
        worst, _ = self._worst(calls)
        with self._lock:
            self._update()
            return not self._is_late() and self._over(phase, worst.limited, under_way=False) is None

    def begin(self, phase: Phase) -> None:
        """Count a run of the graph that is about to begin.

        Raises:
            BudgetExhausted: It would be one too many, or the time is up; it must not begin.
        """
        one = _Amount(rollouts=1)
        with self._lock:
            self._update()
            self._check_time()
            self._check(phase, one.limited, "this rollout")
            self._spend(phase, one)

    def hold(self, phase: Phase, usage: Usage) -> None:
        """Keep back `usage` for `phase`: other phases cannot spend it, and the phase draws on it first.

        A second hold for a phase takes the place of the first.

        Raises:
            BudgetExhausted: That much is not left; an earlier hold of the phase stands.
        """
        amount = _amount(usage).limited
        with self._lock:
            self._update()
            self._check(phase, amount, f"what is to be kept for {phase.value}")
            self._holds[phase] = (amount, self._used(phase))

    def release(self, phase: Phase) -> None:
        """Give what is still held for `phase` free for all."""
        with self._lock:
            self._holds.pop(phase, None)

    def _admit(self, phase: Phase, calls: Sequence[ModelCall]) -> list[Ticket]:
        worst, each = self._worst(calls)
        with self._lock:
            self._update()
            self._check_time()
            self._check(phase, worst.limited, "this call" if len(calls) == 1 else f"these {len(calls)} calls")
            self._reserved[phase] = self._reserved[phase].plus(worst)
            self._all_reserved = self._all_reserved.plus(worst)
        return [
            _Ticket(partial(self._settle, phase, call, one), partial(self._withdraw, phase, one))
            for call, one in zip(calls, each, strict=True)
        ]

    def _worst(self, calls: Sequence[ModelCall]) -> tuple[_Amount, list[_Amount]]:
        """What calls may cost in all, and each by itself."""
        total, each = _Amount(), list[_Amount]()
        for call in calls:
            worst, priced = self._cost(call, None, None)
            if not priced and self.budget.usd is not None:
                raise _unknown(self.budget.usd, call.model)
            total = total.plus(worst)
            each.append(worst)
        return total, each

    def _settle(
        self, phase: Phase, call: ModelCall, worst: _Amount, input_tokens: int | None, output_tokens: int | None
    ) -> None:
        used, priced = self._cost(call, input_tokens, output_tokens)
        unpriced = None if priced else call.model or "(a model without a name)"
        self._ended.append(_Ended(phase, worst, used, unpriced))

    def _withdraw(self, phase: Phase, worst: _Amount) -> None:
        self._ended.append(_Ended(phase, worst, _Amount()))

    def _count(self, phase: Phase, call: ModelCall, input_tokens: int | None, output_tokens: int | None) -> None:
        self._settle(phase, call, _Amount(), input_tokens, output_tokens)

    def _update(self) -> None:
        """Bring the figures up to date; the caller has the lock, and works with figures that nobody else changes."""
        while self._ended:
            ended = self._ended.popleft()
            self._reserved[ended.phase] = self._reserved[ended.phase].minus(ended.reserved)
            self._all_reserved = self._all_reserved.minus(ended.reserved)
            self._spend(ended.phase, ended.used)
            if ended.unpriced is not None:
                self._unpriced.setdefault(ended.unpriced)

    def _spend(self, phase: Phase, amount: _Amount) -> None:
        self._spent[phase] = self._spent[phase].plus(amount)
        self._all_spent = self._all_spent.plus(amount)

    def _cost(self, call: ModelCall, input_tokens: int | None, output_tokens: int | None) -> tuple[_Amount, bool]:
        """What a call costs, and whether its price is known; what was not measured counts at its worst."""
        most = MAX_OUTPUT_TOKENS if call.max_output_tokens is None else call.max_output_tokens
        sent = max(0, call.input_tokens if input_tokens is None else input_tokens)
        received = max(0, most if output_tokens is None else output_tokens)
        usd = self._prices.cost(call.provider, call.model, sent, received)
        return _Amount(1, sent, received, round((usd or 0.0) * PICO)), usd is not None

    def _used(self, phase: Phase, *, under_way: bool = True) -> _Limits:
        """What a phase has spent and, with calls under way, reserved."""
        spent = self._spent[phase]
        return (spent.plus(self._reserved[phase]) if under_way else spent).limited

    def _held(self, phase: Phase, *, under_way: bool) -> _Limits:
        """What is still held for a phase that has a hold: the hold without what the phase has used since."""
        amount, before = self._holds[phase]
        now = self._used(phase, under_way=under_way)
        calls, tokens, money, rollouts = (
            # A call that was under way when the hold was made may have cost less than its worst case since.
            min(held, max(0, held - (used - then)))
            for held, used, then in zip(amount, now, before, strict=True)
        )
        return calls, tokens, money, rollouts

    def _is_late(self) -> bool:
        return self.budget.seconds is not None and self._clock() - self._started >= self.budget.seconds

    def _check_time(self) -> None:
        """Refuse what would begin after the time is up; the caller has the lock."""
        elapsed = self._clock() - self._started
        if self.budget.seconds is not None and elapsed >= self.budget.seconds:
            raise BudgetExhausted(
                f"the budget of {self.budget.seconds:g} seconds is used up: {elapsed:.1f} seconds have passed; "
                f"{self._cure('seconds', self.budget.seconds)}"
            )

    def _over(self, phase: Phase, amount: _Limits, *, under_way: bool) -> tuple[int, int] | None:
        """The first limit that `amount` for `phase` would go over, and what of it is held; the caller has the lock.

        Args:
            phase: It may use what is held for it.
            amount: What is wanted.
            under_way: Whether calls under way count at their worst, or as if they used nothing.
        """
        spent, reserved = self._all_spent.limited, self._all_reserved.limited
        kept = [self._held(other, under_way=under_way) for other in self._holds if other is not phase]
        for at, limit in enumerate(self._limits):
            held = sum(other[at] for other in kept)
            if limit is not None and spent[at] + (reserved[at] if under_way else 0) + held + amount[at] > limit:
                return at, held
        return None

    def _check(self, phase: Phase, amount: _Limits, what: str) -> None:
        """Refuse `amount` for `phase` where it does not fit; the caller has the lock."""
        over = self._over(phase, amount, under_way=True)
        if over is None:
            return
        at, held = over
        name, limit = _LIMITED[at], self._limits[at] or 0
        used, under_way = self._all_spent.limited[at], self._all_reserved.limited[at]
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
        self,
        admit: Callable[[Sequence[ModelCall]], list[Ticket]],
        count: Callable[[ModelCall, int | None, int | None], None],
    ) -> None:
        self._admit, self._count = admit, count

    def admit(self, call: ModelCall) -> Ticket:
        """Reserve the worst case of `call`; see `Ledger`."""
        return self._admit((call,))[0]

    def admit_all(self, calls: Sequence[ModelCall]) -> list[Ticket]:
        """Reserve the worst case of calls that leave together: all of them, or none."""
        return self._admit(calls)

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
