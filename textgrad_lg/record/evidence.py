"""Evidence that one value was used to make another: message ids, tool call ids, text found again, equal values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from typing import cast

from textgrad_lg.types import JSON

SHORTEST = 3
"""Texts with fewer characters count only where they are the whole value."""
_WORDLIKE = 12
"""Shorter texts must stand as words of their own: "cat" is not found in "category"."""
_LINE = 12
"""Lines of a longer text count by themselves from this length on: a text may be quoted in part."""
_OFTEN = 16
"""Looking a text up in the words of another one first takes less than searching the other, but the words have to be found
once, which takes as long as so many searches."""
_FENCED = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_STRUCTURE = frozenset({"role", "id", "tool_call_id", "tool_calls", "invalid_tool_calls", "name", "status", "type"})
_SPEAKERS = frozenset({"user", "human", "ai", "assistant", "system", "tool"})
_NONE = frozenset[str]()

Scalar = bool | int | float | str


class Texts:
    """Texts as they are looked for, each worked out once: prompts, and all that stays in a conversation, come again and again."""

    __slots__ = ("_normal", "_pieces")

    def __init__(self) -> None:
        self._normal: dict[str, str] = {}
        self._pieces: dict[str, tuple[str, ...]] = {}

    def normal(self, text: str) -> str:
        """The text as `normal` gives it."""
        found = self._normal.get(text)
        if found is None:
            found = self._normal[text] = normal(text)
        return found

    def pieces(self, text: str) -> tuple[str, ...]:
        """What of a text to look for: the whole, and each longer line of it."""
        found = self._pieces.get(text)
        if found is None:
            whole = self.normal(text)
            pieces = {whole: None} if len(whole) >= SHORTEST else dict[str, None]()
            if "\n" in text:
                lines = (normal(line) for line in text.splitlines())
                pieces.update(dict.fromkeys(line for line in lines if len(line) >= _LINE))
            found = self._pieces[text] = tuple(pieces)
        return found


class Facts:
    """What can be found again of one value. Everything is worked out when it is first asked for.

    Args:
        value: The value. For a list of messages, only those that are new in it should be given.
        texts: Those of all values of a run.
    """

    def __init__(self, value: JSON, texts: Texts | None = None) -> None:
        self.value = value
        self._known = texts or Texts()
        self._searches = 0

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of the messages in it."""
        if isinstance(self.value, str):
            return _NONE
        return frozenset(cast("str", m["id"]) for m in _messages(self.value) if isinstance(m.get("id"), str))

    @cached_property
    def calls(self) -> frozenset[str]:
        """The ids of the tool calls that it makes or answers."""
        if isinstance(self.value, str):
            return _NONE
        found: list[JSON] = []
        for message in _messages(self.value):
            found.append(message.get("tool_call_id"))
            made = message.get("tool_calls")
            found += [call.get("id") for call in made if isinstance(call, dict)] if isinstance(made, list) else []
        found += [item.get("id") for item in _dicts(self.value) if item.get("args") is not None and "name" in item]
        return frozenset(item for item in found if isinstance(item, str))

    @cached_property
    def raw(self) -> tuple[str, ...]:
        """The texts in it as they are, without a message's role, name and ids."""
        return tuple(_texts(self.value))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The same texts, normalised."""
        return tuple(map(self._known.normal, self.raw))

    @cached_property
    def whole(self) -> frozenset[str]:
        """The texts in it that stand for themselves, however short."""
        return frozenset(self.texts)

    @cached_property
    def text(self) -> str:
        """All of its texts in one."""
        return "\n".join(self.texts)

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of its texts, as white space parts them."""
        return frozenset(self.text.split())

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """What to look for in another value: each text, and each longer line of it, normalised."""
        if len(self.raw) == 1:
            return self._known.pieces(self.raw[0])
        return tuple(dict.fromkeys(piece for raw in self.raw for piece in self._known.pieces(raw)))

    @cached_property
    def anchors(self) -> tuple[str | None, ...]:
        """For each of `pieces` a word of it that must occur wherever it does, if there is one."""
        return tuple(map(_anchor, self.pieces))

    def quotes(self, source: Facts) -> bool:
        """Whether a piece of `source` stands in it."""
        self._searches += len(source.pieces)
        if self._searches <= _OFTEN:
            return any(_stands(piece, self.text) for piece in source.pieces)
        # A plain loop: in long runs this is where most of the time goes.
        for piece, anchor in zip(source.pieces, source.anchors, strict=True):
            if (anchor is None or anchor in self.words) and _stands(piece, self.text):
                return True
        return False

    @cached_property
    def scalars(self) -> frozenset[tuple[str, Scalar]]:
        """Its numbers, booleans and texts with the key each stands under, those in text that is JSON included."""
        return frozenset(_scalars(self.value, ""))

    @cached_property
    def number(self) -> str | None:
        """It as JSON, if it is a number or a boolean."""
        return json.dumps(self.value) if isinstance(self.value, (bool, int, float)) else None

    @cached_property
    def parsed(self) -> JSON:
        """What its one text says, if that is JSON; else None."""
        return _parsed(self.raw[0]) if len(self.raw) == 1 else None

    @cached_property
    def only(self) -> str | None:
        """Its one text, if it is nothing but a text or a message with one."""
        return self.texts[0] if len(self.texts) == 1 else None


