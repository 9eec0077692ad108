"""Values of a run as JSON. What has no JSON form is replaced by a marker, and a warning says so."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, ToolMessage
from langgraph.types import Command, Overwrite, Send
from pydantic import BaseModel

from textgrad_lg.types import JSON

if TYPE_CHECKING:
    from collections.abc import Iterable

DEPTH = 64
"""How deep values may nest before they are cut off with a warning."""
_PAIR = 2
_ROLES = {"ai": "assistant", "AIMessageChunk": "assistant"}


class Converter:
    """Makes JSON of values, each message once.

    Attributes:
        warnings: What could not be converted, in words, each once, in the order met.
    """

    def __init__(self) -> None:
        self.warnings: dict[str, None] = {}
        self._texts: dict[str, str] = {}
        # By identity: the same message object stands in the state of every later step. The object is kept beside its
        # JSON so that its id is not given to another meanwhile.
        self._messages: dict[int, tuple[BaseMessage, dict[str, JSON]]] = {}

    def json(self, value: Any, where: str) -> JSON:
        """`value` as JSON.

        Args:
            value: Anything.
            where: What it is, for warnings: "channel `notes`".
        """
        return self._json(value, where, 0)

    def message(self, message: BaseMessage, where: str = "message") -> dict[str, JSON]:
        """A message as `{"role", "content"}` and, where it has them, "name", "tool_calls", "tool_call_id", "id"."""
        known = self._messages.get(id(message))
        if known is None:
            known = (message, self._message(message, where, 0))
            self._messages[id(message)] = known
        return known[1]

    def _json(self, value: Any, where: str, depth: int) -> JSON:
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, (str, int, float)):
            return self._scalar(value, where)
        if depth > DEPTH:
            return self._marker(value, where, f"nested deeper than {DEPTH} levels")
        if isinstance(value, BaseMessage):
            return self.message(value, where)
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[Any, Any]", value).items(), where, depth)
        if isinstance(value, (list, tuple, AbstractSet)):
            items = self._sequence(cast("list[Any]", value), where, depth)
            return sorted(items, key=canonical) if isinstance(value, AbstractSet) else items
        return self._object(value, where, depth)

    def _scalar(self, value: str | float | None, where: str) -> JSON:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, where)
        if isinstance(value, int):
            return int(value)
        return float(value) if math.isfinite(value) else str(float(value))

    def _sequence(self, values: Iterable[Any], where: str, depth: int) -> list[JSON]:
        return [self._json(item, where, depth + 1) for item in values]

    def _mapping(self, items: Iterable[tuple[Any, Any]], where: str, depth: int) -> dict[str, JSON]:
        found: dict[str, JSON] = {}
        for key, item in items:
            name = key if type(key) is str else str(key.value if isinstance(key, Enum) else key)
            name = self._text(name, where)
            if name in found:
                self._warn(f"{where}: two keys read {name!r} as text; the later one was kept")
            found[name] = self._json(item, where, depth + 1)
        return found

    def _object(self, value: Any, where: str, depth: int) -> JSON:
        own = _own_fields(value)
        if own is not None:
            return self._mapping(own, where, depth)
        if isinstance(value, Overwrite):
            return self._json(value.value, where, depth + 1)
        if isinstance(value, (bytes, bytearray)):
            return self._marker(value, where, "bytes", f"<{len(value)} bytes>")
        return _word(value) or self._marker(value, where, "which has no JSON form")

    def _message(self, message: BaseMessage, where: str, depth: int) -> dict[str, JSON]:
        role = message.role if isinstance(message, ChatMessage) else _ROLES.get(message.type, message.type)
        found: dict[str, JSON] = {"role": role, "content": self._json(message.content, where, depth + 1)}
        if message.name:
            found["name"] = message.name
        if isinstance(message, AIMessage):
            if message.tool_calls:
                found["tool_calls"] = [
                    {"name": call["name"], "args": self._json(call["args"], where, depth + 1), "id": call["id"]}
                    for call in message.tool_calls
                ]
            if message.invalid_tool_calls:
                found["invalid_tool_calls"] = self._json(message.invalid_tool_calls, where, depth + 1)
        if isinstance(message, ToolMessage):
            found["tool_call_id"] = message.tool_call_id
            if message.status == "error":
                found["status"] = "error"
        if message.id:
            found["id"] = message.id
        return found

    def _text(self, text: str, where: str) -> str:
        # Each text once: nodes fill the same template, and read the same word, again and again.
        text = str(text)
        text = self._texts.setdefault(text, text)
        if text.isascii():
            return text
        try:
            text.encode()
        except UnicodeEncodeError:
            self._warn(f"{where}: lone surrogates, which UTF-8 cannot hold, became question marks")
            return text.encode("utf-8", "replace").decode()
        # The very object: a Trace is not to hold a large document once for each node that read it.
        return text

    def _marker(self, value: Any, where: str, why: str, marker: str | None = None) -> str:
        # The type's name and not its repr: a repr may hold an address, which differs from run to run.
        kind = type(value).__qualname__
        self._warn(f"{where}: a value of type {kind} was not recorded ({why})")
        return marker or f"<{kind}>"

    def _warn(self, text: str) -> None:
        self.warnings[text] = None


def canonical(value: JSON) -> str:
    """JSON with sorted keys: equal for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _own_fields(value: Any) -> list[tuple[str, Any]] | None:
    """The fields of an object that is made of fields, else None."""
    if isinstance(value, Overwrite):
        return None
    if isinstance(value, Send):
        return [("node", value.node), ("arg", value.arg)]
    if isinstance(value, Command):
        command = cast("Command[Any]", value)
        return [("update", command.update), ("goto", command.goto)]
    if isinstance(value, BaseModel):
        own = [(name, getattr(value, name, None)) for name in type(value).model_fields]
        return [*own, *(value.model_extra or {}).items()]
    if is_dataclass(value) and not isinstance(value, type):
        return [(at.name, getattr(value, at.name, None)) for at in fields(value)]
    return None


