"""A value of a graph as text or JSON, whatever a state can hold."""

from __future__ import annotations

from typing import Any, cast

from langchain_core.messages import BaseMessage

from textgrad_lg.types import JSON
from textgrad_lg.variable import text_of


def as_text(value: object) -> str:
    """A value as a person would read it: the one field of a dict as its text, several as `field: text`, one a line."""
    if not isinstance(value, dict):
        return text_of(as_json(value))
    fields = {str(name): text_of(as_json(item)) for name, item in cast("dict[Any, object]", value).items()}
    if len(fields) == 1:
        return next(iter(fields.values()))
    return "\n".join(f"{name}: {text}" for name, text in fields.items())


def as_json(value: object) -> JSON:
    """`value` as JSON; a chat message as role and content, anything else that JSON cannot hold as its text."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, BaseMessage):
        message: dict[str, JSON] = {"role": value.type, "content": cast("JSON", value.content)}
        calls = getattr(value, "tool_calls", None)
        return {**message, "tool_calls": calls} if calls else message
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in cast("dict[Any, object]", value).items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in cast("list[object]", value)]
    return str(value)
