"""Messages as producers write them, made into LangChain's message objects by hand: nothing of a payload is constructed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple, cast

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from textgrad_lg.types import JSON

_CLASSES: dict[str, type[BaseMessage]] = {
    "human": HumanMessage,
    "user": HumanMessage,
    "ai": AIMessage,
    "assistant": AIMessage,
    "model": AIMessage,
    "system": SystemMessage,
    "developer": SystemMessage,
    "tool": ToolMessage,
    "function": ToolMessage,
    "remove": RemoveMessage,
    "chat": ChatMessage,
}
_MARKS = ("additional_kwargs", "response_metadata")
_SUFFIXES = ("Chunk", "Message")
_PAIR = 2
_NAMES, _LONGEST = 256, 64
_VERSIONS = 8
"""So many things that a message of one id was made of are kept in mind: in a trace that was not tampered with there are two."""


class Messages:
    """Makes the messages of one trace, each once, and finds the ids of those that were written without.

    LangGraph gives each message of the state an id; a message without one was built for its call. Where a producer leaves
    ids out of what it says of a call, a message that stands in the state word for word is taken for that one.
    """

    def __init__(self) -> None:
        self._made: dict[str, list[_Known]] = {}
        self._ids: dict[str, str] = {}
        # Met, and not yet in `_ids`: most traces never ask what a message without an id is called.
        self._named: list[BaseMessage] = []
        self.calls: dict[str, JSON] = {}
        """The arguments of the tool calls met so far, by the calls' ids."""

    def read(self, item: JSON) -> BaseMessage | None:
        """The message that a value is, or None if it is none."""
        found = _fields(item)
        return None if found is None else self._message(*found)

    def sent(self, item: JSON, *, has_ids: bool) -> BaseMessage | None:
        """A message of a model call; `has_ids` says whether one from the state would have its id."""
        found = _spoken(item)
        if found is None:
            return None
        message = self._message(*found)
        if has_ids or message.id is not None:
            return message
        known = self._known_ids().get(_key(message))
        return message.model_copy(update={"id": known}) if known else message

    def received(self, item: JSON) -> BaseMessage | None:
        """A message of the state that was written without its id, and is given one: that of its content."""
        found = _spoken(item)
        if found is None:
            return None
        message = self._message(*found)
        if message.id is not None:
            return message
        ids = self._known_ids()
        name = ids.setdefault(_key(message), f"message-{len(ids)}")
        return message.model_copy(update={"id": name})

    def _known_ids(self) -> dict[str, str]:
        """The ids of messages by what they say; of several that say the same, that of the first."""
        for message in self._named:
            self._ids.setdefault(_key(message), str(message.id))
        self._named.clear()
        return self._ids

    def _message(self, role: str, told: Mapping[str, Any]) -> BaseMessage:
        name = told.get("id")
        if not isinstance(name, str):
            return self._noted(_make(*_made(role, told)))
        # The same message comes again in the state of every later step, and in other words in the calls.
        known = self._made.setdefault(name, [])
        for at in known:
            if at.role == role and at.told == told:
                return at.message
        kind, fields = _made(role, told)
        message = next((at.message for at in known if at.message.__class__ is kind and at.fields == fields), None)
        if message is None:
            message = self._noted(_make(kind, fields))
            self._named.append(message)
        if len(known) < _VERSIONS:
            known.append(_Known(role, told, fields, message))
        return message

    def _noted(self, message: BaseMessage) -> BaseMessage:
        for call in getattr(message, "tool_calls", ()):
            self.calls[str(call["id"])] = call["args"]
        return message


class _Known(NamedTuple):
    """A message with an id, and what it was made of."""

    role: str
    told: Mapping[str, Any]
    fields: Mapping[str, Any]
    message: BaseMessage


def _key(message: BaseMessage) -> str:
    about = [message.content, getattr(message, "tool_call_id", None)]
    calls = [[call["name"], call["args"]] for call in getattr(message, "tool_calls", ())]
    return json.dumps([message.type, *about, calls], sort_keys=True, default=str)


def _fields(item: JSON) -> tuple[str, Mapping[str, Any]] | None:
    """The role and fields of a message in one of the forms in which LangChain's tracers write it."""
    if not isinstance(item, dict):
        return None
    kind = item.get("type")
    told = item.get("data")
    if isinstance(told, dict) and isinstance(kind, str) and len(item) == _PAIR and "content" in told:
        return _role(kind), told
    if item.get("lc") == 1:
        path, told = item.get("id"), item.get("kwargs")
        role = _class_role(str(path[-1])[:_LONGEST]) if isinstance(path, list) and path else ""
        return (role, told) if kind == "constructor" and role and isinstance(told, dict) else None
    if isinstance(kind, str) and "content" in item and any(mark in item for mark in _MARKS):
        return _role(kind), item
    return None


