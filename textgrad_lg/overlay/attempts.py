"""Attempts: the requests by which a model's client makes a call, those that it makes again by itself included.

Clients such as OpenAI's and Anthropic's try again after rate limits, server errors and lost connections, and say nothing of
it. Each request beyond the first is admitted like a call of its own. One that has not left when its call is given up is
none, and then stays here. `senders` tells of the requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, Protocol, cast, runtime_checkable

from langchain_core.language_models import BaseChatModel

from textgrad_lg.types import Lendable, Meter, ModelCall, Ticket, Withdrawable

_NEVER_LEFT = {
    *("ConnectError", "ConnectTimeout", "PoolTimeout"),
    *("ClientConnectorError", "ClientConnectorDNSError", "ConnectionTimeoutError"),
}
"""What httpx raises where no request was sent, and aiohttp."""
_ERRORS, _SERVER_ERRORS = 400, 500
_PASSING = {408, 409, 429}
"""What OpenAI's client tries again as well, besides the server's errors."""
_COUNTS_RETRIES = "x-stainless-retry-count"
"""A header of all clients that are generated as OpenAI's is: each of their requests is a model call."""
_LENGTH = {"LengthFinishReasonError", "ContentFilterFinishReasonError"}
"""What OpenAI's client raises of replies that are what the model gave, and would be so again."""


class NotAdmitted(BaseException):
    """Ends a client's attempts, which would take an Exception for a failure of the network and try again."""


class Leaves(Protocol):
    """A call that may be given up from outside."""

    def abandon(self, error: BaseException | None = None) -> None:
        """Settle it, and give its place to others."""
        ...


@runtime_checkable
class Hears(Protocol):
    """A Meter that wants to know what came of calls."""

    def entered(self, call: Leaves) -> None:
        """Told of a call before it is admitted."""
        ...

    def failed(self, error: BaseException, *, passing: bool) -> None:
        """Told what a call raised, and whether the same call may succeed later."""
        ...

    def saw(self, client: Hashable) -> None:
        """Told that a request of such a client was seen."""
        ...

    def sees(self, client: Hashable) -> bool:
        """Whether the requests of such a client are seen: where none was, none has left."""
        ...

    def unseen(self, call: ModelCall) -> None:
        """Told of a call whose requests could not be watched, so that its client's own retries are not counted."""
        ...


def hears(meter: Meter | None) -> Hears | None:
    """The Meter itself where it is one that `Hears`."""
    return cast("Hears", meter) if meter is not None and _hears(type(meter)) else None


@lru_cache
def _hears(meter: type[Meter]) -> bool:
    # Asked by class: to look through the methods of an object takes longer than all else that is done for a call.
    return issubclass(meter, Hears)


