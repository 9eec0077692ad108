"""Content: what the graph, its users and the models wrote, made fit for a span or kept out of it."""

from __future__ import annotations

import builtins
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from textgrad_lg import errors
from textgrad_lg.redact import Redactor, shown
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.secrets import MASK, mask, named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue

    from textgrad_lg.types import JSON

__all__ = ["Content", "Redactor", "clip", "error_type", "messages"]

_MIME = {at.INPUT: at.INPUT_MIME, at.OUTPUT: at.OUTPUT_MIME}
_ROLES = {"human": "user", "ai": "assistant"}
_NAME = re.compile(r"(?:\w+\.)*([A-Z]\w*)(?=$|[:(])")


@dataclass(frozen=True, slots=True)
class Content:
    """Decides what of the content a span may carry. What looks like a credential is masked whatever the redactor does.

    Attributes:
        enabled: Off by default: prompts, gradients and state quote the graph's users.
        redactor: Applied to each piece of text, number and boolean before it is written.
        limit: The longest text or JSON that one attribute may hold, in characters.
    """

    enabled: bool = False
    redactor: Redactor | None = None
    limit: int = 16_000

    def fields(self, values: Mapping[str, JSON]) -> dict[str, AttributeValue]:
        """The attributes that show `values`: text as it is, anything else as one JSON text; none where content is off.

        Args:
            values: Attribute key to value; a None is left out.
        """
        if not self.enabled:
            return {}
        found: dict[str, AttributeValue] = {}
        for key, value in values.items():
            if value is None:
                continue
            passed = self._redacted(key, value)
            text = passed if isinstance(passed, str) else _dump(passed)
            if len(text) > self.limit:
                text = clip(text, self.limit) if isinstance(passed, str) else _shrink(passed, self.limit)
                found[at.CONTENT_TRUNCATED] = True
            if passed != value:
                found[at.CONTENT_REDACTED] = True
            found[key] = text
            if key in _MIME:
                found[_MIME[key]] = "text/plain" if isinstance(passed, str) else "application/json"
        return found

    def error(self, error: str) -> tuple[dict[str, AttributeValue], str]:
        """The attributes of an `exception` event and a description of it; without content only the exception's type."""
        name = error_type(error)
        told = self.fields({at.EXCEPTION_MESSAGE: error})
        return {at.EXCEPTION_TYPE: name, **told}, str(told.get(at.EXCEPTION_MESSAGE, name))

    def _redacted(self, place: str, value: JSON) -> JSON:
        if isinstance(value, dict):
            return {
                mask(key): MASK if isinstance(item, str) and named(key) else self._redacted(f"{place}.{key}", item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._redacted(f"{place}.{index}", item) for index, item in enumerate(value)]
        if isinstance(value, str):
            value = mask(value)
        return value if self.redactor is None else shown(self.redactor, place, value)


def error_type(error: str) -> str:
    """The exception's type where `error` begins with one, else "_OTHER", as the conventions have it.

    The rest of an error's text may quote the graph's users, and so may its first word: only what is written like the
    name of an exception counts as one.
    """
    found = _NAME.match(error)
    name = found[1] if found else ""
    known = name.endswith(("Error", "Exception", "Timeout")) or name in vars(errors) or name in vars(builtins)
    return name if name and known else "_OTHER"


def clip(text: str, limit: int) -> str:
    """The text if it fits, else its beginning and a marker that says how much was cut."""
    if len(text) <= limit:
        return text
    kept = max(0, limit - 32)
    return f"{text[:kept]}… [{len(text) - kept} characters cut]"


def messages(value: JSON, role: str = "user") -> JSON:
    """Chat messages of a Trace in the form of the GenAI conventions: a role and parts.

    Args:
        value: One message or several, or what a model replied, as a Variable holds it.
        role: The role of what is no message but a bare value.
    """
    several = value if isinstance(value, list) and all(_is_message(item) for item in value) else [value]
    return [_message(item, role) for item in several]


def _message(value: JSON, role: str) -> JSON:
    if not isinstance(value, dict) or "content" not in value:
        return {"role": role, "parts": [_part(value)]}
    given = str(value.get("role") or role)
    content = value["content"]
    if value.get("tool_call_id"):
        return {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": value["tool_call_id"], "response": content}],
        }
    parts: list[JSON] = [_part(block) for block in (content if isinstance(content, list) else [content]) if block]
    calls = value.get("tool_calls")
    parts += [
        {"type": "tool_call", "id": call.get("id"), "name": call.get("name"), "arguments": call.get("args")}
        for call in cast("list[dict[str, JSON]]", calls if isinstance(calls, list) else [])
    ]
    return {"role": _ROLES.get(given, given), "parts": parts}


def _part(block: JSON) -> JSON:
    if isinstance(block, dict) and block.get("type") == "text":
        return {"type": "text", "content": block.get("text")}
    if isinstance(block, dict) and "type" in block:
        return block
    return {"type": "text", "content": block if isinstance(block, str) else _dump(block)}


def _is_message(value: JSON) -> bool:
    return isinstance(value, dict) and "content" in value


def _dump(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shrink(value: JSON, limit: int) -> str:
    """The value as JSON of at most `limit` characters: its longest texts are clipped first, so that it stays JSON."""
    cap = limit
    while cap >= 64:  # noqa: PLR2004  below it the markers are longer than what they stand for
        text = _dump(_clipped(value, cap))
        if len(text) <= limit:
            return text
        cap //= 2
    return clip(_dump(_clipped(value, 64)), limit)


def _clipped(value: JSON, cap: int) -> JSON:
    if isinstance(value, str):
        return clip(value, cap)
    if isinstance(value, dict):
        return {key: _clipped(item, cap) for key, item in value.items()}
    if isinstance(value, list):
        return [_clipped(item, cap) for item in value]
    return value
