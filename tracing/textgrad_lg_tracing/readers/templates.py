"""Texts of LangChain's prompt templates as tracers write them, read as plain JSON: no class of theirs is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from textgrad_lg.prompt import Template
from textgrad_lg.record.peek import template_from

_ROLES = {"SystemMessagePromptTemplate": "system", "HumanMessagePromptTemplate": "human"}
_MESSAGES = {"SystemMessage": "system", "HumanMessage": "human"}


def template_texts(serialized: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The texts of a serialized `ChatPromptTemplate`: the role of each and the text as its author wrote it."""
    found: list[tuple[str, str]] = []
    for item in _list(_kwargs(serialized).get("messages")):
        name, kwargs = _class(item), _kwargs(item)
        if name in _ROLES:
            prompt = kwargs.get("prompt")
            for part in cast("list[Any]", prompt) if isinstance(prompt, list) else [prompt]:
                text = _kwargs(part).get("template")
                if isinstance(text, str):
                    found.append((_ROLES[name], text))
        elif name in _MESSAGES and isinstance(kwargs.get("content"), str):
            found.append((_MESSAGES[name], _escaped(kwargs["content"])))
    return tuple(found)


def template_of(text: str) -> Template:
    """A template's text as a Template."""
    return template_from(text, "f-string")[0]


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _class(item: Any) -> str:
    path = cast("dict[str, Any]", item).get("id") if isinstance(item, dict) else None
    return str(cast("list[Any]", path)[-1]) if isinstance(path, list) and path else ""


def _kwargs(item: Any) -> dict[str, Any]:
    kwargs = cast("dict[str, Any]", item).get("kwargs") if isinstance(item, Mapping) else None
    return cast("dict[str, Any]", kwargs) if isinstance(kwargs, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
