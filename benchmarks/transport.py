"""What a model's client takes of its own: CPU a call, and how long many calls at once take.

    python -m benchmarks.transport [--rounds 7]

Each client sends the same 640 requests by a bare `gather`, 32 in flight, to the simulated world's server, which answers
after 200 ms. Less than 20 times the latency it cannot take: that is the floor. Clients take turns in an order drawn anew each
round, with their connections open; the server is a process of its own, so its CPU is in no figure but in the wall time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import aiohttp
import httpx2
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, DefaultAioHttpClient, DefaultAsyncHttpxClient

from benchmarks.measure import added, take_turns, taken
from benchmarks.world.log import WORKER
from benchmarks.world.server import LATENCY, Client, running

CALLS, IN_FLIGHT, ROUNDS = 640, 32, 7
FLOOR = CALLS / IN_FLIGHT * LATENCY
"""Seconds that no client can be below."""
MESSAGES = [
    {"role": "system", "content": "You are a careful clerk. " * 40},
    {"role": "user", "content": "What does the order cost? " * 8},
]
NO_KEY = "none"

Send = Callable[[], Awaitable[object]]


@asynccontextmanager
async def _aiohttp(url: str) -> AsyncGenerator[Send]:
    async with aiohttp.ClientSession() as session:

        async def send() -> object:
            async with session.post(f"{url}/chat/completions", json={"model": WORKER, "messages": MESSAGES}) as reply:
                return (await reply.json())["choices"][0]

        yield send


@asynccontextmanager
async def _httpx(url: str) -> AsyncGenerator[Send]:
    async with httpx2.AsyncClient(timeout=None) as client:

        async def send() -> object:
            reply = await client.post(f"{url}/chat/completions", json={"model": WORKER, "messages": MESSAGES})
            return reply.json()["choices"][0]

        yield send


@asynccontextmanager
async def _openai(http: Callable[[], Any], url: str) -> AsyncGenerator[Send]:
    async with http() as below:
        client: Any = AsyncOpenAI(base_url=url, api_key=NO_KEY, max_retries=0, http_client=below)

        async def send() -> object:
            return (await client.chat.completions.create(model=WORKER, messages=MESSAGES)).choices[0]

        yield send


@asynccontextmanager
async def _chat(http: Callable[[], Any], url: str) -> AsyncGenerator[Send]:
    async with http() as below:
        model = ChatOpenAI(model=WORKER, base_url=url, api_key=lambda: NO_KEY, max_retries=0, http_async_client=below)
        yield lambda: model.ainvoke(MESSAGES)


CLIENTS: dict[str, Callable[[str], AbstractAsyncContextManager[Send]]] = {
    "aiohttp": _aiohttp,
    "httpx2": _httpx,
    "AsyncOpenAI": partial(_openai, DefaultAsyncHttpxClient),
    "AsyncOpenAI on aiohttp": partial(_openai, DefaultAioHttpClient),
    "ChatOpenAI": partial(_chat, DefaultAsyncHttpxClient),
    "ChatOpenAI on aiohttp": partial(_chat, DefaultAioHttpClient),
}


async def many(send: Send, calls: int) -> None:
    """So many calls, as many in flight as there are places."""
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with places:
            await send()

    await asyncio.gather(*(one() for _ in range(calls)))


class Cases:
    """The clients, each in an event loop of its own for as long as it is measured."""

    def __init__(self, world: Client) -> None:
        self._url = world.url
        self._runner = asyncio.Runner()
        self._send: Send | None = None

    @contextmanager
    def around(self, name: str) -> Generator[None]:
        """Have a client, with its connections open."""
        with asyncio.Runner() as runner:
            client = CLIENTS[name](self._url)
            self._runner, self._send = runner, runner.run(_entered(client))
            try:
                runner.run(many(self._send, IN_FLIGHT))
                yield
            finally:
                runner.run(_left(client))

    def run(self) -> None:
        """The calls."""
        assert self._send is not None
        self._runner.run(many(self._send, CALLS))


async def _entered(client: AbstractAsyncContextManager[Send]) -> Send:
    return await client.__aenter__()


async def _left(client: AbstractAsyncContextManager[Send]) -> None:
    await client.__aexit__(None, None, None)


def main(arguments: list[str] | None = None) -> None:
    """Print a row a client."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    busy = os.getloadavg()[0]
    with running() as world:
        world.reset(latency=LATENCY)
        cases = Cases(world)
        samples = take_turns(dict.fromkeys(CLIENTS, cases.run), given.rounds, cases.around)
    print(
        f"{CALLS} calls, {IN_FLIGHT} in flight, {LATENCY * 1000:.0f} ms each, so {FLOOR:.1f} s at least; medians of "
        f"{given.rounds} rounds with quartiles, on {os.cpu_count()} cores with a load of {busy:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after; Python {sys.version.split()[0]}"
    )
    for name in CLIENTS:
        cpu, wall = taken(samples.cpu, name, CALLS), taken(samples.wall, name, 1)
        print(
            f"  {name:24} CPU a call {cpu.median / 1e3:5.2f} ms ({cpu.low / 1e3:.2f} to {cpu.high / 1e3:.2f})"
            f"   wall {wall.median / 1e6:5.2f} s ({wall.low / 1e6:.2f} to {wall.high / 1e6:.2f}),"
            f" {wall.median / 1e6 / FLOOR:.2f} of the floor"
        )
    saved = added(samples.cpu, "ChatOpenAI", "ChatOpenAI on aiohttp", CALLS)
    print(
        f"  ChatOpenAI takes more without aiohttp, ms a call: {saved.median / 1e3:.2f} ({saved.low / 1e3:.2f} to {saved.high / 1e3:.2f})"
    )


if __name__ == "__main__":
    main()
