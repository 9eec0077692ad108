"""Running a coroutine from sync code, inside a running event loop (a notebook, say) as well as outside of one."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result; what it raises is raised here."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    # This thread has a running loop already. The context goes along, so that the engine set for it is still set.
    with ThreadPoolExecutor(1, "textgrad-lg-eager") as pool:
        return pool.submit(contextvars.copy_context().run, asyncio.run, coroutine).result()
