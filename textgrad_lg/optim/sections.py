"""Sections of a prompt, and edits on them, applied by code: what no edit names stays byte for byte."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, Field

from textgrad_lg.errors import TemplateError

Span = tuple[int, int]

_HEADING = re.compile(r"#{1,6}[ \t]")
_ITEM = re.compile(r"[ \t]*(?:\d{1,3}[.)]|[-*+])[ \t]+\S")
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")
_SHOWN = 60
"""Characters of a quote that a reason shows."""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a text. Between sections there is white space only.

    Attributes:
        name: "S1", "S2", and so on.
        kind: What it is: a markdown heading, an item of a list, or a paragraph. A fenced block of code belongs to one.
        start: Where it begins in the text.
        end: Where it ends; behind it there is white space, or nothing.
    """

    name: str
    kind: Literal["heading", "item", "paragraph"]
    start: int
    end: int


class Edit(BaseModel):
    """One change of a text."""

    section: str = Field(
        default="",
        description="The name of the section to change, as in S3; empty if only `quote` says where.",
    )
    quote: str = Field(
        default="",
        description="The words to change, exactly as they stand, and enough of them to occur only once; empty if the "
        "whole section is meant.",
    )
    action: Literal["replace", "insert_after"] = Field(
        default="replace", description="Whether `replacement` takes their place, or is put behind them."
    )
    replacement: str = Field(description="The new words; empty to delete.")
    why: str = Field(default="", description="Which feedback this change answers, in one short sentence.")


@dataclass(frozen=True, slots=True)
class Change:
    """An Edit whose place is known: what stands from `start` to `end` becomes `text`."""

    start: int
    end: int
    text: str


def sections(text: str, frozen: Sequence[Span] = ()) -> tuple[Section, ...]:
    """The parts of `text`, in order: markdown headings, list items, and paragraphs between blank lines.

    Args:
        text: The text.
        frozen: Spans that are not to be taken apart.
    """
    found: list[tuple[Literal["heading", "item", "paragraph"], int, int]] = []
    code = open_ = False
    for match in _LINE.finditer(text):
        line, start = match[0], match.start()
        end = start + len(line.rstrip())
        fence = _FENCE.match(line) is not None
        inside = code or any(one < start < other for one, other in frozen)
        code ^= fence
        if inside and found:
            found[-1] = (*found[-1][:2], max(end, found[-1][2]))
            open_ = True
        elif not line.strip():
            open_ = False
        elif _HEADING.match(line):
            found.append(("heading", start, end))
            open_ = False
        elif _ITEM.match(line):
            found.append(("item", start, end))
            open_ = True
        elif open_:
            found[-1] = (*found[-1][:2], end)
        else:
            found.append(("paragraph", start, end))
            open_ = True
    return tuple(Section(f"S{at}", kind, start, end) for at, (kind, start, end) in enumerate(found, start=1))


def apply(text: str, edits: Sequence[Edit], frozen: Sequence[Span] = ()) -> str:
    """`text` with all `edits` made, in whatever order they come.

    Each finds its place in `text` as it is given, so none can move another's; no edits give `text` itself.

    Args:
        text: The text.
        edits: The edits.
        frozen: Spans that must stay; `edit.frozen_spans` gives them.

    Raises:
        TemplateError: An edit's place is not found exactly once, is frozen, or overlaps another's; the message has a
            line for each such edit, with the reason.
    """
    parts = sections(text, frozen)
    changes: list[tuple[int, Change]] = []
    refused: list[str] = []
    for at, edit in enumerate(edits, start=1):
        placed = _place(text, edit, parts)
        reason = placed if isinstance(placed, str) else _frozen(text, placed, frozen)
        if isinstance(placed, str) or reason:
            refused.append(f"edit {at}: {reason}")
        else:
            changes.append((at, placed))
    changes.sort(key=lambda item: (item[1].start, item[1].end))
    refused += [
        f"edit {max(one, other)}: it overlaps edit {min(one, other)}; make one edit of the two"
        for (one, first), (other, second) in pairwise(changes)
        if second.start < first.end or (first.start, first.end) == (second.start, second.end)
    ]
    if refused:
        raise TemplateError("\n".join(refused))
    for _, change in reversed(changes):
        text = text[: change.start] + change.text + text[change.end :]
    return text


def _place(text: str, edit: Edit, parts: Sequence[Section]) -> Change | str:
    """Where the edit belongs, or why it belongs nowhere."""
    if not edit.section and not edit.quote:
        return "it names neither a section nor a quote"
    part = next((part for part in parts if part.name == edit.section.strip()), None)
    if edit.section and part is None:
        return (
            f"there is no section {edit.section!r}; the text has {parts[0].name} to {parts[-1].name}"
            if parts
            else (f"there is no section {edit.section!r}; the text is empty")
        )
    start, end = (part.start, part.end) if part else (0, len(text))
    where = f"in section {part.name}" if part else "in the text"
    if edit.quote:
        first, again = _find(text, edit.quote, start, end)
        if first < 0:
            return f"its quote {_shown(edit.quote)} is not found {where}; quote the text exactly as it stands"
        if again:
            return (
                f"its quote {_shown(edit.quote)} is found more than once {where}; quote more of it, or name the section"
            )
        return _changed(edit, first, first + len(edit.quote), "")
    assert part is not None
    if edit.action == "replace" and not edit.replacement.strip():
        # A deleted section takes the white space behind it along, or else it would leave a hole.
        end = next((other.start for other in parts if other.start >= part.end), part.end)
    return _changed(edit, part.start, end, "\n" if part.kind == "item" else "\n\n")


def _changed(edit: Edit, start: int, end: int, gap: str) -> Change:
    if edit.action == "insert_after":
        return Change(end, end, gap + (edit.replacement.strip("\n") if gap else edit.replacement))
    return Change(start, end, edit.replacement.strip("\n") if gap else edit.replacement)


def _find(text: str, quote: str, start: int, end: int) -> tuple[int, bool]:
    """Where `quote` stands between `start` and `end`, or -1; and whether it stands there again."""
    first = text.find(quote, start, end)
    return first, first >= 0 and text.find(quote, first + 1, end) >= 0


def _frozen(text: str, change: Change, frozen: Sequence[Span]) -> str | None:
    for start, end in frozen:
        within = change.start <= start and end <= change.end
        meets = change.start < end and start < change.end
        if meets and not (within and text[start:end] in change.text):
            return f"it would change what is frozen: {_shown(text[start:end])}"
    return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…")
