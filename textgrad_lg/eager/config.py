"""The engine that is used where none is given."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.language_models import BaseChatModel

from textgrad_lg.eager.engine.base import EngineLM
from textgrad_lg.eager.engine.chat import ChatEngine, FunctionEngine
from textgrad_lg.eager.engine.names import get_engine
from textgrad_lg.eager.errors import EngineSet, NoEngine, UnknownEngine
from textgrad_lg.sync import in_loop

EngineLike = EngineLM | BaseChatModel | str | Callable[..., str]
"""An engine, or what one can be made of: a chat model, a name, a function of the content and the system prompt."""

_HERE: ContextVar[EngineLM | None] = ContextVar("textgrad_lg_backward_engine", default=None)


class _Script:
    """What the top level of the script has set: threads that are started raw have a context without it."""

    engine: EngineLM | None = None


class SingletonBackwardEngine:
    """The engine of this context. Every instance is the same as any other."""

    def set_engine(self, engine: EngineLM | None, override: bool = False) -> None:
        """See `set_backward_engine`."""
        if self.get_engine() is not None and not override:
            raise EngineSet(
                f"a backward engine is set already ({self.get_engine()!r}); give override=True to replace it, or hand the "
                "other engine to the call that needs it"
            )
        _HERE.set(engine)
        if threading.current_thread() is threading.main_thread() and not in_loop():
            _Script.engine = engine

    def get_engine(self) -> EngineLM | None:
        """The engine that holds here; None where none is set."""
        return _HERE.get() or _Script.engine


def set_backward_engine(engine: EngineLike | None, override: bool = False, **kwargs: Any) -> None:
    """Set the engine that is used where none is given.

    What a thread or an asyncio task sets holds for it, and for what it starts. What the main thread sets outside of any event
    loop holds everywhere else, as a script expects it to. An engine given to a call always wins over the one set here.

    Args:
        engine: The engine; None to unset it.
        override: Whether one that is set already may be replaced.
        kwargs: For an engine given by name, see `get_engine`.

    Raises:
        EngineSet: One is set already.
        UnknownEngine: It is none.
    """
    made = None if engine is None else get_engine(engine, **kwargs) if isinstance(engine, str) else as_engine(engine)
    SingletonBackwardEngine().set_engine(made, override)


def as_engine(engine: EngineLike) -> EngineLM:
    """The engine that is meant.

    Raises:
        UnknownEngine: It is none of what an engine can be made of.
    """
    if isinstance(engine, EngineLM):
        return engine
    if isinstance(engine, BaseChatModel):
        return ChatEngine(engine)
    if isinstance(engine, str):
        return get_engine(engine)
    generate = getattr(cast("object", engine), "generate", None)
    if callable(generate):
        return FunctionEngine(cast("Callable[..., str]", generate))
    if callable(cast("object", engine)):
        return FunctionEngine(engine)
    raise UnknownEngine(
        f"{type(engine).__name__} is no engine: give a LangChain chat model, a name as in 'openai:gpt-4o', or a function of "
        "the content and the system prompt that returns a text"
    )


def validate_engine_or_get_default(engine: EngineLike | None) -> EngineLM:
    """The engine given, or else the one that is set.

    Raises:
        NoEngine: Neither is there.
        UnknownEngine: What was given is no engine.
    """
    found = SingletonBackwardEngine().get_engine() if engine is None else as_engine(engine)
    if found is None:
        raise NoEngine("no engine is given and none is set; give engine=, or call set_backward_engine first")
    return found
