"""Asking for edits that code has to place: what cannot be placed is sent back once, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from pydantic import BaseModel

from textgrad_lg.errors import ModelError, TemplateError
from textgrad_lg.llm import ask
from textgrad_lg.templates import fence

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

T = TypeVar("T", bound=BaseModel)
P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")

_REASONS = 1_000
"""Hard cap in tokens of all reasons that are sent back."""


async def placed(
    model: BaseChatModel,
    request: Sequence[BaseMessage],
    schema: type[T],
    *,
    parts: Callable[[T], Sequence[P]],
    place: Callable[[P], R],
) -> tuple[tuple[R, ...], tuple[str, ...]]:
    """Ask the model, and place each part of its reply; ask once more for those that cannot be placed.

    Args:
        model: The model.
        request: What to ask it.
        schema: The form of the reply.
        parts: Gives the parts of a reply, each of which stands or falls by itself.
        place: Makes of a part what is wanted; raises `TemplateError` where it cannot.

    Returns:
        What was made, in the order of the first reply; and for each part that could not be placed the second time
        either, why.

    Raises:
        ModelError: The first call failed for good. A second one that does is told of, and costs no more than its parts.
        BudgetExhausted: A call was not admitted.
    """
    reply = (await ask(model, request, schema)).value
    found, refused = _try(parts(reply), place)
    if not refused:
        return _made(found), ()
    conversation = [*request, AIMessage(reply.model_dump_json()), HumanMessage(_again(refused))]
    try:
        second = (await ask(model, conversation, schema)).value
    except ModelError as error:
        return _made(found), (*refused.values(), str(error))
    mended, still = _try(parts(second)[: len(refused)], place)
    for at, new in zip(refused, mended, strict=False):
        found[at] = new
    unanswered = list(refused.values())[len(mended) :]
    return _made(found), (*still.values(), *unanswered)


def _try(parts: Sequence[P], place: Callable[[P], R]) -> tuple[list[tuple[R] | None], dict[int, str]]:
    """What each part gives, boxed, or None; and by position why it gives nothing."""
    found: list[tuple[R] | None] = []
    refused: dict[int, str] = {}
    for at, part in enumerate(parts):
        try:
            found.append((place(part),))
        except TemplateError as error:
            found.append(None)
            refused[at] = str(error)
    return found, refused


def _made(found: Sequence[tuple[R] | None]) -> tuple[R, ...]:
    return tuple(box[0] for box in found if box is not None)


def _again(refused: dict[int, str]) -> str:
    # The reasons quote the text and the reply, so they are data.
    reasons = fence("reasons", "\n".join(f"{at + 1}: {reason}" for at, reason in refused.items()), tokens=_REASONS)
    which = ", ".join(str(at + 1) for at in refused)
    return (
        f"Of your reply, these could not be applied, counted from 1: {which}. Nothing of them was changed. The reasons:\n\n"
        f"{reasons}\n\nSend those again, corrected and complete, in the same order, and no others."
    )
