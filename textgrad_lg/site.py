"""Site: where a Parameter enters a model call.

A Site is read off what LangGraph puts into the metadata of each model call, never from object identity, so the same
Site is found by the recorder, by discovery and by the overlay, in this process and the next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

TOOLS, SCHEMAS, PROMPTS, CONTEXT = "tools:", "schemas:", "prompts:", "context:"
"""How the path of a Site begins that belongs to no node: to a tool, an output schema, a `Prompt` handle, or a field of the
context that a deployed graph is run with."""
SETTINGS = "settings:"
"""How the printed Site of a setting begins: of a number or a choice that goes with a call of a model or retriever in a node, or
that a `Setting` handle holds."""
_ROLES = {"system": "system", "human": "human"}
_FORM = re.compile(r"^(?P<path>[^\[\]]*?)(?:\[(?P<agent>[^\]]*)\])?/(?P<role>[a-z]+)(?:#(?P<index>\d+))?$")
_NAMED = re.compile(rf"^(?P<path>(?:{TOOLS}|{SCHEMAS}|{PROMPTS}|{CONTEXT})[^/]+)/(?P<role>[^#]+)(?:#(?P<index>\d+))?$")
_SETTING = re.compile(rf"^{SETTINGS}(?P<path>[^\[\]]*?)(?:\[(?P<agent>[^\]]*)\])?/(?P<role>[\w.-]+)$")


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """Where a Parameter enters a call.

    Most enter as a message of a node: `planner/system`. Four kinds belong to no node, because they are the same text
    wherever they are used, and have a path of one segment that names what they belong to: `tools:search/description`,
    `tools:search/args/query`, `schemas:Answer/args/label`, `prompts:planner/text`, `context:system_prompt/text`.
    A setting of the calls in a node is printed with the node's path, as in `settings:desk/model[writer]/temperature`, and has
    "settings:" before the first segment.

    Attributes:
        path: Node names from the outermost graph inwards, without task ids and without the numeric segments that
            LangGraph adds when a subgraph runs twice in a task. Empty for a model called outside any node.
        role: "system" or "human": the role of the message that carries the text. Of a tool or schema: "description",
            or "args/" and the name of an argument or field, with dots where they nest. Of a `Prompt` handle and of a context field: "text". Of a setting: its name, "temperature".
        index: Counts the texts of one role in one node, from 0, in the order of their first use; of one tool or schema,
            where several have its name.
        agent: The name given to `create_agent`, where there is one; tells apart agents that share a path.
    """

    path: tuple[str, ...]
    role: str
    index: int = 0
    agent: str | None = None

    @property
    def in_message(self) -> bool:
        """Whether the text enters as a message of its own, and not with a tool, a schema, a handle or a context."""
        return not (self.path and self.path[0].startswith((TOOLS, SCHEMAS, PROMPTS, CONTEXT, SETTINGS)))

    @property
    def is_setting(self) -> bool:
        """Whether it is that of a setting, whose text is the JSON of a value."""
        return bool(self.path) and self.path[0].startswith(SETTINGS)

    @property
    def context_field(self) -> str:
        """The name of the field of the context that it belongs to; empty where it belongs to none."""
        return self.path[0].removeprefix(CONTEXT) if self.path and self.path[0].startswith(CONTEXT) else ""

    @property
    def node(self) -> tuple[str, ...]:
        """The path of the node that a setting or a message belongs to."""
        path = (self.path[0].removeprefix(SETTINGS), *self.path[1:]) if self.is_setting else self.path
        return path if any(path) else ()

    def within(self, prefix: tuple[str, ...], agent: str | None) -> Site:
        """The Site as it is where its graph runs in a node of another; what belongs to no node is the same anywhere."""
        if not (self.in_message or self.is_setting):
            return self
        path = (*prefix, *self.node)
        return replace(self, path=_setting_path(path) if self.is_setting else path, agent=self.agent or agent)

    @classmethod
    def setting(cls, path: tuple[str, ...], name: str, agent: str | None = None) -> Site:
        """The Site of a setting of the calls in a node."""
        return cls(_setting_path(path), name, agent=agent)

    def __str__(self) -> str:
        agent = f"[{self.agent}]" if self.agent else ""
        index = f"#{self.index}" if self.index else ""
        return f"{'/'.join(self.path)}{agent}/{self.role}{index}"

    @classmethod
    def parse(cls, text: str) -> Site:
        """Read a Site back from its printed form, as in `desk/model[writer]/system#1` or `tools:search/args/query`.

        Raises:
            ValueError: `text` is not the printed form of a Site.
        """
        setting = _SETTING.match(text)
        if setting is not None:
            return cls.setting(tuple(setting["path"].split("/")), setting["role"], setting["agent"] or None)
        named = _NAMED.match(text)
        if named is not None:
            return cls((named["path"],), named["role"], int(named["index"] or 0))
        found = _FORM.match(text)
        if found is None:
            msg = f"{text!r} is not a site; a site looks like 'planner/system' or 'desk/model[writer]/human#1'"
            raise ValueError(msg)
        path = tuple(part for part in found["path"].split("/") if part)
        return cls(path, found["role"], int(found["index"] or 0), found["agent"] or None)


def _setting_path(path: tuple[str, ...]) -> tuple[str, ...]:
    first, *rest = path or ("",)
    return (f"{SETTINGS}{first}", *rest)


def call_path(metadata: Mapping[str, Any] | None) -> tuple[tuple[str, ...], str | None]:
    """The path and agent name of a run, from the metadata LangGraph gives it.

    Args:
        metadata: A run's metadata; `langgraph_checkpoint_ns` looks like `desk:4f1c|1|model:9a07`, in which the part
            behind each colon is a task id and a bare number counts repeated runs of one subgraph in one task.

    Returns:
        The path (empty outside any node) and `lc_agent_name`, or None.
    """
    metadata = metadata or {}
    namespace = str(metadata.get("langgraph_checkpoint_ns") or metadata.get("checkpoint_ns") or "")
    names = (part.partition(":")[0] for part in namespace.split("|"))
    agent = metadata.get("lc_agent_name")
    return tuple(name for name in names if name and not name.isdigit()), str(agent) if agent else None


def prompt_messages(messages: Sequence[BaseMessage]) -> list[tuple[int, str]]:
    """The messages of one call that may have been written by the graph's author.

    LangGraph gives each message an id when it is written to state, and each model reply carries one. A system or human
    message without an id was therefore built inside the node. A system message with an id may be the author's too:
    middleware and nodes put instructions into the state. Which of them are, discovery decides.

    Returns:
        Pairs of a message's position in `messages` and its role, in order.
    """
    return [
        (at, _ROLES[message.type])
        for at, message in enumerate(messages)
        if message.type in _ROLES and (message.id is None or message.type == "system")
    ]
