"""Keys: when two calls ask the same.

A key is a hash of everything that decides an answer and of nothing that differs from run to run, so that a Memo holds no
prompt and no secret, and is found again by another process. Where something that may decide the answer has no JSON form
there is no key, and the call is made: a wrong answer would be worse than a paid one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, ToolMessage
from pydantic import BaseModel, SecretStr

from textgrad_lg.types import JSON

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

# What a call carries beside its request: where it is reported to, and whether the reply comes in pieces.
_NOT_ASKED = frozenset(
    {
        "callbacks", "tags", "metadata", "run_name", "run_id", "stream", "stream_usage", "stream_options",
        "ls_structured_output_format", "structured_output_format",
    }
)  # fmt: skip
_SECRET = re.compile(
    r"secret|password|credential|headers|api_?key|access_?key|(^|_)auth|(access|auth|bearer|api)_token"
)
# Of the fields that every chat model has, the one that changes what a reply looks like.
_COMMON = frozenset(BaseChatModel.model_fields) - {"output_version"}


class NoKey(Exception):  # noqa: N818  reads as the condition it names
    """Something that may decide the answer has no JSON form; says what."""


def model_key(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    stop: Sequence[str] | None,
    options: Mapping[str, Any],
    place: tuple[tuple[str, ...], str | None],
) -> str:
    """The key of a model call.

    Args:
        model: The model; known by its class and by its settings that are plain values and no secrets.
        messages: The messages that are sent. Their ids do not count, nor what tool calls happen to be called.
        stop: The stop words.
        options: The call's other options: tools, output schema, temperature and the like.
        place: The path in the graph where the call is made, and the agent that makes it; from `site.call_path`.

    Raises:
        NoKey: The call cannot be compared with others.
    """
    asked = {name: value for name, value in options.items() if name not in _NOT_ASKED and value is not None}
    request: Any = [_message(message) for message in messages]
    named = {call: f"call {at}" for at, call in enumerate(_calls(messages))}
    if named:
        request = renamed(_plain(request), named)
    return _hash(["model", _model(model, stop, asked), request, list(stop or ()), asked, place])


def tool_key(tool: BaseTool, given: str | Mapping[str, Any]) -> str:
    """The key of a tool call: the tool's name, and the arguments that were not injected.

    Raises:
        NoKey: An argument has no JSON form.
    """
    return _hash(["tool", tool.name, arguments(tool, given)])


def arguments(tool: BaseTool, given: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """What a tool was asked, without what LangGraph injects: state, store, runtime, the id of the call."""
    if isinstance(given, str):
        return given
    # The very function by which LangChain tells callbacks of the arguments.
    return tool._filter_injected_args(dict(given))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def lane(metadata: Mapping[str, Any]) -> str:
    """Which of the parallel branches of a fan-out a call is made in: "" outside any."""
    path = metadata.get("langgraph_path")
    return json.dumps(path, default=str) if path and path[0] == "__pregel_push" else ""


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """JSON in which each text that is one of `names` is replaced by its new name."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, list):
        return [renamed(item, names) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: renamed(item, names) for key, item in cast("dict[str, Any]", value).items()}
    return value


def _hash(value: Any) -> str:
    try:
        text = json.dumps(_plain(value), sort_keys=True, ensure_ascii=True)
    except NoKey:
        raise
    except Exception as error:
        # A schema of the user's that cannot be written, a value that contains itself: the call is none the worse for it.
        raise NoKey(f"{type(error).__name__}: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _model(model: BaseChatModel, stop: Sequence[str] | None, asked: Mapping[str, Any]) -> dict[str, Any]:
    # LangChain documents these two as what providers override to say which model it is.
    params = model._get_ls_params(stop=list(stop) if stop else None, **asked)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    identity = model._identifying_params  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    # Numbers that count and lists that grow are how test doubles keep a state, which is no setting.
    kind, names = _kind(type(model))
    fields = {name: value for name in names if isinstance(value := getattr(model, name, None), (str, bool, float))}
    return {
        "class": kind,
        "params": _settings(params),
        "identity": _settings(identity),
        "fields": _settings(fields),
    }


@lru_cache
def _kind(model: type[BaseChatModel]) -> tuple[str, tuple[str, ...]]:
    """A class's name, and those of its fields that may be settings of its own."""
    own = (name for name, field in model.model_fields.items() if name not in _COMMON and not field.exclude)
    return f"{model.__module__}.{model.__qualname__}", tuple(own)


@lru_cache
def _is_secret(name: str) -> bool:
    return _SECRET.search(name.lower()) is not None


def _settings(values: Mapping[str, Any]) -> dict[str, JSON]:
    """Those of a model's settings that are plain values and no secrets: not its clients, callables and keys."""
    found: dict[str, JSON] = {}
    for name, value in values.items():
        if _is_secret(name) or isinstance(value, SecretStr):
            continue
        try:
            found[name] = _plain(value)
        except NoKey:
            continue
    return found


def _message(message: BaseMessage) -> dict[str, Any]:
    """A message as a provider is sent it."""
    found: dict[str, Any] = {
        # A reply that came in pieces is the same message afterwards.
        "type": message.type.removesuffix("MessageChunk").lower(),
        "content": message.content,
        "name": message.name,
        "more": message.additional_kwargs,
    }
    if isinstance(message, AIMessage):
        found["tool_calls"] = [[call["name"], call["args"], call["id"]] for call in message.tool_calls]
        found["invalid"] = [[call["name"], call["args"], call["id"]] for call in message.invalid_tool_calls]
    if isinstance(message, ToolMessage):
        found["answers"] = [message.tool_call_id, message.status]
    if isinstance(message, ChatMessage):
        found["role"] = message.role
    return found


def _calls(messages: Sequence[BaseMessage]) -> list[str]:
    """The ids of all tool calls, each once, in the order of first use."""
    found: dict[str, None] = {}
    for message in messages:
        if isinstance(message, AIMessage):
            found |= dict.fromkeys(call["id"] for call in message.tool_calls if call["id"])
        elif isinstance(message, ToolMessage):
            found[message.tool_call_id] = None
    return list(found)


def _plain(value: Any) -> JSON:
    if type(value) is str or value is None:  # nearly all there is
        return value
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("Sequence[Any]", value)]
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        if all(isinstance(key, str) for key, _ in items):
            return {key: _plain(item) for key, item in items}
    if isinstance(value, type) and issubclass(value, BaseModel):
        return {"class": value.__qualname__, "schema": cast("JSON", value.model_json_schema())}
    if isinstance(value, BaseModel):
        return _plain(value.model_dump())
    raise NoKey(f"a value of type {type(cast('object', value)).__qualname__} has no JSON form")
