"""What calls answer, as JSON and back: the replies of models, and what tools return or raise.

Only plain values and known types are written, and nothing is imported or run to read them.
"""

# LangGraph ships no stubs.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, message_chunk_to_message, message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGeneration, ChatResult, Generation
from langchain_core.tools import ToolException
from langgraph.types import Command, Send

from textgrad_lg.types import JSON

_RUN_ID = "lc_run-"
"""How the ids begin that LangChain gives to replies that have none; it gives each run its own."""


class NoForm(Exception):  # noqa: N818  reads as the condition it names
    """A value has no JSON form; says which."""


def reply_to_json(replies: Sequence[Generation], output: Mapping[str, Any] | None) -> str:
    """The replies of a model to one prompt, as one line of JSON: as a text they take a third of the memory.

    Raises:
        NoForm: One of them has no JSON form.
    """
    found: list[Any] = []
    for reply in replies:
        if not isinstance(reply, ChatGeneration):
            raise NoForm(f"the reply is a {type(reply).__qualname__} and no message")
        message = message_chunk_to_message(reply.message)
        if message.id is not None and message.id.startswith(_RUN_ID):
            message = message.model_copy(update={"id": None})
        found.append([message_to_dict(message), reply.generation_info])
    return _text({"replies": found, "output": dict(output) if output else None})


def reply_from_json(value: JSON) -> ChatResult:
    """The replies again, as a model gives them."""
    # As an object is how a Memo had them that was kept by an earlier release.
    found = cast("dict[str, Any]", json.loads(value) if isinstance(value, str) else value)
    generations = [
        ChatGeneration(message=messages_from_dict([message])[0], generation_info=info)
        for message, info in found["replies"]
    ]
    return ChatResult(generations=generations, llm_output=found["output"])


def output_to_json(output: Any) -> JSON:
    """What a tool returned.

    Raises:
        NoForm: It has no JSON form that reads back as the same value.
    """
    value = _checked(_write(output))
    again = output_from_json(value)
    if type(again) is not type(output) or again != output:
        raise NoForm(f"a {type(output).__qualname__} in it does not survive being written as JSON")
    return value


def output_from_json(value: JSON) -> Any:
    """What a tool returned, again."""
    return _read(value)


def error_to_json(error: Exception) -> JSON:
    """What a tool raised: one of Python's own exceptions, or LangChain's `ToolException`.

    Raises:
        NoForm: It is of another class, or carries more than plain values.
    """
    kind = type(error)
    if _KNOWN.get(kind.__name__) is not kind:
        raise NoForm(f"it raised {kind.__qualname__}, and only Python's own exceptions are remembered")
    return _checked([kind.__name__, _write(list(error.args))])


def error_from_json(value: JSON) -> Exception:
    """What a tool raised, again."""
    name, args = cast("list[Any]", value)
    return _KNOWN[name](*_read(args))


_KNOWN: dict[str, type[Exception]] = {
    **{
        name: kind
        for name, kind in vars(builtins).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind.__name__ == name
    },
    "ToolException": ToolException,
}


def _write(value: Any) -> Any:
    """Plain values as they are, lists as lists; everything else as an object whose one key says what it is."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, list):
        return [_write(item) for item in cast("list[Any]", value)]
    for name, (kind, write, _) in _FORMS.items():
        if isinstance(value, kind):
            return {name: write(value)}
    raise NoForm(f"a value of type {type(value).__qualname__} in it has no JSON form")


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    ((name, inner),) = cast("dict[str, Any]", value).items()
    return _FORMS[name][2](inner)


def _write_dict(value: dict[Any, Any]) -> dict[str, Any]:
    if not all(isinstance(key, str) for key in value):
        raise NoForm("a dict in it has keys that are no text")
    return {key: _write(item) for key, item in value.items()}


def _write_command(value: Command[Any]) -> dict[str, Any]:
    return {name: _write(getattr(value, name)) for name in ("graph", "update", "resume", "goto")}


_FORMS: dict[str, tuple[type[Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tuple": (
        tuple,
        lambda value: [_write(item) for item in value],
        lambda value: tuple(_read(item) for item in value),
    ),
    "message": (BaseMessage, message_to_dict, lambda value: messages_from_dict([value])[0]),
    "document": (Document, lambda value: value.model_dump(), lambda value: Document(**value)),
    "send": (Send, lambda value: [value.node, _write(value.arg)], lambda value: Send(value[0], _read(value[1]))),
    "command": (
        Command,
        _write_command,
        lambda value: Command(**{name: _read(item) for name, item in value.items()}),
    ),
    "dict": (dict, _write_dict, lambda value: {key: _read(item) for key, item in value.items()}),
}
"""What values that JSON has no form for are written as: how they are known, written and read."""


def _checked(value: Any) -> JSON:
    return cast("JSON", json.loads(_text(value)))


def _text(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise NoForm(f"it has no JSON form ({error})") from error
