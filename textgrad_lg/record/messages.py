"""The texts in the messages of a recorded call, and those of them that the graph keeps in its state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from textgrad_lg.site import Site
from textgrad_lg.types import JSON, SpanKind

if TYPE_CHECKING:
    from textgrad_lg.trace import Span
    from textgrad_lg.variable import Variable

_KEPT = "kept"


class Kept(NamedTuple):
    """A text of a human message that a call was sent and that came from the graph's state.

    Attributes:
        variable: The id that its Variable has if it is a Parameter.
        site: Where it entered the call; index 0.
        text: The text.
    """

    variable: str
    site: Site
    text: str


def pieces_in(content: JSON) -> list[JSON]:
    """What of a message's content could each be a text of the author's: its text blocks, or the content as a whole.

    An agent's system message often has a block of its own for each instruction, so that a provider can cache the first.
    """
    if not isinstance(content, list):
        return [content]
    blocks = (block.get("text") if isinstance(block, dict) else block for block in content)
    return [text for text in blocks if isinstance(text, str)] or [content]


def kept_in(span: Span) -> Iterator[Kept]:
    """The texts of a call's human messages that came from the state; most of them are a user's.

    The recorder makes no Variable of them, because a conversation is sent again in each of its calls.
    """
    if span.kind is not SpanKind.LLM:
        return
    agent = span.attributes.get("agent")
    place = Site(span.path, "human", 0, str(agent) if agent else None)
    messages = cast("list[Any]", span.attributes.get("messages") or [])
    told = (cast("dict[str, JSON]", message) for message in messages if isinstance(message, dict))
    from_state = (at for at in told if "site" not in at and at.get("role") == "human" and at.get("id") is not None)
    texts = (text for message in from_state for text in pieces_in(message.get("content")) if isinstance(text, str))
    for at, text in enumerate(texts):
        yield Kept(f"{span.id}.{_KEPT}{at}", place, text)


def is_kept(variable: Variable) -> bool:
    """Whether a Variable is a Parameter that came from the state."""
    return variable.site is not None and variable.id.rpartition(".")[2].startswith(_KEPT)
