"""Masking: the values of a run's state, found in a text that was sent, become slots."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from textgrad_lg.prompt import Template

SHORT = 3
"""Values with fewer characters are found only where they fill a line, because they stand in most texts by chance."""
CUT = 16
"""So many characters of a value's beginning are enough to find it in a text that cuts it short."""
_SEPARATOR = 12
"""At most so many characters, none of them a letter, between two values of one field that are one list."""
_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")
_IDEOGRAPHS = 0x2E80  # from here on, most scripts do not put spaces between words


class Hit(NamedTuple):
    """Where a value stands in a text."""

    start: int
    end: int
    name: str
    value: str


class Slot(NamedTuple):
    """A slot among the pieces of a text; `known` if it is named after a field, else its name is only a number."""

    name: str
    known: bool = True


Pieces = Sequence[str | Slot]
"""A text as constants and slots, in order."""


def mask(text: str, values: Sequence[tuple[str, str]]) -> Template:
    """The text with the values that stand in it as slots.

    Longer values are found first. A value of at least `SHORT` characters is found wherever it does not begin or end
    inside a word, a shorter one only where it fills a line, a long one also where only its beginning stands. Values of
    one field with nothing but separators between them become one slot.

    Args:
        text: A text that was sent.
        values: Names and values; of equal values the first one names the slot.

    Returns:
        A Template that matches `text`. No slot is named like a literal `{name}` in the text.
    """
    return template_of(build(text, hits(text, values), braced(text)))


def hits(text: str, values: Sequence[tuple[str, str]]) -> list[Hit]:
    """Where values stand in the text, in order and without overlap; the longest are found first."""
    names: dict[str, str] = {}
    for name, value in values:
        for form in (value, value.strip()):
            names.setdefault(form, name)
    taken = bytearray(len(text))
    found: list[Hit] = []
    for value in sorted(names, key=len, reverse=True):
        if not any(char.isalnum() for char in value):
            continue
        for start, end in _places(text, value):
            if 1 not in taken[start:end]:
                taken[start:end] = b"\1" * (end - start)
                found.append(Hit(start, end, names[value], text[start:end]))
    return _joined(text, sorted(found))


def build(text: str, found: Sequence[Hit], avoid: Collection[str] = ()) -> list[str | Slot]:
    """The text's pieces: equal values of one field get the same slot, different ones slots of their own.

    Args:
        text: The text.
        found: Where its values stand, in order.
        avoid: Names that no slot may have.
    """
    names: dict[tuple[str, str], str] = {}
    pieces: list[str | Slot] = []
    at = 0
    for hit in found:
        key = (hit.name, hit.value)
        if key not in names:
            names[key] = unique(identifier(hit.name), {*avoid, *names.values()})
        pieces += [text[at : hit.start], Slot(names[key])]
        at = hit.end
    return [piece for piece in [*pieces, text[at:]] if piece]


def template_of(pieces: Pieces) -> Template:
    """The pieces as a Template."""
    text = "".join(piece if isinstance(piece, str) else f"{{{piece.name}}}" for piece in pieces)
    return Template(text, tuple(dict.fromkeys(piece.name for piece in pieces if isinstance(piece, Slot))))


def constants(template: Template) -> list[str]:
    """The text between the slots, in order; pieces of nothing but white space are left out."""
    slots = "|".join(re.escape(slot) for slot in template.slots)
    parts = re.split(rf"\{{(?:{slots})\}}", template.text) if slots else [template.text]
    return [part for part in parts if part.strip()]


def has_words(template: Template) -> bool:
    """Whether something of the Template is the author's: a letter that is not in a slot."""
    return any(char.isalpha() for part in constants(template) for char in part)


def weight(template: Template) -> int:
    """How many characters of the Template are constant, counted as the overlay counts them."""
    return len(template.render(dict.fromkeys(template.slots, "")))


def braced(text: str) -> set[str]:
    """The names that stand in braces in a text."""
    return set(_BRACED.findall(text))


def identifier(name: str) -> str:
    """A slot name made of any name."""
    clean = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
    return f"_{clean}" if clean[:1].isdigit() else clean or "value"


def unique(name: str, taken: Collection[str]) -> str:
    """`name`, or the first of `name_2`, `name_3`, ... that is not taken."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _places(text: str, value: str) -> Iterator[tuple[int, int]]:
    if len(value) < SHORT:
        for line in re.finditer(rf"^[^\S\n]*({re.escape(value)})[^\S\n]*$", text, re.MULTILINE):
            yield line.span(1)
        return
    start = text.find(value)
    if start < 0 and len(value) > CUT:
        start = text.find(value[:CUT])
        if start >= 0 and not _joins(text, start):
            shared = zip(value, text[start:], strict=False)
            yield (
                start,
                start + next((at for at, (a, b) in enumerate(shared) if a != b), min(len(value), len(text) - start)),
            )
        return
    while start >= 0:
        end = start + len(value)
        whole = not _joins(text, start) and not _joins(text, end)
        if whole:
            yield start, end
        start = text.find(value, end if whole else start + 1)


def _joins(text: str, at: int) -> bool:
    """Whether a word goes on across this place."""
    pair = text[max(at - 1, 0) : at + 1] if at else ""
    return len(pair) == 2 and all((char.isalnum() or char == "_") and ord(char) < _IDEOGRAPHS for char in pair)  # noqa: PLR2004


def _joined(text: str, found: list[Hit]) -> list[Hit]:
    """The hits, those of one field with only separators between them as one."""
    result: list[Hit] = []
    for hit in found:
        last = result[-1] if result else None
        if last is not None and last.name == hit.name:
            between = text[last.end : hit.start]
            if len(between) <= _SEPARATOR and not any(char.isalpha() for char in between):
                result[-1] = Hit(last.start, hit.end, hit.name, text[last.start : hit.end])
                continue
        result.append(hit)
    return result
