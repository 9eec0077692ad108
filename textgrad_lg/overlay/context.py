"""Opening an overlay: around a block of code, or around each step of a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from typing import Any, TypeVar, cast

from langchain_core.language_models import BaseChatModel

from textgrad_lg.overlay.limits import Limits
from textgrad_lg.overlay.retriever import patched
from textgrad_lg.overlay.rewrite import Replacement, Texts, check
from textgrad_lg.overlay.scope import Memory, Scope, current, in_force
from textgrad_lg.overlay.settings import Watch
from textgrad_lg.types import Meter

__all__ = ["Replacement", "Texts", "astepped", "overlay", "stepped"]

_T = TypeVar("_T")
_END: Any = object()


@contextmanager
def overlay(
    texts: Texts | None = None,
    *,
    meter: Meter | None = None,
    seen: Callable[[BaseChatModel], None] | None = None,
    memory: Memory | None = None,
    watch: Watch | None = None,
    limits: Limits | None = None,
    flight: Any = None,
) -> Generator[None]:
    """Lay texts over every graph that runs in this context, and meter its model calls.

    Scoped by ContextVar: threads that LangChain and LangGraph start, and asyncio tasks, run under the overlay they were
    started in, and other contexts see nothing of it. What is not given is inherited from the enclosing overlay. A
    generator must not `yield` from inside it, or its caller is under the overlay too.

    Args:
        texts: The texts in force inside; they replace the enclosing overlay's texts as a whole, so `{}` is the graph's
            own words. Those of a bound graph stay below them (see `bind`).
        meter: Admits every model call; what it raises leaves the call before the model is reached.
        seen: Called with the model of every call, before it is made.
        memory: Answers the calls whose reply it knows; they are neither made nor metered. See `textgrad_lg.replay`.
        watch: The settings that callbacks are told of.
        limits: Where each call waits for its place, before it is admitted.
        flight: Handed to the memory, which tells by it which calls under way are the same; these are made once.

    Raises:
        TemplateError: A new text needs a slot value that the old text does not give.
    """
    if texts is not None:
        check(texts)
    around = current() or Scope({})
    scope = Scope(
        around.texts if texts is None else texts,
        around.meter if meter is None else meter,
        around.seen if seen is None else seen,
        around.memory if memory is None else memory,
        around.watch if watch is None else watch,
        around.limits if limits is None else limits,
        around.flight if flight is None else flight,
    )
    with patched(scope), in_force(scope):
        yield


def stepped(scope: Callable[[], Scope], items: Callable[[Scope], Iterator[_T]]) -> Iterator[_T]:
    """Iterate with a Scope in force while a step runs and never while the caller has the turn.

    A ContextVar that is set across a `yield` would be seen by the caller, and would stay set if the stream were
    abandoned.

    Args:
        scope: Gives the Scope; asked once, when the first step is wanted.
        items: Makes the generator to iterate, which is closed at the end.
    """
    chosen = scope()
    made = items(chosen)
    with patched(chosen), closing(cast("Generator[_T]", made)):
        while True:
            with in_force(chosen):
                item = next(made, _END)
            if item is _END:
                return
            yield item


async def astepped(scope: Callable[[], Scope], items: Callable[[Scope], AsyncIterator[_T]]) -> AsyncIterator[_T]:
    """As `stepped`, for an asynchronous stream."""
    chosen = scope()
    made = items(chosen)
    with patched(chosen):
        async with aclosing(cast("AsyncGenerator[_T]", made)):
            while True:
                with in_force(chosen):
                    item = await anext(made, _END)
                if item is _END:
                    return
                yield item