def _spoken(item: JSON) -> tuple[str, Mapping[str, Any]] | None:
    """The same of a model call's message, where anything with a role or type is one."""
    found = _fields(item)
    if found is not None or not isinstance(item, dict):
        return found
    role = item.get("role") or item.get("type")
    if not isinstance(role, str):
        return None
    parts = item.get("parts")
    return _role(role), _from_parts(cast("list[Any]", parts)) if isinstance(parts, list) else item


@lru_cache(_NAMES)
def _class_role(name: str) -> str:
    """The role of a message by the name of LangChain's class; empty for what is no message."""
    role = name
    for suffix in _SUFFIXES:
        role = role.removesuffix(suffix)
    return role.lower() if role != name and role.lower() in _CLASSES else ""


def _role(kind: str) -> str:
    if kind in _CLASSES:
        return kind
    plain = kind.removesuffix("Chunk").removesuffix("Message").lower()
    return plain if plain in _CLASSES else kind


def _from_parts(parts: list[Any]) -> dict[str, Any]:
    """The fields of a message in the form of the GenAI conventions."""
    blocks, calls, told = sorted_out(parts)
    plain = [block for block in blocks if block is not None]
    if len(plain) == 1 and not isinstance(plain[0], dict):
        told["content"] = plain[0]
    else:
        told["content"] = [{"type": "text", "text": at} if isinstance(at, str) else at for at in plain] or ""
    return {**told, "tool_calls": calls}


def sorted_out(parts: list[Any]) -> tuple[list[Any], list[dict[str, Any]], dict[str, Any]]:
    """The parts of a message in the form of the GenAI conventions: its content, its tool calls, and the call that it answers."""
    blocks: list[Any] = []
    calls: list[dict[str, Any]] = []
    told: dict[str, Any] = {}
    for part in (cast("dict[str, Any]", at) for at in parts if isinstance(at, dict)):
        match part.get("type"):
            case "text":
                blocks.append(part.get("content"))
            case "tool_call":
                calls.append({"name": part.get("name"), "args": part.get("arguments"), "id": part.get("id")})
            case "tool_call_response":
                told["tool_call_id"] = part.get("id")
                blocks.append(part.get("response", part.get("result")))
            case _:
                blocks.append(part)
    return blocks, calls, told


def _made(role: str, told: Mapping[str, Any]) -> tuple[type[BaseMessage], dict[str, Any]]:
    """The kind and the fields of a message. They are strangers' data: what does not fit is left out or written as text."""
    kind = _CLASSES.get(role, ChatMessage)
    name, given = told.get("name"), told.get("id")
    fields: dict[str, Any] = {
        "content": _content(told.get("content")),
        "id": given if isinstance(given, str) else None,
    }
    if isinstance(name, str):
        fields["name"] = name
    if kind is AIMessage:
        fields["tool_calls"] = _calls(told.get("tool_calls"))
        invalid: Any = told.get("invalid_tool_calls")
        if isinstance(invalid, list) and invalid:
            fields["invalid_tool_calls"] = cast("Any", invalid)
        usage: Any = told.get("usage_metadata")
        if isinstance(usage, dict):
            fields["usage_metadata"] = cast("Any", usage)
    elif kind is ToolMessage:
        fields["tool_call_id"] = str(told.get("tool_call_id") or "")
        if told.get("status") == "error":
            fields["status"] = "error"
    elif kind is ChatMessage:
        fields["role"] = str(told.get("role") or role)
    return kind, fields


def _make(kind: type[BaseMessage], fields: Mapping[str, Any]) -> BaseMessage:
    # A copy of an empty one, not validated: that takes twenty times as long, and all that is read of it is made sure above.
    return _empty(kind).model_copy(update=fields)


@cache
def _empty(kind: type[BaseMessage]) -> BaseMessage:
    """An empty message of a kind; its lists and mappings are shared by all that are made of it, and nothing writes to them."""
    if kind is RemoveMessage:
        return RemoveMessage(id="")
    if kind is ToolMessage:
        return ToolMessage(content="", tool_call_id="")
    return ChatMessage(content="", role="") if kind is ChatMessage else kind(content="")


def _content(value: Any) -> Any:
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [item if isinstance(item, str | dict) else json.dumps(item) for item in items]
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _calls(value: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in cast("list[Any]", value) if isinstance(value, list) else []:
        if isinstance(item, dict):
            call = cast("dict[str, Any]", item)
            args: Any = call.get("args")
            made: dict[str, Any] = {"name": str(call.get("name") or ""), "id": call.get("id"), "type": "tool_call"}
            found.append({**made, "args": args if isinstance(args, dict) else {"": args}})
    return found
