"""Metering: the one way by which the model calls of a run leave the process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakSet

from textgrad_lg.errors import BudgetError, BudgetExhausted
from textgrad_lg.events import MadeCall
from textgrad_lg.run.ledger import MAX_OUTPUT_TOKENS
from textgrad_lg.threads import running_loop
from textgrad_lg.types import ModelCall, Phase, Ticket, Usage, Withdrawable

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from contextlib import AbstractContextManager

    from textgrad_lg.overlay.attempts import Leaves
    from textgrad_lg.run.ledger import Ledger
    from textgrad_lg.run.prices import Prices


_FAILURES = 64
"""How many failed calls are remembered of one rollout, or of its judging."""


class Metering:
    """Meters all model calls of one run, and lets none through once the run was stopped.

    Threads of the user's graph cannot be stopped from outside. With its next model call refused, each of them ends after
    the call that it is waiting for.

    A call that does not fit beside the worst cases of those under way, and would if these used nothing, waits for them to
    end; it is refused when it can fit no more. First come, first served: one that could go does not overtake one that came
    before it, so a large one is not kept waiting by small ones that go on and on. What cannot wait (a call inside another
    one, what a client tries again, a run that is admitted in advance) is admitted or refused at once, whoever waits.

    Nothing stands still by waiting, because a call waits only for ends that come by themselves:

    - A ticket is that of a call in the hands of its model's client. What the client tries again, and what is called inside
      it, waits for nothing. A stream in the hands of its reader may never end, and is not waited for.
    - A call that is made in an event loop ends only as its loop goes on, and that may be held up by a thread that waits.
      So a thread waits only for calls of threads, and a task besides these for those of its own loop. The same holds for
      those that came before and wait as well.
    - When the last call ends that one waits for, or is lent to its reader, it tries again, and is admitted or refused.

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
        self._open: dict[int, _Open] = {}
        self._made: deque[MadeCall] = deque()
        self._queue: list[_Asked] = []
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
        self.wake()

    def admit(self, phase: Phase, call: ModelCall, meter: Watched) -> Ticket:
        """Admit a call for `phase`, which `meter` was asked for.

        Raises:
            CancelledError: The run was stopped. No Exception, so that no graph takes it for a failure to be retried.
            BudgetExhausted: The call could go over the Budget.
            UnknownPrice: Money is limited, and the price is not known.
        """
        with self._lock:
            self._check(meter)
            return self._admit(phase, (call,))[0]

    def take(self, asked: _Asked) -> Sequence[Ticket] | Future[None]:
        """Admit calls, or say what to wait for; see `textgrad_lg.types.Asked`."""
        try:
            with self._lock:
                self._check(asked.meter, asked)
                self._queue = [each for each in self._queue if not each.gone]
                if not self._queue:
                    with suppress(BudgetExhausted):
                        return self._admit(asked.phase, asked.calls)
                # Before anything else is looked at: whatever ends from now on is told to it.
                waiting = asked.future = Future[None]()
                if asked not in self._queue:
                    self._queue.append(asked)
                before = self._queue[: self._queue.index(asked)]
                if before and self._may_wait(asked, before):
                    return waiting
                try:
                    tickets = self._admit(asked.phase, asked.calls)
                except BudgetExhausted:
                    if self._may_wait(asked):
                        return waiting
                    # Once more: what has ended just now was seen by the second question, and not by the first attempt.
                    tickets = self._admit(asked.phase, asked.calls)
                self._queue.remove(asked)
        except BaseException:
            asked.leave()
            raise
        asked.leave()
        return tickets

    def _check(self, meter: Watched, asked: _Asked | None = None) -> None:
        if self._stopped:
            raise asyncio.CancelledError("the run was stopped")
        if meter.stopped:
            raise asyncio.CancelledError("it took too long, and nobody waits for it any longer")
        if asked is not None and asked.gone:
            raise asyncio.CancelledError("nobody waits for this call any longer")

    def _may_wait(self, asked: _Asked, before: Sequence[_Asked] = ()) -> bool:
        """Whether there may be room when calls have ended, or had their turn, that do so whatever this one does."""
        under_way = (each for each in list(self._open.values()) if not each.lent)
        ending = any(each.loop in (None, asked.loop) for each in (*under_way, *before))
        return ending and self.ledger.may_fit(asked.phase, asked.calls)

    def _admit(self, phase: Phase, calls: Sequence[ModelCall]) -> list[_Open]:
        opened: list[_Open] = []
        for call, ticket in zip(calls, self.ledger.meter(phase).admit_all(calls), strict=True):
            opened.append(_Open(self, ticket, phase, call))
            self._open[id(opened[-1])] = opened[-1]
            most = MAX_OUTPUT_TOKENS if call.max_output_tokens is None else call.max_output_tokens
            usd = self.prices.cost(call.provider, call.model, call.input_tokens, most) or 0.0
            self.largest = Usage(
                1,
                max(self.largest.input_tokens, call.input_tokens),
                max(self.largest.output_tokens, most),
                max(self.largest.usd, usd),
            )
        return opened

    def count(self, phase: Phase, call: ModelCall, input_tokens: int | None, output_tokens: int | None) -> None:
        """Count a call that was made elsewhere. After a stop its ticket was settled in its place."""
        with self._lock:
            if not self._stopped:
                self.ledger.meter(phase).count(call, input_tokens, output_tokens)

    def settled(self, ticket: _Open, made: MadeCall | None = None) -> None:
        """Forget a ticket that was settled, remember its call where it was made, and let those who wait try again.

        It takes no lock, as `wake` takes none: the garbage collector may come here, on a thread that has other locks.
        """
        if self._open.pop(id(ticket), None) is not None and made is not None:
            self._made.append(made)
        self.wake()

    def made(self) -> tuple[MadeCall, ...]:
        """The calls that have ended since this was asked last, in the order of their ends."""
        return tuple(self._made.popleft() for _ in range(len(self._made)))

    def wake(self) -> None:
        """Let those who wait for room try again. They have reserved nothing, so nothing is lost with one that does not."""
        for asked in list(self._queue):
            if asked.future is not None:
                with suppress(InvalidStateError):  # it was woken already, or has left
                    asked.future.set_result(None)


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

    def ask(self, calls: Sequence[ModelCall]) -> _Asked:
        """Ask for the admission of calls that can wait; see `textgrad_lg.types.Waits`."""
        return _Asked(self._metering, self._phase, calls, self)

    def take(self, asked: _Asked) -> Sequence[Ticket] | Future[None]:
        """Admit calls, or say what to wait for; only what is refused for good is a refusal."""
        try:
            return self._metering.take(asked)
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
        self._metering.wake()

    def check(self) -> None:
        """Raise the first refusal, if there was one."""
        if self._refused is not None:
            raise self._refused


