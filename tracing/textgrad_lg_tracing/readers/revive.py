"""State as producers write it, made into what the recorder was given: messages, `Command`s and `Send`s in plain values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from langgraph.types import Command, Send

from textgrad_lg.types import JSON

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textgrad_lg_tracing.readers.messages import Messages

DEPTH = 64
"""How deep values may nest before they are left as they are written: what the recorder reads of a live state."""
_COMMAND = {"graph", "update", "resume", "goto"}
_SEND = re.compile(r"Send\(node='([^']{1,256})', arg=")
_LOST = re.compile(r"^(?:Command|Send|[A-Za-z_]\w*Message)\(")


def revive(value: JSON, messages: Messages, depth: int = 0) -> Any:
    """A value with its messages and commands as objects; all else as it is."""
    if isinstance(value, list):
        return [revive(item, messages, depth + 1) for item in value] if depth <= DEPTH else value
    if not isinstance(value, dict) or depth > DEPTH:
        return value
    if "type" in value:
        # Messages have one in each of their forms, and states seldom.
        message = messages.read(value)
        if message is not None:
            return message
    if "lc" in value and value["lc"] == 1 and "id" in value:
        return _object(value, messages, depth)
    if len(value) == len(_COMMAND) and value.keys() == _COMMAND:
        return _command(value, revive(value["update"], messages, depth + 1))
    return {
        key: revive(item, messages, depth + 1) if isinstance(item, (list, dict)) else item
        for key, item in value.items()
    }


def _command(value: dict[str, JSON], update: Any) -> Any:
    graph, goto = value["graph"], value["goto"]
    made: Any = Command
    return made(graph=graph if isinstance(graph, str) else None, update=update, goto=sends(goto) if goto else ())


def _object(value: dict[str, JSON], messages: Messages, depth: int) -> Any:
    """What LangChain wrote of an object that is no message: its fields, or its class where it wrote no more."""
    kwargs = value.get("kwargs")
    if value.get("type") == "constructor" and isinstance(kwargs, dict):
        return {key: revive(item, messages, depth + 1) for key, item in kwargs.items()}
    path = value.get("id")
    text = value.get("repr")
    # Tracers write what has no JSON form as Python prints it.
    return text if isinstance(text, str) and text else f"<{path[-1] if isinstance(path, list) and path else 'object'}>"


def is_lost(value: Any) -> bool:
    """Whether a value was written as Python prints an object, so that what was in it cannot be read."""
    items: Iterable[Any] = cast("list[Any]", value) if isinstance(value, list) and value else [value]
    return all(isinstance(item, str) and _LOST.match(item) for item in items)


def sends(value: Any) -> list[Any]:
    """What a router returned, its printed `Send`s as `Send`s whose value is yet to be found (None)."""
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    found: list[Any] = []
    for item in items:
        printed = _SEND.match(item) if isinstance(item, str) else None
        sent = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
        if printed:
            found.append(Send(printed[1], None))
        elif set(sent) == {"node", "arg"}:
            found.append(Send(str(sent["node"]), sent["arg"]))
        else:
            found.append(item)
    return found