def _word(value: Any) -> str | None:
    """A value of the standard library that has one usual way to be written, else None."""
    if isinstance(value, (PurePath, UUID, Decimal, timedelta)):
        return str(value)
    return value.isoformat() if isinstance(value, (date, time)) else None


def state_fields(value: Any) -> list[tuple[str, Any]]:
    """The fields of a graph's state, input or output; the one field "" for what is not a mapping."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in cast("Mapping[Any, Any]", value).items()]
    if isinstance(value, Command):
        update = update_fields(value.update)
        return [*update, ("resume", value.resume)] if value.resume is not None else update
    if isinstance(value, BaseModel) and not isinstance(value, BaseMessage):
        return [(name, getattr(value, name, None)) for name in type(value).model_fields]
    return [("", value)]


def update_fields(value: Any) -> list[tuple[str, Any]]:
    """What a node's return value writes: channel and value, in order."""
    if isinstance(value, Command):
        return _command_fields(value.update)
    if isinstance(value, Send):
        return []
    if isinstance(value, BaseModel) and not isinstance(value, BaseMessage):
        # As LangGraph does: of a state object only what was set, or is not None, is written.
        return [(k, v) for k, v in state_fields(value) if v is not None or k in value.model_fields_set]
    if isinstance(value, (list, tuple)):
        items = cast("list[Any]", value)
        if any(isinstance(item, Command) for item in items):
            return [pair for item in items for pair in update_fields(item)]
    return state_fields(value)


def _command_fields(update: Any) -> list[tuple[str, Any]]:
    if isinstance(update, (list, tuple)):
        items = cast("list[Any]", update)
        if all(isinstance(item, tuple) and len(cast("tuple[Any, ...]", item)) == _PAIR for item in items):
            return [(str(item[0]), item[1]) for item in items]
    elif is_dataclass(update):
        return _own_fields(update) or []
    return update_fields(update)


def overwrites(value: Any) -> tuple[bool, Any]:
    """Whether a written value replaces the channel past its reducer, in any of LangGraph's three forms, and the value."""
    plain: Any = value
    if isinstance(value, Overwrite):
        return True, value.value
    if isinstance(value, dict):
        written = cast("dict[Any, Any]", value)
        if len(written) == 1 and "__overwrite__" in written:
            return True, written["__overwrite__"]
        if written.get("type") == "__overwrite__" and "value" in written:
            return True, written["value"]
    return False, plain


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same objects, or equal texts or numbers: without calling a user's `__eq__`."""
    if left is right:
        return True
    if isinstance(left, (str, int, float)) and type(left) is type(right):
        return left == right
    if isinstance(left, list) and isinstance(right, list):
        one, other = cast("list[Any]", left), cast("list[Any]", right)
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        first, second = cast("dict[Any, Any]", left), cast("dict[Any, Any]", right)
        return first.keys() == second.keys() and all(same(item, second[key]) for key, item in first.items())
    return False
