"""Every way of running a graph, and what its model was sent meanwhile."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from textgrad_lg.testing import ScriptedChatModel


def _drain(items: Any) -> None:
    for _ in items:
        pass


async def _adrain(items: Any) -> None:
    async for _ in items:
        pass


def _stream(mode: str) -> Callable[..., None]:
    return lambda graph, inputs, **options: _drain(graph.stream(inputs, stream_mode=mode, subgraphs=True, **options))


def _astream(mode: str) -> Callable[..., None]:
    return lambda graph, inputs, **options: asyncio.run(
        _adrain(graph.astream(inputs, stream_mode=mode, subgraphs=True, **options))
    )


def _events_v3(graph: Any, inputs: Any, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it is experimental
        _ = graph.stream_events(inputs, version="v3", **options).output


def _aevents_v3(graph: Any, inputs: Any, **options: Any) -> None:
    async def run() -> None:
        await (await graph.astream_events(inputs, version="v3", **options)).output()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(run())


SYNC: dict[str, Callable[..., Any]] = {
    "invoke": lambda graph, inputs, **options: graph.invoke(inputs, **options),
    "stream updates": _stream("updates"),
    "stream messages": _stream("messages"),
    "stream tasks": _stream("tasks"),
    "stream events v3": _events_v3,
}
ASYNC: dict[str, Callable[..., Any]] = {
    "ainvoke": lambda graph, inputs, **options: asyncio.run(graph.ainvoke(inputs, **options)),
    "astream updates": _astream("updates"),
    "astream messages": _astream("messages"),
    "astream tasks": _astream("tasks"),
    "astream events v2": lambda graph, inputs, **options: asyncio.run(
        _adrain(graph.astream_events(inputs, version="v2", **options))
    ),
    "astream events v3": _aevents_v3,
}
WAYS = {**SYNC, **ASYNC}
"""Each takes a graph, its input, and `config` or `context`."""


class Clerk(ScriptedChatModel):
    """Calls its first tool once where it has one, and is done then; it replies alike whatever came before."""

    def _message(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        super()._message(messages, options)
        if options.get("tools") and messages[-1].type == "human":
            name = options["tools"][0]["function"]["name"]
            return AIMessage("", tool_calls=[{"name": name, "args": {"number": "7"}, "id": "call"}])
        return AIMessage("It is done.")


def clerk() -> Clerk:
    """A model for these graphs."""
    return Clerk(replies=lambda messages: "")


Sent = list[list[dict[str, Any]]]
"""The messages of each call, as plain data."""


def sent_by(model: ScriptedChatModel, run: Callable[[], Any]) -> Sent:
    """What `model` is sent while `run` runs; ids are left out but for whether there is one, as they are new each time."""
    before = len(model.requests)
    run()
    return [[_plain(message) for message in request.messages] for request in model.requests[before:]]


def _plain(message: BaseMessage) -> dict[str, Any]:
    told = message.model_dump()
    kept = {"type": message.type, "content": message.content, "has_id": message.id is not None}
    return {**kept, **{key: told[key] for key in ("name", "tool_calls", "status") if told.get(key)}}


def pieces(message: dict[str, Any]) -> list[str]:
    """The texts of a message: its content, or those of its blocks."""
    content = message["content"]
    if isinstance(content, str):
        return [content]
    return [
        block if isinstance(block, str) else block["text"]
        for block in content
        if "text" in block or isinstance(block, str)
    ]


def with_pieces(message: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """The message with other texts in their places, and all else as it is."""
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": texts[0]}
    left = iter(texts)
    blocks = [
        next(left) if isinstance(block, str) else {**block, "text": next(left)} if "text" in block else block
        for block in content
    ]
    return {**message, "content": blocks}
