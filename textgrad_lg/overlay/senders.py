"""Senders: the doors by which the requests of models' clients leave.

`send` of httpx's clients is wrapped as chat models are: only while an overlay is open, and only for requests that are made
inside a metered call. A request's body is read just before it is sent, so a body that tells when it is read tells whether
the request has left.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from textgrad_lg.overlay.attempts import Attempts, Request
from textgrad_lg.overlay.wrappers import Wrappers

_Method = Callable[..., Any]
_PACKAGES = ("httpx", "httpx2")
"""Packages with httpx's clients; httpx2 is what OpenAI's and Anthropic's clients use since their third and second version."""
_TRANSPORTS = {(package, name) for package in _PACKAGES for name in ("HTTPTransport", "AsyncHTTPTransport")}
"""Those that read a request's body just before they send it. Others may look at it sooner, or not in this way."""


class Senders:
    """Puts the wrappers of `send` on those of httpx's packages that are loaded, and takes them off again.

    Args:
        of_call: The attempts of the call in whose context it is asked; None outside of any.
    """

    def __init__(self, of_call: Callable[[], Attempts | None]) -> None:
        self._of_call = of_call
        self._put_on: set[str] = set()
        self._stack = ExitStack()
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
                    self._stack.close()
                    self._put_on.clear()

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
                    self._stack.enter_context(Wrappers(owner, {"send": make}).on())
                    self._put_on.add(f"{package}.{name}")

    def _send(self, original: _Method) -> _Method:
        @functools.wraps(original)
        def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            attempts = self._of_call()
            attempt = None if attempts is None else attempts.before(request)
            if attempt is None:
                return original(client, request, *args, **kwargs)
            with _sent(attempt, client, request):
                response = original(client, request, *args, **kwargs)
                attempt.answered(response.status_code)
            return response

        return send

    def _asend(self, original: _Method) -> _Method:
        @functools.wraps(original)
        async def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            attempts = self._of_call()
            attempt = None if attempts is None else attempts.before(request)
            if attempt is None:
                return await original(client, request, *args, **kwargs)
            with _sent(attempt, client, request):
                response = await original(client, request, *args, **kwargs)
                attempt.answered(response.status_code)
            return response

        return send


@contextmanager
def _sent(attempt: Request, client: Any, request: Any) -> Generator[None]:
    """Watch a request that is sent inside the block."""
    body: Any = request.stream
    kind: type[Any] = body.__class__
    if kind.__name__ == "ByteStream" and _takes_body(client, request):
        attempt.waits()
        request.stream = _told(kind)(body, attempt.leaves)
    try:
        yield
    except Exception as error:
        attempt.failed(_raised(error))
        raise
    finally:
        request.stream = body


def _raised(error: Exception) -> Exception:
    """What the transport raised: on aiohttp every lost connection is a ConnectTimeout, but for what caused it."""
    cause = error.__cause__
    return cause if isinstance(cause, Exception) and type(cause).__module__.startswith("aiohttp.") else error


def _takes_body(client: Any, request: Any) -> bool:
    """Whether the request's body is read just before it is sent."""
    find: Any = getattr(client, "_transport_for_url", None)
    kind: type[Any] = object if find is None else find(request.url).__class__
    return (kind.__module__, kind.__name__) in _TRANSPORTS


@functools.cache
def _told(kind: type[Any]) -> type[Any]:
    """A kind of body that tells when it is read."""

    class Told(kind):
        def __init__(self, body: Any, taken: Callable[[], None]) -> None:
            self._body, self._taken = body, taken

        def __iter__(self) -> Iterator[bytes]:
            self._taken()
            yield from self._body

        async def __aiter__(self) -> AsyncIterator[bytes]:
            self._taken()
            async for part in self._body:
                yield part

    return Told