class _Asked:
    """The wish of a call to be admitted, or of several that leave together; see `textgrad_lg.types.Asked`.

    Attributes:
        phase: What it is made for.
        calls: The calls.
        meter: The one that was asked.
        loop: The event loop that it waits in; None where a thread waits.
        future: Done when it may try again; None before the first time.
        gone: Whether it waits no longer.
    """

    def __init__(self, metering: Metering, phase: Phase, calls: Sequence[ModelCall], meter: Watched) -> None:
        self.phase, self.calls, self.meter = phase, calls, meter
        self.loop = running_loop()
        self.future: Future[None] | None = None
        self.gone = False
        self._metering = metering

    def take(self) -> Sequence[Ticket] | Future[None]:
        """Their tickets, or what to wait for before it is called again."""
        return self.meter.take(self)

    def leave(self) -> None:
        """Let others have the turn; takes no lock, as `Metering.settled`."""
        if self.gone:
            return
        self.gone = True
        if self.future is not None:
            self.future.cancel()  # of a thread that still waits for it
            self._metering.wake()


class _Open:
    """The admission of a call that has not ended yet.

    Attributes:
        loop: The event loop in which it was made; None for a thread's.
        lent: Whether it is a stream in the hands of its reader.
    """

    def __init__(self, metering: Metering, ticket: Ticket, phase: Phase, call: ModelCall) -> None:
        self._metering, self._ticket = metering, ticket
        self._phase, self._call, self._start = phase, call, time.time()
        self.loop = running_loop()
        self.lent = False

    def lend(self) -> None:
        """See `textgrad_lg.types.Lendable`."""
        self.lent = True
        self._metering.wake()

    def take_back(self) -> None:
        """See `textgrad_lg.types.Lendable`."""
        self.lent = False

    def settle(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Settle the ledger's ticket, which counts once however often it is settled."""
        self._ticket.settle(input_tokens, output_tokens)
        used = (input_tokens, output_tokens)
        made = MadeCall(self._phase, self._call.provider, self._call.model, *used, self._start, time.time())
        self._metering.settled(self, made)

    def withdraw(self) -> None:
        """Give back what was reserved; see `textgrad_lg.types.Withdrawable`."""
        if isinstance(self._ticket, Withdrawable):
            self._ticket.withdraw()
        self._metering.settled(self)
