"""The world as a server that speaks OpenAI's API for chat completions, on this machine only, with a fixed latency.

    python -m benchmarks.world.server --port 0

It prints its base URL on a line of its own and runs until it is ended, or until its standard input is closed. The client's
base URL is that with `/v1`. The model "worker" is a node of the program that is optimised; any other name is the critic.

    POST /control/reset    {"kind", "seed", "obey", "latency", "salt"}: all optional; a new world with an empty log
    GET  /control/task     the nodes with prompts and markers, and the examples of each split
    GET  /control/report   what was called since the last reset
    POST /control/score    {"texts": {node: prompt}, "split": "test"}: the share of right answers to expect, without calls

The server does its own HTTP: it needs a few dozen lines of it, and they cost a tenth of a millisecond a call.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.world.asked import Answer, Asked, tokens
from benchmarks.world.log import CRITIC, WORKER, Call, Log
from benchmarks.world.task import Kind, Task
from benchmarks.world.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

LATENCY = 0.2
"""Seconds that every call takes, if nothing else is asked for."""


@dataclass
class Served:
    """A world, its log and its latency: what the control API sets up anew."""

    world: World = field(default_factory=lambda: World(Task()))
    latency: float = LATENCY
    log: Log = field(default_factory=Log)

    def reset(self, given: dict[str, Any]) -> dict[str, Any]:
        """Set up a new world.

        Raises:
            ValueError: It is not known what was asked for.
        """
        unknown = set(given) - {"kind", "seed", "obey", "latency", "salt"}
        if unknown:
            raise ValueError(f"there is no {', '.join(sorted(unknown))}")
        task = Task(Kind(given.get("kind", Kind.PLAIN)), int(given.get("seed", 0)))
        obey = given.get("obey")
        self.world = World(task, obey=None if obey is None else float(obey), salt=bool(given.get("salt", False)))
        self.latency = float(given.get("latency", LATENCY))
        self.log = Log()
        return {"kind": task.kind, "seed": task.seed, "obey": self.world.chance, "latency": self.latency}


class Connection(asyncio.Protocol):
    """One client's connection: requests one after the other, each answered before the next is read."""

    def __init__(self, served: Served) -> None:
        self._served, self._buffer = served, b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there to be answered any more."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Take requests out of what has come in."""
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
            method, path, *_ = start.split(" ")
            self._handle(method, path.partition("?")[0], rest[:length])

    def _handle(self, method: str, path: str, body: bytes) -> None:
        served = self._served
        try:
            given = json.loads(body) if body else {}
            if method == "POST" and path.endswith("/chat/completions"):
                self._complete(given)
            elif (method, path) == ("POST", "/control/reset"):
                self._reply(served.reset(given))
            elif (method, path) == ("GET", "/control/task"):
                self._reply(served.world.described())
            elif (method, path) == ("GET", "/control/report"):
                self._reply(served.log.report(served.latency))
            elif (method, path) == ("POST", "/control/score"):
                self._reply(served.world.scored(given.get("texts") or {}, given.get("split", "test")))
            elif method == "GET" and path.endswith("/models"):
                self._reply({"object": "list", "data": [{"id": name, "object": "model"} for name in (WORKER, CRITIC)]})
            else:
                self._reply({"error": {"message": f"there is no {method} {path}"}}, 404)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._reply({"error": {"message": f"{type(error).__name__}: {error}"}}, 400)

    def _complete(self, body: dict[str, Any]) -> None:
        """Answer after the latency. Whose world is set up anew meanwhile, is counted in the old one's log."""
        served, log = self._served, self._served.log
        start = time.perf_counter()
        asked = Asked.parse(body)
        answer = served.world.answer(asked)
        log.begin(start)
        if answer.solved:
            log.solve(start)
        reply, received = _completion(asked, answer)
        sent, forms = tokens(asked.text), tokens(asked.forms)
        reply["usage"] = {
            "prompt_tokens": sent + forms,
            "completion_tokens": received,
            "total_tokens": sent + forms + received,
        }
        model = WORKER if asked.model == WORKER else CRITIC

        def send() -> None:
            self._reply(reply)
            log.end(Call(model, answer.kind, start, time.perf_counter(), sent, forms, received, answer.split))

        # What the server itself took is part of the latency, not added to it.
        left = served.latency - (time.perf_counter() - start)
        asyncio.get_running_loop().call_later(max(left, 0.0), send)

    def _reply(self, value: dict[str, Any], status: int = 200) -> None:
        if self._transport is None:
            return
        body = json.dumps(value).encode()
        reason = {200: "OK", 400: "Bad Request", 404: "Not Found"}[status]
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


@dataclass(frozen=True, slots=True)
class Client:
    """The control API of a running world.

    Attributes:
        base: Its base URL.
    """

    base: str

    @property
    def url(self) -> str:
        """The base URL for clients of OpenAI's API."""
        return f"{self.base}/v1"

    def reset(self, **given: object) -> dict[str, Any]:
        """Set up a new world; see the module."""
        return self._ask("/control/reset", given)

    def task(self) -> dict[str, Any]:
        """The nodes and the examples."""
        return self._ask("/control/task")

    def report(self) -> dict[str, Any]:
        """What was called since the last reset."""
        return self._ask("/control/report")

    def score(self, texts: dict[str, str], split: str = "test") -> dict[str, Any]:
        """The share of right answers to expect of these prompts."""
        return self._ask("/control/score", {"texts": texts, "split": split})

    def _ask(self, path: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.loads(reply.read())


@contextmanager
def running() -> Iterator[Client]:
    """A world in a process of its own, for the block; it ends with the block, or with this process."""
    command = [sys.executable, "-m", "benchmarks.world.server", "--port", "0", "--until-closed"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        base = process.stdout.readline().strip()
        if not base:
            raise RuntimeError(f"the world did not start; it ended with {process.wait()}")
        yield Client(base)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


async def listen(served: Served, port: int) -> asyncio.Server:
    """Serve on this machine only; port 0 for any that is free."""
    return await asyncio.get_running_loop().create_server(lambda: Connection(served), "127.0.0.1", port, backlog=256)


def base_of(server: asyncio.Server) -> str:
    """The base URL of a server."""
    host, port = server.sockets[0].getsockname()[:2]
    return f"http://{host}:{port}"


async def _serve(port: int, given: dict[str, Any], *, until_closed: bool) -> None:
    served = Served()
    served.reset(given)
    server = await listen(served, port)
    print(base_of(server), flush=True)
    if until_closed:
        await asyncio.to_thread(sys.stdin.read)
        server.close()
    else:
        await server.serve_forever()


def _completion(asked: Asked, answer: Answer) -> tuple[dict[str, Any], int]:
    """A chat completion, and its tokens."""
    calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(values)}}
        for at, (name, values) in enumerate(answer.calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or (None if calls else "")}
    if calls:
        message["tool_calls"] = calls
    received = tokens(answer.text + "".join(call["function"]["arguments"] for call in calls))
    name = hashlib.sha256(asked.text.encode()).hexdigest()[:12]
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": 0,
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
    }, received


def main(arguments: list[str] | None = None) -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free")
    parser.add_argument("--kind", choices=list(Kind), default=Kind.PLAIN)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=LATENCY, help="seconds that every call takes")
    parser.add_argument("--until-closed", action="store_true", help="end when standard input is closed")
    given = parser.parse_args(arguments)
    world = {"kind": given.kind, "seed": given.seed, "latency": given.latency}
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(given.port, world, until_closed=given.until_closed))


if __name__ == "__main__":
    main()
