"""What is in force in the current context: the one ContextVar of the overlay."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation
from langchain_core.runnables.config import ensure_config

from textgrad_lg.overlay.limits import Limits
from textgrad_lg.overlay.rewrite import Texts
from textgrad_lg.overlay.settings import Watch, any_setting
from textgrad_lg.types import Meter


class Recall(Protocol):
    """What a Memory knows of one call, with one prompt or several."""

    @property
    def model(self) -> BaseChatModel:
        """The model to call in the place of the one that was meant: it gives the replies that are known."""
        ...

    @property
    def known(self) -> Sequence[bool]:
        """For each prompt, whether its reply is known, so that no call is made for it."""
        ...

    def join(self, flight: Any) -> Future[Any] | None:
        """What to wait for, where the same call is under way elsewhere, and then to ask again; None where it is to be made.

        Afterwards `model` and `known` say what came of it.
        """
        ...

    def keep(self, replies: Sequence[Sequence[Generation]], output: Mapping[str, Any] | None) -> None:
        """Told what the call gave, for each prompt; `output` is what the model said of the call as a whole."""
        ...

    def drop(self) -> None:
        """Told that the call gave nothing that may be remembered. Does nothing after `keep`."""
        ...


class Memory(Protocol):
    """Remembers what models have answered. Called from any thread."""

    def recall(
        self,
        model: BaseChatModel,
        prompts: Sequence[Sequence[BaseMessage]],
        stop: Sequence[str] | None,
        options: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> Recall:
        """What is known of a call: its rewritten prompts and options, and the metadata that LangGraph gave it."""
        ...


@dataclass(frozen=True, slots=True)
class Scope:
    """What an overlay asks of the model calls made under it.

    Attributes:
        texts: The texts in force.
        meter: Admits each call; None where nothing is limited.
        seen: Told the model of each call; None where nobody asks.
        memory: Asked before each call, told after it; None where nothing is remembered.
        watch: The settings that callbacks are told of; None where nobody asks.
        limits: Where each call waits for its place; None where none does.
        flight: Which calls under way are the same, for the memory's `join`; None where each is made.
    """

    texts: Texts
    meter: Meter | None = None
    seen: Callable[[BaseChatModel], None] | None = None
    memory: Memory | None = None
    watch: Watch | None = None
    limits: Limits | None = None
    flight: Any = None

    @property
    def sets(self) -> bool:
        """Whether settings are laid or watched."""
        return self.watch is not None or any_setting(self.texts)


_IN_FORCE: ContextVar[Scope | None] = ContextVar("textgrad_lg_overlay", default=None)


def current() -> Scope | None:
    """What is in force in this context, or None outside any overlay."""
    return _IN_FORCE.get()


@contextmanager
def in_force(scope: Scope) -> Generator[None]:
    """Put `scope` in force. Must not enclose a `yield` to a caller, who would see it too."""
    token = _IN_FORCE.set(scope)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def surroundings() -> Mapping[str, Any]:
    """The metadata of the run around the current code, from which `site.call_path` reads where it is.

    Both sources are needed: a runnable that is called with metadata of its own (`with_retry` does so) has only that in
    the config of what it calls, and hands on the rest with the callbacks.
    """
    config = ensure_config()
    inherited: Mapping[str, Any] = getattr(config.get("callbacks"), "metadata", None) or {}
    return {**inherited, **config.get("metadata", {})}
