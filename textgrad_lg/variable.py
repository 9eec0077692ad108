"""Variable: a value that flows between Spans."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from textgrad_lg.site import Site
from textgrad_lg.types import JSON

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that flows between Spans: text, messages or any other JSON.

    Attributes:
        id: Unique in its Trace; made from the Span's id, so the same run gives the same ids.
        value: The value, as JSON. A chat message is `{"role", "content"}` and, where it has them, `"tool_calls"`,
            `"tool_call_id"` and `"id"`.
        role: What the value is for, in words a model can use: "system prompt of `planner`", "channel `label`".
        span: The id of the Span that produced it; None for the input of the run and for Parameters.
        site: Where it enters its call, if it is a Parameter; else None.
        requires_grad: Whether gradients on it are wanted. True only for Parameters.
    """

    id: str
    value: JSON
    role: str
    span: str | None = None
    site: Site | None = None
    requires_grad: bool = False


_IDS = ("id", "call_id", "tool_call_id", "tool_use_id")
"""What messages, and the blocks and tool calls in them, are told apart by."""


def text_of(value: JSON) -> str:
    """The value as a person would read it: text as it is, messages line by line, anything else as JSON; no message's ids."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "content" in value:
        return _message_text(value)
    if isinstance(value, list) and value and all(isinstance(item, dict) and "content" in item for item in value):
        return "\n".join(
            f"{item.get('role', 'message')}: {_message_text(item)}" for item in cast("list[dict[str, JSON]]", value)
        )
    return json.dumps(without_ids(value), ensure_ascii=False, sort_keys=True)


def without_ids(value: JSON) -> JSON:
    """The value without the ids of messages and of tool calls: they are new in each run, and tell a reader nothing."""
    if isinstance(value, list):
        return [without_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "role" not in value or "content" not in value:
        return {key: without_ids(item) for key, item in value.items()}
    parts = ("content", "tool_calls", "invalid_tool_calls")
    found = {key: _unnamed(item) if key in parts else without_ids(item) for key, item in value.items()}
    return {key: item for key, item in found.items() if key not in _IDS}


_IMAGES = ("image", "image_url", "input_image")
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{600,}={0,2}")


def is_image(value: JSON) -> bool:
    """Whether a value is an image: one content block of a message, in LangChain's form or a provider's."""
    return isinstance(value, dict) and value.get("type") in _IMAGES


def images_in(content: JSON) -> list[JSON]:
    """The images in a message's content, in order."""
    return [block for block in content if is_image(block)] if isinstance(content, list) else []


def readable(text: str) -> str:
    """A text to be read, without what no reader can: bytes that are written as letters are named by their length."""
    return _ENCODED.sub(lambda found: f"[{len(found[0])} characters of encoded data]", text)


def leaf_texts(value: JSON) -> Iterator[str]:
    """Every piece of text inside a value, outermost first, in a fixed order; numbers and booleans as JSON writes them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from leaf_texts(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from leaf_texts(item)
    elif value is not None:
        yield json.dumps(value)


def _unnamed(items: JSON) -> JSON:
    """The blocks or the tool calls of a message, without their ids."""
    if not isinstance(items, list):
        return without_ids(items)
    return [
        {key: without_ids(part) for key, part in item.items() if key not in _IDS} if isinstance(item, dict) else item
        for item in items
    ]


def _message_text(message: dict[str, JSON]) -> str:
    content = message["content"]
    if isinstance(content, list):
        blocks = (block.get("text") if isinstance(block, dict) else block for block in content)
        text = "\n".join(str(block) for block in blocks if block is not None)
    else:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    calls = _unnamed(message.get("tool_calls"))
    return f"{text}\n{json.dumps(calls, ensure_ascii=False, sort_keys=True)}".strip() if calls else text
