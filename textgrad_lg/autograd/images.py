"""Images among the inputs of a call: a request shows them as images, after its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, HumanMessage

from textgrad_lg.variable import is_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textgrad_lg.types import JSON

MOST = 4
"""Images at most in one request; the first are taken."""


def with_images(messages: Sequence[BaseMessage], given: Iterable[tuple[str, JSON]]) -> list[BaseMessage]:
    """The request with the images of `given` after the text of its last message; unchanged where there are none.

    Args:
        messages: A request of text messages, the last one human.
        given: Pairs of a role and a value; what is no image is passed over, and the same image is shown once.
    """
    blocks: list[dict[str, Any]] = []
    roles: list[str] = []
    for role, value in given:
        if isinstance(value, dict) and is_image(value) and value not in blocks and len(blocks) < MOST:
            blocks.append(dict(value))
            roles.append(" ".join(role.split())[:120])
    if not blocks:
        return list(messages)
    named = "\n".join(f"Image {at}: {role}" for at, role in enumerate(roles, 1))
    text = f"{messages[-1].text}\n\nAttached as data, in this order:\n{named}"
    content: list[str | dict[str, Any]] = [{"type": "text", "text": text}, *blocks]
    return [*messages[:-1], HumanMessage(content)]
