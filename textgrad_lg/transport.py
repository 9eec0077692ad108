"""The fast transport: aiohttp below OpenAI's client, for models that are made by name, where the extra `fast` is installed.

A connection of aiohttp belongs to one event loop, and has to be closed in it. Of a model that is made by name nobody knows in
which event loops it will be called. So its client goes by aiohttp where a run has opened that for its own event loop, and
everywhere else as it would have without: from other threads, other loops, and after the run.
"""

from __future__ import annotations

import asyncio
import urllib.request
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from langchain_core.language_models import BaseChatModel


def with_fast(model: BaseChatModel) -> BaseChatModel:
    """The model as it can go by the fast transport: a copy, where it is OpenAI's and its requests go straight to the server.

    Through a proxy they go as before, because aiohttp does not know all kinds of them.
    """
    kind = type(model)
    if (kind.__module__.partition(".")[0], kind.__name__) != ("langchain_openai", "ChatOpenAI"):
        return model
    given: Any = model
    plain = _below(model)
    if plain is None or given.openai_proxy or urllib.request.getproxies() or not _installed():
        return model
    client = given.root_async_client.with_options(http_client=_two_ways()(plain))
    return model.model_copy(update={"root_async_client": client, "async_client": client.chat.completions})


@asynccontextmanager
async def fast(*models: BaseChatModel | None) -> AsyncGenerator[None]:
    """Let those of the models that can go by the fast transport do so in this event loop, for the block.

    Blocks may overlap. Connections are closed with the last one of the event loop.
    """
    async with AsyncExitStack() as stack:
        for model in models:
            client = _below(model)
            if isinstance(client, Ways):
                await stack.enter_async_context(client.fast())
        yield


class Ways:
    """A client that goes by aiohttp in the event loops where that is open, and else by the client it was made from.

    Args:
        plain: The other client. It is not closed here: others may use it too.
    """

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self._plain = plain
        self._open: dict[asyncio.AbstractEventLoop, tuple[Any, int]] = {}

    @asynccontextmanager
    async def fast(self) -> AsyncGenerator[None]:
        """Go by aiohttp in this event loop, for the block; see `fast`."""
        from openai import DefaultAioHttpClient

        loop = asyncio.get_running_loop()
        client, blocks = self._open.get(loop) or (DefaultAioHttpClient(), 0)
        self._open[loop] = client, blocks + 1
        try:
            yield
        finally:
            client, blocks = self._open.pop(loop)
            if blocks > 1:
                self._open[loop] = client, blocks - 1
            else:
                await client.aclose()

    async def send(self, request: Any, **options: Any) -> Any:
        """Sent by the one or the other, whose own `send` is the one that requests are seen at."""
        client, _ = self._open.get(asyncio.get_running_loop()) or (self._plain, 0)
        return await client.send(request, **options)


def _below(model: BaseChatModel | None) -> Any:
    """The client that sends a model's requests; None where there is none to be found."""
    # OpenAI's client has no public way to ask for it.
    return getattr(getattr(model, "root_async_client", None), "_client", None)


@cache
def _two_ways() -> type[Any]:
    """`Ways` as OpenAI's client takes it. Made late: a client of a provider is imported where one is used."""
    from openai import DefaultAsyncHttpxClient

    class TwoWays(Ways, DefaultAsyncHttpxClient):
        pass

    return TwoWays


@cache
def _installed() -> bool:
    from openai import DefaultAioHttpClient

    try:
        DefaultAioHttpClient()
    except RuntimeError:  # what OpenAI's client says of its extra
        return False
    return True
