"""What a call of the server asks, and what it is answered; the rule by which tokens are counted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Asked:
    """A chat completion that is asked for.

    Attributes:
        model: The model's name; "worker" is a node of the program, anything else the critic.
        messages: The messages as they were sent.
        tools: Definitions of the tools that may be called.
        form: The `response_format`; empty where there is none.
        body: The whole request.
    """

    model: str
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    form: dict[str, Any] = field(default_factory=dict[str, Any])
    body: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Asked:
        """Read a request as OpenAI's API has it."""
        return cls(
            str(body.get("model", "")),
            tuple(body.get("messages") or ()),
            tuple(body.get("tools") or ()),
            dict(body.get("response_format") or {}),
            body,
        )

    @cached_property
    def text(self) -> str:
        """Everything that the messages say."""
        return "\n\n".join(map(said, self.messages))

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema that the reply must have, with its `title`; empty where there is none."""
        if self.form.get("type") != "json_schema":
            return {}
        given = self.form.get("json_schema") or {}
        return {"title": given.get("name", ""), **(given.get("schema") or {})}

    @property
    def forms(self) -> str:
        """The definitions of tools and of the reply's form, as they are counted."""
        found = [*self.tools, *([self.form] if self.form else [])]
        return "".join(json.dumps(item, separators=(",", ":")) for item in found)


@dataclass(frozen=True)
class Answer:
    """What a call is answered.

    Attributes:
        kind: What the call was; see `log.Call`.
        text: What the model says.
        calls: The tools that it calls, each with its arguments.
        split: The split whose example a node's call is about.
        solved: Whether it shows that every node has its instruction.
    """

    kind: str
    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    split: str = ""
    solved: bool = False


def said(message: dict[str, Any]) -> str:
    """The text of a message, the arguments of its tool calls included."""
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    calls = [str(call.get("function", {}).get("arguments", "")) for call in message.get("tool_calls") or ()]
    return "\n".join([content, *calls]) if calls else content


def tokens(text: str) -> int:
    """Tokens by the one rule that holds for everybody: four characters each, the last one maybe shorter."""
    return -(-len(text) // CHARS_PER_TOKEN)
