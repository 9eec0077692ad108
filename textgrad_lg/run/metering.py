"""Metering: the one way by which the model calls of a run leave the process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakSet

from textgrad_lg.errors import BudgetError
from textgrad_lg.events import MadeCall
from textgrad_lg.run.budget import MAX_OUTPUT_TOKENS
from textgrad_lg.types import ModelCall, Phase, Ticket, Usage, Withdrawable

if TYPE_CHECKING:
    from collections.abc import Hashable
    from contextlib import AbstractContextManager

    from textgrad_lg.overlay.attempts import Leaves
    from textgrad_lg.run.budget import Ledger
    from textgrad_lg.run.prices import Prices


_FAILURES = 64
"""How many failed calls are remembered of one rollout, or of its judging."""


class Metering:
    """Meters all model calls of one run, and lets none through once the run was stopped.

    Threads of the user's graph cannot be stopped from outside. With its next model call refused, each of them ends after
    the call that it is waiting for.

    Args:
        ledger: Admits and counts the calls.
        prices: What they cost.

    Attributes:
        largest: The worst case of the largest call so far.
        seen: Stands for the clients whose requests were seen.
    """

    def __init__(self, ledger: Ledger, prices: Prices) -> None:
        self.ledger = ledger
        self.largest = Usage()
        self.prices = prices
        # Reentrant: the garbage collector may close an abandoned stream, and settle its ticket, at any allocation.
        self._lock = threading.RLock()
        self._open: dict[int, Ticket] = {}
        self._made: deque[MadeCall] = deque()
        self._meters: WeakSet[Watched] = WeakSet()
        self.seen: set[Hashable] = set()
        self._stopped = False

    def meter(self, phase: Phase) -> Watched:
        """A Meter for calls that are made for `phase`."""
        meter = Watched(self, phase, self._lock)
        with self._lock:
            self._meters.add(meter)
        return meter

    def stop(self) -> None:
        """Refuse every further call, and count those that have left at their worst case: they will be billed."""
        with self._lock:
            self._stopped = True
            meters = list(self._meters)
        for meter in meters:
            meter.stop()
        with self._lock:
            tickets, self._open = list(self._open.values()), {}
        for ticket in tickets:
            ticket.settle(None, None)

    def admit(self, phase: Phase, call: ModelCall, meter: Watched) -> Ticket:
        """Admit a call for `phase`, which `meter` was asked for.

        Raises:
            CancelledError: The run was stopped. No Exception, so that no graph takes it for a failure to be retried.
            BudgetExhausted: The call could go over the Budget.
            UnknownPrice: Money is limited, and the price is not known.
        """
        with self._lock:
            if self._stopped:
                raise asyncio.CancelledError("the run was stopped")
            if meter.stopped:
                raise asyncio.CancelledError("it took too long, and nobody waits for it any longer")
            ticket = self.ledger.meter(phase).admit(call)
            self._open[id(ticket)] = ticket
            most = MAX_OUTPUT_TOKENS if call.max_output_tokens is None else call.max_output_tokens
            usd = self.prices.cost(call.provider, call.model, call.input_tokens, most) or 0.0
            self.largest = Usage(
                1,
                max(self.largest.input_tokens, call.input_tokens),
                max(self.largest.output_tokens, most),
                max(self.largest.usd, usd),
            )
        return _Open(self, ticket, phase, call)

    def count(self, phase: Phase, call: ModelCall, input_tokens: int | None, output_tokens: int | None) -> None:
        """Count a call that was made elsewhere. After a stop its ticket was settled in its place."""
        with self._lock:
            if not self._stopped:
                self.ledger.meter(phase).count(call, input_tokens, output_tokens)

    def settled(self, ticket: Ticket, made: MadeCall | None = None) -> None:
        """Forget a ticket that was settled, and remember its call for `made` where it was made."""
        with self._lock:
            if self._open.pop(id(ticket), None) is not None and made is not None:
                self._made.append(made)

    def made(self) -> tuple[MadeCall, ...]:
        """The calls that have ended since this was asked last, in the order of their ends."""
        with self._lock:
            found = tuple(self._made)
            self._made.clear()
        return found


class Watched:
    """A Meter that remembers the first refusal, and which calls failed.

    A graph or an evaluator may catch what the model call raised; what it then makes of it must not count as its own.

    Attributes:
        stopped: Whether every further call is refused.
    """

    def __init__(self, metering: Metering, phase: Phase, lock: AbstractContextManager[object]) -> None:
        self._metering, self._phase, self._lock = metering, phase, lock
        self._refused: BudgetError | None = None
        self._calls: WeakSet[Leaves] = WeakSet()
        self._failures: deque[tuple[BaseException, bool]] = deque(maxlen=_FAILURES)
        self.stopped = False

    def admit(self, call: ModelCall) -> Ticket:
        """Admit a call; see `Metering`."""
        try:
            return self._metering.admit(self._phase, call, self)
        except BudgetError as refused:
            self._refused = self._refused or refused
            raise

    def count(self, call: ModelCall, input_tokens: int | None, output_tokens: int | None) -> None:
        """Count a call that was made elsewhere; see `textgrad_lg.types.Counter`."""
        self._metering.count(self._phase, call, input_tokens, output_tokens)

    def failed(self, error: BaseException, *, passing: bool) -> None:
        """Told what a call raised; see `textgrad_lg.overlay.attempts.Hears`."""
        self._failures.append((error, passing))

    def saw(self, client: Hashable) -> None:
        """Told that a request of such a client was seen."""
        self._metering.seen.add(client)

    def sees(self, client: Hashable) -> bool:
        """Whether the requests of such a client are seen."""
        return client in self._metering.seen

    def unseen(self, call: ModelCall) -> None:
        """Told of a call whose client may have tried again unseen."""
        self._metering.ledger.doubt(call.model)

    def passes(self, error: BaseException | None = None) -> bool:
        """Whether an error is, or comes of, a failed call that may succeed later; without one, whether any failed so."""
        passing = {id(failure) for failure, may_pass in self._failures if may_pass}
        if error is None:
            return bool(passing)
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            if id(error) in passing:
                return True
            seen.add(id(error))
            error = error.__cause__ or error.__context__
        return False

    def entered(self, call: Leaves) -> None:
        """Told of a call that begins."""
        with self._lock:
            self._calls.add(call)

    def stop(self) -> None:
        """Refuse every further call, and count those that have left at their worst case: nobody waits for them any longer."""
        self.stopped = True
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.abandon()

    def check(self) -> None:
        """Raise the first refusal, if there was one."""
        if self._refused is not None:
            raise self._refused


class _Open:
    """The admission of a call that has not ended yet."""

    def __init__(self, metering: Metering, ticket: Ticket, phase: Phase, call: ModelCall) -> None:
        self._metering, self._ticket = metering, ticket
        self._phase, self._call, self._start = phase, call, time.time()

    def settle(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Settle the ledger's ticket, which counts once however often it is settled."""
        self._ticket.settle(input_tokens, output_tokens)
        used = (input_tokens, output_tokens)
        made = MadeCall(self._phase, self._call.provider, self._call.model, *used, self._start, time.time())
        self._metering.settled(self._ticket, made)

    def withdraw(self) -> None:
        """Give back what was reserved; see `textgrad_lg.types.Withdrawable`."""
        if isinstance(self._ticket, Withdrawable):
            self._ticket.withdraw()
        self._metering.settled(self._ticket)
