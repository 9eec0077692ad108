"""Attempts: the requests by which a model's client makes a call, those that it makes again by itself included.

Clients such as OpenAI's and Anthropic's try again after rate limits, server errors and lost connections, and say nothing of
it. So `send` of httpx's clients is wrapped as chat models are: only while an overlay is open, only for requests that are
made inside a metered call, and each request beyond the first is admitted like a call of its own.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from langchain_core.language_models import BaseChatModel

from textgrad_lg.types import Meter, ModelCall, Ticket, Withdrawable

_Method = Callable[..., Any]
_PACKAGES = ("httpx", "httpx2")
"""Packages with httpx's clients; httpx2 is what OpenAI's and Anthropic's clients use since their third and second version."""
_NEVER_LEFT = {"ConnectError", "ConnectTimeout", "PoolTimeout"}
"""What httpx raises where no request was sent."""
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

    def unseen(self, call: ModelCall) -> None:
        """Told of a call whose requests could not be watched, so that its client's own retries are not counted."""
        ...


class Admission:
    """The admission of one prompt's call, and of each attempt that its client makes. A Ticket.

    Args:
        meter: Admits.
        call: What each attempt may cost.
        hides: Whether the model's client may try again by itself.

    Raises:
        BudgetExhausted: The meter refused it.
    """

    def __init__(self, meter: Meter, call: ModelCall, *, hides: bool = False) -> None:
        self._meter, self._call, self._hides = meter, call, hides
        self._ticket: Ticket | None = meter.admit(call)
        self._status: int | None = None
        self._lost = self._never_left = self._seen = False

    def settle(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Settle the last attempt; see `Ticket`. Does nothing the second time."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        if (
            self._hides
            and not self._seen
            and (input_tokens, output_tokens) != (0, 0)
            and isinstance(self._meter, Hears)
        ):
            self._meter.unseen(self._call)
        if output_tokens is None and self._never_left and isinstance(ticket, Withdrawable):
            ticket.withdraw()
        elif output_tokens is None and self._status is not None and self._status >= _ERRORS:
            ticket.settle(0, 0)  # the server has refused, and written nothing
        else:
            ticket.settle(input_tokens, output_tokens)

    def attempt(self, *, again: bool, alone: bool) -> None:
        """A request is about to be sent.

        Args:
            again: Whether one was sent for it before.
            alone: Whether no other prompt's requests may be meant.

        Raises:
            BaseException: What the meter raised: it must not be sent.
        """
        if again:
            self.settle(None, None)
            self._ticket = self._meter.admit(self._call)
        self._seen, self._alone = True, alone
        self._status, self._lost, self._never_left = None, False, False

    def ended(self, status: int | None, error: BaseException | None) -> None:
        """The request was answered with a status, or failed without one."""
        if self._alone:
            self._status, self._lost = status, error is not None
            self._never_left = error is not None and type(error).__name__ in _NEVER_LEFT

    def failed(self, error: BaseException) -> None:
        """The call raised, whatever attempts it took."""
        if isinstance(self._meter, Hears):
            self._meter.failed(error, passing=self._seen and self._passing(error))

    def _passing(self, error: BaseException) -> bool:
        if self._lost:
            return True
        if self._status is not None and self._status >= _ERRORS:
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

    def before(self, request: Any) -> Admission | None:
        """A request is about to be sent; the admission that it goes by, None where it is no attempt.

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
                admission.attempt(again=sent > len(self._admissions), alone=len(self._admissions) == 1)
            except BaseException as error:
                self.refused = error
                raise NotAdmitted(str(error)) from error
        return admission


def hides_retries(model: BaseChatModel) -> bool:
    """Whether a model's client may try again by itself: it says so, or it comes from a package for a provider."""
    if getattr(model, "max_retries", None):
        return True
    packages = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    return any(name.startswith("langchain_") and name != "langchain_core" for name in packages)


def _body(request: Any) -> bytes:
    try:
        content: bytes = request.content
    except Exception:  # noqa: BLE001  a body that is streamed can be sent only once
        content = repr(id(request)).encode()
    return hashlib.sha256(b"\0".join((str(request.url).encode(), content))).digest()


class Senders:
    """Puts the wrappers of `send` on those of httpx's packages that are loaded, and takes them off again.

    Args:
        of_call: The attempts of the call in whose context it is asked; None outside of any.
    """

    def __init__(self, of_call: Callable[[], Attempts | None]) -> None:
        self._of_call = of_call
        self._put_on: dict[str, tuple[type[Any], _Method, _Method]] = {}
        self._open = 0
        self._lock = threading.RLock()

    @contextmanager
    def on(self) -> Generator[None]:
        """Have them on inside the block, from the first call on; blocks may overlap."""
        with self._lock:
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1
                if self._open == 0:
                    self._unwrap()

    def look(self) -> None:
        """Wrap what was loaded since: a node may import its client when it first runs."""
        if any(package in sys.modules and f"{package}.Client" not in self._put_on for package in _PACKAGES):
            with self._lock:
                if self._open:
                    self._wrap()

    def _wrap(self) -> None:
        for package in _PACKAGES:
            module = sys.modules.get(package)
            for name, make in (("AsyncClient", self._asend), ("Client", self._send)):
                owner = getattr(module, name, None)
                # `Client` comes last, and marks that both are on; a package that is still being loaded has it not yet.
                if owner is not None and f"{package}.{name}" not in self._put_on and hasattr(module, "Client"):
                    original = owner.__dict__["send"]
                    wrapper = make(original)
                    owner.send = wrapper
                    self._put_on[f"{package}.{name}"] = owner, original, wrapper

    def _unwrap(self) -> None:
        for owner, original, wrapper in self._put_on.values():
            # Somebody else's patch on top of ours stays; ours, below it, is transparent outside of calls.
            if owner.__dict__.get("send") is wrapper:
                owner.send = original
        self._put_on.clear()

    def _send(self, original: _Method) -> _Method:
        @functools.wraps(original)
        def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            attempts = self._of_call()
            admission = None if attempts is None else attempts.before(request)
            if admission is None:
                return original(client, request, *args, **kwargs)
            with _ending(admission) as answered:
                response = original(client, request, *args, **kwargs)
                answered(response)
            return response

        return send

    def _asend(self, original: _Method) -> _Method:
        @functools.wraps(original)
        async def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            attempts = self._of_call()
            admission = None if attempts is None else attempts.before(request)
            if admission is None:
                return await original(client, request, *args, **kwargs)
            with _ending(admission) as answered:
                response = await original(client, request, *args, **kwargs)
                answered(response)
            return response

        return send


@contextmanager
def _ending(admission: Admission) -> Generator[Callable[[Any], None]]:
    """Tell the admission how the request inside ends."""
    try:
        yield lambda response: admission.ended(response.status_code, None)
    except Exception as error:
        admission.ended(None, error)
        raise
