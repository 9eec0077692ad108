"""The scripted model of the foreign graphs: one model plays all agents, and decides by what it is sent and offered."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr, SkipValidation
from typing_extensions import override

from textgrad_lg.testing.models import DoubleChatModel, Reply


@dataclass(frozen=True)
class Turn:
    """What one request to the model holds."""

    messages: Sequence[BaseMessage]
    offered: tuple[str, ...]
    options: dict[str, Any]

    @property
    def last(self) -> str:
        """The text of the last message."""
        return self.messages[-1].text

    def told(self, words: str) -> bool:
        """Whether a system or human message holds these words."""
        return any(words in message.text for message in self.messages if message.type in ("system", "human"))

    def did(self, tool: str) -> bool:
        """Whether the conversation holds a call of this tool."""
        return any(call["name"] == tool for message in self.messages for call in getattr(message, "tool_calls", ()))

    def heard(self, words: str) -> bool:
        """Whether a tool's answer holds these words."""
        return any(words in message.text for message in self.messages if message.type == "tool")


class Actor(DoubleChatModel):
    """Plays the agents of a graph by a function of what it is sent."""

    act: SkipValidation[Callable[[Turn], Reply]] = Field(exclude=True)
    _said: list[str] = PrivateAttr(default_factory=list[str])

    @property
    def said(self) -> list[str]:
        """The texts of its replies so far."""
        return self._said

    @override
    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Any:
        # Real providers take these two; what is not sent on would not be seen by the script.
        kwargs.pop("parallel_tool_calls", None)
        return self.bind(tools=[tool if _wire(tool) else convert_to_openai_tool(tool) for tool in tools], **kwargs)

    @override
    def _reply(self, messages: Sequence[BaseMessage], at: int) -> Reply:
        options = self.requests[at].options
        names = tuple(tool["function"]["name"] for tool in options.get("tools", ()) if "function" in tool)
        reply = self.act(Turn(messages, names, options))
        if isinstance(reply, AIMessage):
            said = reply.text
        else:
            said = reply if isinstance(reply, str) else json.dumps(reply, default=str)
        self._said.append(said)
        if isinstance(reply, AIMessage):
            calls = [{**call, "id": f"call_{at}_{n}"} for n, call in enumerate(reply.tool_calls)]
            return AIMessage(reply.content, tool_calls=calls)
        return reply


def calls(*made: tuple[str, dict[str, Any]], text: str = "") -> AIMessage:
    """A reply that calls tools."""
    return AIMessage(
        text, tool_calls=[{"name": name, "args": args, "id": "", "type": "tool_call"} for name, args in made]
    )


def _wire(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "function"
