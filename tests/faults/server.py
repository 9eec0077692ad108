"""A server on this machine that speaks OpenAI's and Anthropic's APIs, fails as it is told, and counts what it was asked.

A request counts when its whole body has been read, whatever becomes of it then.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

OK = "ok"
TRANSPORT = (
    "429 with Retry-After",
    "408",
    "409",
    "429",
    "500",
    "503",
    "reset",
    "closed",
    "truncated",
    "invalid JSON",
    "wrong schema",
    "drip",
    "hang",
)
"""Faults after which no reply can be read, except that a drip is only slow."""
FOR_GOOD = ("400", "401", "403", "404", "422")
"""What a server says to a request that it will never take."""
CONTENT = ("empty", "huge", "prose")
"""Replies that can be read and do not say what was asked for."""
STREAM_CUT = "stream cut"
_HUGE = 1_000_000


def answer_of(body: dict[str, Any]) -> str:
    """The last message's text, as the reply of a model that repeats what it hears."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@dataclass
class Faults:
    """What the server does, and what it has seen.

    Attributes:
        plan: Gives each request's fate, from its number and its body.
        answer: Gives the text of a reply, from the request's body; a mapping is sent as JSON.
        hang: Seconds that a hanging request is left without an answer.
        counted: Told of each request when it is in `seen`, in the server's thread.
        seen: How many requests met which fate.
        bodies: The requests, where they are kept.
    """

    plan: Callable[[int, dict[str, Any]], str] = lambda at, body: OK
    answer: Callable[[dict[str, Any]], Any] = answer_of
    hang: float = 30.0
    keep: bool = False
    seen: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    base: str = ""
    counted: Callable[[str], None] = lambda fate: None
    connections: set[Any] = field(default_factory=set)

    @property
    def count(self) -> int:
        """How many requests there were."""
        return self.seen.total()

    @property
    def url(self) -> str:
        """Where clients of OpenAI's API send to."""
        return f"{self.base}/v1"


def script(*fates: str) -> Callable[[int, dict[str, Any]], str]:
    """One fate after another, and then no fault any more."""
    return lambda at, body: fates[at] if at < len(fates) else OK


def some(share: float, fates: Sequence[str], seed: int = 0) -> Callable[[int, dict[str, Any]], str]:
    """A share of all requests meets one of the fates, evenly."""
    chance = random.Random(seed)
    return lambda at, body: chance.choice(list(fates)) if chance.random() < share else OK


class _Connection(asyncio.Protocol):
    def __init__(self, faults: Faults) -> None:
        self._faults, self._buffer = faults, b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._faults.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._faults.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            start, *lines = head.decode("latin-1").split("\r\n")
            headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._handle(start.split(" ")[1], json.loads(rest[:length]))

    def _handle(self, path: str, body: dict[str, Any]) -> None:
        faults = self._faults
        fate = faults.plan(faults.count, body)
        faults.seen[fate] += 1
        faults.counted(fate)
        if faults.keep:
            faults.bodies.append(body)
        if fate.startswith(("4", "5")):
            extra = "Retry-After: 0.02\r\nretry-after-ms: 20\r\n" if "Retry-After" in fate else ""
            self._write(json.dumps({"error": {"message": fate, "type": "fault"}}).encode(), int(fate[:3]), extra)
        elif fate == "reset":
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self._transport.abort()
        elif fate == "closed":
            self._transport.close()
        elif fate == "hang":
            asyncio.get_running_loop().call_later(faults.hang, self._transport.abort)
        elif fate == "invalid JSON":
            self._write(b'{"id": "x", "choices": [')
        elif fate == "wrong schema":
            self._write(b'{"detail": "no such thing"}')
        else:
            self._reply(path, body, fate)

    def _reply(self, path: str, body: dict[str, Any], fate: str) -> None:
        text: Any = self._faults.answer(body)
        text = {"empty": "", "huge": "x" * _HUGE, "prose": "I would rather not say."}.get(fate, text)
        text = text if isinstance(text, str) else json.dumps(text)
        if body.get("stream"):
            self._stream(body, text, fate)
            return
        reply = json.dumps(_message(body, text) if path.endswith("/messages") else _completion(body, text)).encode()
        if fate == "truncated":
            self._write(reply, cut=len(reply) // 2)
        elif fate == "drip":
            self._drip(reply)
        else:
            self._write(reply)

    def _write(self, body: bytes, status: int = 200, extra: str = "", cut: int | None = None) -> None:
        if self._transport.is_closing():
            return
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body[:cut])
        if cut is not None:
            self._transport.close()

    def _drip(self, body: bytes, parts: int = 10) -> None:
        head = f"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode())
        size = -(-len(body) // parts)
        for at in range(parts):
            part = body[at * size : (at + 1) * size]
            asyncio.get_running_loop().call_later(0.002 * at, self._transport.write, part)

    def _stream(self, body: dict[str, Any], text: str, fate: str) -> None:
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        shape = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": body.get("model", "m")}
        half = max(len(text) // 2, 1)
        deltas = [{"role": "assistant", "content": text[:half]}, {"content": text[half:]}]
        events = [{**shape, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        events.append({**shape, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        events.append({**shape, "choices": [], "usage": usage})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
        head = "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        sent = lines[:1] if fate in (STREAM_CUT, "truncated") else lines
        chunks = "".join(f"{len(line.encode()):x}\r\n{line}\r\n" for line in sent)
        self._transport.write((head + chunks + ("0\r\n\r\n" if sent is lines else "")).encode())
        if sent is not lines:
            self._transport.close()


def _completion(body: dict[str, Any], text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-x",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model", "m"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


def _message(body: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        "id": "msg_x",
        "type": "message",
        "role": "assistant",
        "model": body.get("model", "m"),
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }


@cache
def unverified(url: str) -> dict[str, Any]:
    """Clients for a ChatOpenAI, kept for the process as its own are, that load no certificates: that takes longer than a test."""
    return {"http_client": httpx2.Client(verify=False), "http_async_client": httpx2.AsyncClient(verify=False)}


@contextmanager
def serving(faults: Faults) -> Iterator[Faults]:
    """Serve in a thread of this process for the block."""
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def listen() -> asyncio.Server:
        return await loop.create_server(lambda: _Connection(faults), "127.0.0.1", 0, backlog=512)

    def work() -> None:
        server = loop.run_until_complete(listen())
        faults.base = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
        ready.set()
        with suppress(RuntimeError):
            loop.run_forever()
        server.close()
        for transport in list(faults.connections):
            transport.abort()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    thread = threading.Thread(target=work, daemon=True, name="faults")
    thread.start()
    assert ready.wait(30)
    try:
        yield faults
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