class Admission:
    """The admission of one prompt's call, and of each attempt that its client makes. Called from any thread.

    Args:
        meter: Admits.
        call: What each attempt may cost.
        client: Stands for the model's client: those of equal ones are all seen, or none.
        hides: Whether the model's client may try again by itself.
        ticket: Of the first attempt, where it is admitted already.

    Raises:
        BudgetExhausted: The meter refused it.
    """

    def __init__(
        self,
        meter: Meter,
        call: ModelCall,
        *,
        client: Hashable = None,
        hides: bool = False,
        ticket: Ticket | None = None,
    ) -> None:
        self._meter, self._call, self._client, self._hides = meter, call, client, hides
        self._hears = hears(meter)
        self._given_up = self._lent = False
        self._request: Request | None = None
        # Reentrant: the garbage collector may close an abandoned stream at any allocation.
        self.lock = threading.RLock()
        self._ticket: Ticket | None = meter.admit(call) if ticket is None else ticket

    def lend(self, *, lent: bool = True) -> None:
        """Its stream is handed to whoever reads it, or goes on; see `Lendable`."""
        with self.lock:
            self._lent = lent
            if isinstance(self._ticket, Lendable):
                self._ticket.lend() if lent else self._ticket.take_back()

    def settle(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """It was answered, and has used so much; see `Ticket`. Does nothing the second time."""
        with self.lock:
            ticket, self._ticket = self._ticket, None
            if ticket is not None:
                if (input_tokens, output_tokens) != (0, 0):
                    self._doubt()
                ticket.settle(input_tokens, output_tokens)

    def give_up(self, error: BaseException | None = None) -> None:
        """It has failed, or nobody waits for it any longer: a request that has not left by now must not leave.

        Args:
            error: What the call raised, whatever attempts it took.
        """
        with self.lock:
            self._given_up = True
            if self._ticket is None:
                return
            if isinstance(error, Exception):
                self._doubt()
            if error is not None and self._hears is not None:
                self._hears.failed(error, passing=self._request is not None and self._request.passes(error))
            self._close(left=self._left())

    def withdraw(self) -> None:
        """It is not made."""
        with self.lock:
            self._given_up = True
            self._close(left=False)

    def attempt(self, *, again: bool, alone: bool) -> Request:
        """A request is about to be sent.

        Args:
            again: Whether one was sent for it before.
            alone: Whether no other prompt's requests may be meant.

        Raises:
            BaseException: It was given up, or what the meter raised: it must not be sent.
        """
        with self.lock:
            self.check()
            if again:
                self._close(left=self._left())
                # It waits for no room: those who wait may be waiting for it.
                self._ticket = self._meter.admit(self._call)
                self.lend(lent=self._lent)
            if self._request is None and self._hears is not None:
                self._hears.saw(self._client)
            self._request = Request(self, alone=alone)
            return self._request

    def check(self) -> None:
        """Raise where it was given up.

        Raises:
            CancelledError: It was. No Exception, so that no graph takes it for a failure to be retried.
        """
        if self._given_up:
            raise asyncio.CancelledError("nobody waits for this call any longer")

    def _left(self) -> bool:
        """Whether the last request has left, or may have: where requests are not seen, nobody knows."""
        if self._request is not None:
            return self._request.left
        return self._hears is None or not self._hears.sees(self._client)

    def _close(self, *, left: bool) -> None:
        """Settle by what became of the last request, of which no reply is known."""
        (ticket, self._ticket), request = (self._ticket, None), self._request
        if ticket is None:
            return
        if not left and isinstance(ticket, Withdrawable):
            ticket.withdraw()
        elif not left or (request is not None and request.refused):
            ticket.settle(0, 0)  # the server, if it was asked at all, has refused and written nothing
        else:
            ticket.settle(None, None)

    def _doubt(self) -> None:
        if self._request is None and self._hides and self._hears is not None and not self._hears.sees(self._client):
            self._hears.unseen(self._call)


class Request:
    """One attempt, and what became of it.

    Args:
        admission: What it goes by.
        alone: Whether the answer is that of the admission's prompt, and not of another one of the same call.

    Attributes:
        left: Whether it has left, or may have.
    """

    def __init__(self, admission: Admission, *, alone: bool) -> None:
        self._admission, self._alone = admission, alone
        self.left = True
        self._status: int | None = None
        self._lost = False

    def waits(self) -> None:
        """It has not left yet, and `leaves` will be told."""
        self.left = not self._alone

    def leaves(self) -> None:
        """Its body is taken, to be sent at once.

        Raises:
            CancelledError: Nobody waits for it any longer, and it must not be sent.
        """
        with self._admission.lock:
            self._admission.check()
            self.left = True

    def answered(self, status: int) -> None:
        """The server has answered with a status."""
        self._status = status if self._alone else None

    def failed(self, error: Exception) -> None:
        """There is no answer."""
        self._lost = self._alone
        if self._alone and type(error).__name__ in _NEVER_LEFT:
            self.left = False

    @property
    def refused(self) -> bool:
        """Whether the server has said no."""
        return self._status is not None and self._status >= _ERRORS

    def passes(self, error: BaseException) -> bool:
        """Whether the call, which raised `error` in the end, may succeed later."""
        if self._lost:
            return True
        if self._status is not None and self.refused:
            return self._status in _PASSING or self._status >= _SERVER_ERRORS
        # The server took it for a good reply, and the client cannot read it, or it broke off.
        return self._status is not None and not any(base.__name__ in _LENGTH for base in type(error).__mro__)


class Attempts:
    """Tells the requests of one call apart, which may have several prompts. Called from any thread.

    Args:
        admissions: One for each prompt that is really asked.

    Attributes:
        refused: Why an attempt was not let through.
    """

    def __init__(self, admissions: Sequence[Admission]) -> None:
        self._admissions = admissions
        self.refused: BaseException | None = None
        self._sent = 0
        self._bodies: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    def before(self, request: Any) -> Request | None:
        """A request is about to be sent; None where it is no attempt.

        Raises:
            NotAdmitted: It must not be sent.
        """
        if request.method != "POST" or not self._admissions:
            return None
        with self._lock:
            if _COUNTS_RETRIES in request.headers:
                self._sent += 1
                sent = self._sent
            else:
                # It may be anything, as a key that is asked for; the same once more is a call that is tried again.
                body = _body(request)
                self._bodies[body] += 1
                sent = self._bodies[body]
            admission = self._admissions[(sent - 1) % len(self._admissions)]
            try:
                return admission.attempt(again=sent > len(self._admissions), alone=len(self._admissions) == 1)
            except BaseException as error:
                self.refused = error
                raise NotAdmitted(str(error)) from error


def hides_retries(model: BaseChatModel) -> bool:
    """Whether a model's client may try again by itself: it says so, or it comes from a package for a provider."""
    return bool(getattr(model, "max_retries", None)) or _has_provider(type(model))


@lru_cache
def _has_provider(model: type[BaseChatModel]) -> bool:
    packages = {base.__module__.partition(".")[0] for base in model.__mro__}
    return any(name.startswith("langchain_") and name != "langchain_core" for name in packages)


def _body(request: Any) -> bytes:
    try:
        content: bytes = request.content
    except Exception:  # noqa: BLE001  a body that is streamed can be sent only once
        content = repr(id(request)).encode()
    return hashlib.sha256(b"\0".join((str(request.url).encode(), content))).digest()
