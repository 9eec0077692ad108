"""What is in force in the current context: the one ContextVar of the overlay."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel

from textgrad_lg.overlay.rewrite import Texts
from textgrad_lg.types import Meter


@dataclass(frozen=True, slots=True)
class Scope:
    """What an overlay asks of the model calls made under it.

    Attributes:
        texts: The texts in force.
        meter: Admits each call; None where nothing is limited.
        seen: Told the model of each call; None where nobody asks.
    """

    texts: Texts
    meter: Meter | None = None
    seen: Callable[[BaseChatModel], None] | None = None


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