def confirm(source: Facts, target: Facts, *, field: str | None = None, both: bool = False) -> str | None:
    """How it is known that `source` was used for `target`, or None if it is not.

    Args:
        source: What was there before.
        target: What was made, or was sent to a model.
        field: The channel that `target` was written to: a number or boolean of `source` under that key is evidence.
        both: Whether a part of `source` found as a text of `target` is evidence as well: a label read off a reply.

    Returns:
        "message-id", "tool-call-id", "text" or "value", the first that holds.
    """
    if source.ids and not source.ids.isdisjoint(target.ids):
        return "message-id"
    if source.calls and not source.calls.isdisjoint(target.calls):
        return "tool-call-id"
    if target.quotes(source) or (both and source.quotes(target)):
        return "text"
    # What is longer has been looked for above.
    if source.only is not None and len(source.only) < SHORTEST and source.only in target.whole:
        return "text"
    return "value" if _same_value(source, target, field) else None


def normal(text: str) -> str:
    """The text without case, and with one space for each run of white space."""
    return " ".join(text.casefold().split())


def _same_value(source: Facts, target: Facts, field: str | None) -> bool:
    wanted = target.value
    if isinstance(wanted, (dict, list)):
        return bool(wanted) and wanted in (source.value, source.parsed)
    if isinstance(wanted, str):
        return field is not None and (field, wanted) in source.scalars
    written = target.number
    if written is None:
        return False
    # A short number or a boolean stands in too many places to mean anything, except under its own name.
    told = len(written) >= SHORTEST and not isinstance(wanted, bool)
    if told and (source.number == written or written in source.words):
        return True
    return any(value == wanted and (told or key == field) for key, value in source.scalars if key)


def _stands(wanted: str, text: str) -> bool:
    at = text.find(wanted)
    if at < 0 or len(wanted) >= _WORDLIKE:
        return at >= 0
    while at >= 0:
        after = at + len(wanted)
        left = at == 0 or not (text[at - 1].isalnum() and wanted[0].isalnum())
        right = after == len(text) or not (text[after].isalnum() and wanted[-1].isalnum())
        if left and right:
            return True
        at = text.find(wanted, at + 1)
    return False


def _anchor(text: str) -> str | None:
    # The first and the last word may stand glued to something else; those between them cannot.
    inner = text.split()[1:-1]
    return max(inner, key=len) if inner else None


def _messages(value: JSON) -> Iterator[dict[str, JSON]]:
    return (item for item in _dicts(value) if "content" in item and "role" in item)


def _dicts(value: JSON) -> Iterator[dict[str, JSON]]:
    if isinstance(value, dict):
        yield value
        for key in ("messages", "update"):
            if key in value and "content" not in value:
                yield from _dicts(value[key])
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield item


def _texts(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        if value and not value.isspace():
            yield value
    elif isinstance(value, list):
        # LangChain takes ("user", "text") for a message; the role is no text of its own.
        spoken = len(value) == 2 and isinstance(value[0], str) and value[0] in _SPEAKERS  # noqa: PLR2004
        for item in value[1:] if spoken else value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in _told(value):
            yield from _texts(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and len(json.dumps(value)) >= SHORTEST:
        yield json.dumps(value)


def _told(value: dict[str, JSON]) -> Iterator[JSON]:
    """What a mapping says: of a message its content and the arguments of its tool calls, of a content block its text."""
    if "content" in value and "role" in value:
        yield value["content"]
        calls = value.get("tool_calls")
        yield from (call.get("args") for call in (calls if isinstance(calls, list) else ()) if isinstance(call, dict))
        return
    skipped = _STRUCTURE if value.get("type") in ("text", "tool_call", "reasoning") else frozenset[str]()
    yield from (value[key] for key in sorted(value) if key not in skipped)


def _scalars(value: JSON, key: str) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, (bool, int, float)):
        yield key, value
    elif isinstance(value, list):
        for item in value:
            yield from _scalars(item, key)
    elif isinstance(value, dict):
        for name in sorted(value):
            yield from _scalars(value[name], name)
    elif isinstance(value, str):
        yield key, value
        yield from _scalars(_parsed(value), "")


def _parsed(text: str) -> JSON:
    found = _FENCED.search(text)
    body = (found[1] if found else text).strip()
    if body[:1] not in ("{", "["):
        return None
    try:
        parsed: JSON = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed
