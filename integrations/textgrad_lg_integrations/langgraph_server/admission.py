"""Admission of runs whose model calls are made elsewhere: in advance by the largest run seen, afterwards as they were."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from textgrad_lg.errors import UnknownPrice
from textgrad_lg.types import Counter, ModelCall, SpanKind, Withdrawable
from textgrad_lg.variable import leaf_texts

if TYPE_CHECKING:
    from collections.abc import Generator

    from textgrad_lg.trace import Span, Trace
    from textgrad_lg.types import Meter, Ticket

_CHARACTERS = 3
"""Characters a token, where the model does not say: as in `ModelCall`, an estimate that errs upwards for English."""


class Admission:
    """Admits the runs of one assistant.

    A run cannot be stopped before each of its calls, because they leave from another process. So each run is admitted as
    a whole: as many calls as the largest run so far has made, each as large as the largest so far. When it has ended, its
    calls are counted as they were. The first run, of which nothing is known, is admitted as one call, and made alone. The
    Budget holds as long as no run is larger than all before it; what a larger one used beyond that is counted in full,
    and what would go over the Budget then is refused.

    Args:
        provider: Of the deployed graph's model, until a run has shown it; may be empty.
        model: The model's name, likewise.
    """

    def __init__(self, provider: str = "", model: str = "") -> None:
        self._alone = threading.Lock()
        self._lock = threading.Lock()
        self._seen = False
        self._calls = 1
        self._model = (provider, model)
        self._sent = 0
        self._received: int | None = 0

    @contextmanager
    def run(self, meter: Meter, size: int) -> Generator[list[Trace]]:
        """Admit a run. The block puts the run's Trace into the list; without one, all is counted at its worst case.

        Args:
            meter: Admits and counts.
            size: Characters of the run's input and texts: what its first call is sent at least.

        Raises:
            BudgetExhausted: The run could go over the Budget; it must not be made.
            UnknownPrice: Money is limited, and the price of the model is not known.
        """
        with self._turn():
            tickets = self._admit(meter, -(-size // _CHARACTERS))
            seen: list[Trace] = []
            try:
                yield seen
            finally:
                self._settle(meter, tickets, seen)

    @contextmanager
    def _turn(self) -> Generator[None]:
        """Wait until the first run has shown what a run is."""
        with self._alone:
            if not self._seen:
                yield
                return
        yield

    def _admit(self, meter: Meter, least: int) -> list[Ticket]:
        with self._lock:
            calls = self._calls
            call = ModelCall(*self._model, max(least, self._sent), self._received if self._seen else None)
        tickets: list[Ticket] = []
        try:
            for _ in range(calls):
                tickets.append(meter.admit(call))  # noqa: PERF401  what was admitted must be known when one is refused
        except BaseException as error:
            for ticket in tickets:
                _withdraw(ticket)
            if isinstance(error, UnknownPrice) and not call.model:
                raise UnknownPrice(
                    "a money limit was set, and which model the deployed graph calls is not known before its first run; "
                    "give it, as in Assistant(..., model='openai:gpt-4o-mini'), or limit calls instead of money"
                ) from error
            raise
        return tickets

    def _settle(self, meter: Meter, tickets: list[Ticket], seen: list[Trace]) -> None:
        if not seen or not isinstance(meter, Counter):
            for ticket in tickets:
                ticket.settle(None, None)
            return
        made = [_call(span) for span in seen[0].spans if span.kind is SpanKind.LLM]
        # Counted before what was reserved is given back: in between, a run beside this one is rather refused.
        for call, sent, received in made:
            meter.count(call, sent, received)
            self._note(call, sent, received)
        for ticket in tickets:
            _withdraw(ticket)
        with self._lock:
            self._seen = True
            self._calls = max(self._calls, len(made))

    def _note(self, call: ModelCall, sent: int | None, received: int | None) -> None:
        with self._lock:
            # Of several models the first one stands for all in advance; afterwards each is counted as what it is.
            self._model = self._model if self._model[1] else (call.provider, call.model)
            self._sent = max(self._sent, call.input_tokens if sent is None else sent)
            # As soon as one call did not say, nothing is known of the next.
            known = None if self._received is None or received is None else max(self._received, received)
            self._received = known


def _call(span: Span) -> tuple[ModelCall, int | None, int | None]:
    """A call as it was made: what to count it as, and the tokens that the model said it used."""
    about = span.attributes
    sent = sum(len(text) for text in leaf_texts(about.get("messages")))
    call = ModelCall(str(about.get("provider") or ""), str(about.get("model") or ""), -(-sent // _CHARACTERS), None)
    told = [about.get(name) for name in ("input_tokens", "output_tokens")]
    tokens_in, tokens_out = (cast("int", at) if isinstance(at, int) else None for at in told)
    return call, tokens_in, tokens_out


def _withdraw(ticket: Ticket) -> None:
    if isinstance(ticket, Withdrawable):
        ticket.withdraw()
    else:
        ticket.settle(0, 0)
