"""Alignment: the texts that several runs sent from one place, as the fewest Templates that explain them.

Mask first, then align. Masking alone takes a value for a slot that stands in the constant text by chance, and misses
values that were transformed on their way; alignment alone splits values that share words. Three rules join the two:

1. A value found in a text is a slot unless other runs speak against it. A run speaks against it if there the field had
   another value and yet the same words stood in the same place (`CONTEXT` equal characters on one side), and for it if
   the words there changed. More runs must be for it than against it; with no run to ask, it is a slot.
2. Texts that are equal after masking are one Template. Texts whose constant words agree to at least `SIMILAR` are
   merged: what differs becomes a slot, and equal words between two differences stay constant only if they are two or
   more, or one with a line break, colon or equals sign beside it. Other texts are Templates of their own.
3. A slot that alignment found takes the name of the field that had its value in every run, if there is one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from textgrad_lg.prompt import Template
from textgrad_lg.record.mask import (
    Hit,
    Pieces,
    Slot,
    braced,
    build,
    hits,
    identifier,
    mask,
    template_of,
    unique,
    weight,
)

__all__ = ["CONTEXT", "SIMILAR", "Observed", "align", "mask", "pick"]

SIMILAR = 0.6
"""Share of constant words that two texts must have in common to be taken for one Template: 2 * common / (both)."""
CONTEXT = 12
"""Characters on one side of a value that say that two places are the same."""
_WITNESSES = 32
"""Other runs asked about each value."""
_SLOTS = 12
"""A Template with more slots than this explains nothing; such texts stay apart."""
_GROUPS = 24
"""When so many Templates were found in one place, further texts are no longer merged: each comparison costs time."""
_PRODUCT = 1_000_000
"""Up to this product of their lengths, in words, the middles of two texts are compared word by word."""
_TOKEN = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")


@dataclass(frozen=True, slots=True)
class Observed:
    """A text that was sent, and the values that it may have been made of.

    Attributes:
        text: The text.
        values: Names and values of the state when it was sent; of equal values the first one names the slot.
    """

    text: str
    values: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Group:
    """Texts that are one Template."""

    pieces: Pieces
    members: list[int] = field(default_factory=list[int])


def align(observed: Sequence[Observed]) -> list[Template]:
    """The Template of each text, in the order of the texts; texts of one group share one.

    Every Template matches the texts it is given for, and is the one that `pick` picks for them. The result depends on
    the texts, their values and their order, and on nothing else.

    Args:
        observed: The texts of one place, in the order they were sent.
    """
    distinct = list(dict.fromkeys(observed))
    templates = dict(zip(distinct, _aligned(distinct), strict=True))
    return [templates[item] for item in observed]


def _aligned(observed: Sequence[Observed]) -> list[Template]:
    avoid = {name for item in observed for name in braced(item.text)}
    found = [hits(item.text, item.values) for item in observed]
    groups: list[_Group] = []
    for at, item in enumerate(observed):
        kept = [hit for hit in found[at] if _varies(hit, at, observed, found)]
        _place(groups, build(item.text, kept, avoid), at, observed, avoid)
    templates = [_named(group, observed, avoid) for group in groups]
    return [_pick(item.text, templates) for item in observed]


def pick(text: str, templates: Sequence[Template]) -> Template | None:
    """The Template that matches the text with the most constant characters, the first of equals; None if none does."""
    matching = [template for template in templates if template.match(text) is not None]
    return max(matching, key=weight, default=None)


def _pick(text: str, templates: Sequence[Template]) -> Template:
    return pick(text, templates) or Template(text)


# Rule 1: which of the values found are slots


def _varies(hit: Hit, at: int, observed: Sequence[Observed], found: Sequence[Sequence[Hit]]) -> bool:
    """Whether the other runs agree that the words at this place come from the field."""
    text = observed[at].text
    left, right = text[max(0, hit.start - CONTEXT) : hit.start], text[hit.end : hit.end + CONTEXT]
    support = against = asked = 0
    for other, item in enumerate(observed):
        values = {value for name, value in item.values if name == hit.name}
        if other == at or not values or hit.value in values:
            continue
        if asked == _WITNESSES:
            break
        asked += 1
        stays = [start for start in _same_places(hit.value, left, right, item.text) if _free(start, hit, found[other])]
        if stays:
            against += 1
        elif left in item.text or right in item.text:
            support += 1
    return support > against or not against


def _same_places(value: str, left: str, right: str, text: str) -> list[int]:
    """Where `value` stands in `text` with the same words before or after it.

    A context that is cut off by the border of its text must stand at that border.
    """
    starts: list[int] = []
    start = text.find(value)
    while start >= 0:
        before, after = text[max(0, start - CONTEXT) : start], text[start + len(value) :][:CONTEXT]
        if before == left or after == right:
            starts.append(start)
        start = text.find(value, start + 1)
    return starts


def _free(start: int, hit: Hit, found: Sequence[Hit]) -> bool:
    """Whether the place is not itself a part of the field's value in that run."""
    end = start + len(hit.value)
    return not any(other.name == hit.name and other.start < end and start < other.end for other in found)


# Rule 2: which texts are one Template


def _place(groups: list[_Group], pieces: Pieces, at: int, observed: Sequence[Observed], avoid: set[str]) -> None:
    for group in groups:
        if group.pieces == pieces:
            group.members.append(at)
            return
    if len(groups) < _GROUPS:
        for group in groups:
            members = [*group.members, at]
            merged = _merged(group.pieces, pieces, [observed[member].text for member in members], avoid)
            if merged is not None:
                group.pieces, group.members = merged, members
                return
    groups.append(_Group(pieces, [at]))


def _merged(one: Pieces, two: Pieces, texts: Sequence[str], avoid: set[str]) -> Pieces | None:
    """Both as one, or None if they are not similar or no Template for both matches all their texts."""
    left, right = _tokens(one), _tokens(two)
    runs = _runs(left, right)
    common = sum(_words(left[a:b]) for a, b, _, _, equal in runs if equal)
    total = _words(left) + _words(right)
    if not common or 2 * common < SIMILAR * total:
        return None
    taken = avoid | {token.name for token in (*left, *right) if isinstance(token, Slot)}
    pieces: list[str | Slot] = []
    for a, b, c, d, equal in runs:
        if equal:
            pieces += left[a:b]
        else:
            first, second, space = _without_space(left[a:b], right[c:d])
            slot = _slot_for(first, second, taken)
            taken.add(slot.name)
            pieces += [slot, space] if space else [slot]
    for candidate in (pieces, _apart(pieces, avoid)):
        joined = _joined(candidate)
        template = template_of(joined)
        if len(template.slots) <= _SLOTS and all(template.match(text) is not None for text in texts):
            return joined
    return None


def _tokens(pieces: Pieces) -> list[str | Slot]:
    tokens: list[str | Slot] = []
    for piece in pieces:
        tokens += [piece] if isinstance(piece, Slot) else _TOKEN.findall(piece)
    return tokens


def _joined(tokens: Pieces) -> Pieces:
    pieces: list[str | Slot] = []
    for token in tokens:
        if isinstance(token, str) and pieces and isinstance(pieces[-1], str):
            pieces[-1] += token
        else:
            pieces.append(token)
    return pieces


def _words(tokens: Pieces) -> int:
    return sum(isinstance(token, str) and any(char.isalpha() for char in token) for token in tokens)


_Run = tuple[int, int, int, int, bool]
"""A stretch of two texts: from and to in the first, from and to in the second, whether they are equal."""


def _runs(one: list[str | Slot], two: list[str | Slot]) -> list[_Run]:
    """Stretches that are equal and stretches that differ, in turn; equal ones that say little count as different."""
    head = _shared(one, two)
    tail = _shared(one[head:][::-1], two[head:][::-1])
    end_one, end_two = len(one) - tail, len(two) - tail
    runs: list[_Run] = [(0, head, 0, head, True)]
    middle_one, middle_two = one[head:end_one], two[head:end_two]
    if len(middle_one) * len(middle_two) <= _PRODUCT:
        matcher = SequenceMatcher(None, middle_one, middle_two, autojunk=False)
        for tag, a, b, c, d in matcher.get_opcodes():
            inner = tag == "equal" and _says_enough(middle_one[a:b])
            runs.append((head + a, head + b, head + c, head + d, inner))
    else:
        runs.append((head, end_one, head, end_two, False))
    runs.append((end_one, len(one), end_two, len(two), True))
    result: list[_Run] = []
    for a, b, c, d, equal in runs:
        if a == b and c == d:
            continue
        if result and result[-1][4] == equal:
            result[-1] = (result[-1][0], b, result[-1][2], d, equal)
        else:
            result.append((a, b, c, d, equal))
    return result


def _shared(one: Sequence[str | Slot], two: Sequence[str | Slot]) -> int:
    pairs = enumerate(zip(one, two, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(two)))


def _says_enough(tokens: Pieces) -> bool:
    words = _words(tokens)
    return words > 1 or (words == 1 and any(isinstance(token, str) and re.search(r"[\n:=]", token) for token in tokens))


def _without_space(one: list[str | Slot], two: list[str | Slot]) -> tuple[Pieces, Pieces, str]:
    """Both without the white space that both end with, and that white space."""
    ends = [side[-1] if side and isinstance(side[-1], str) else "" for side in (one, two)]
    pairs = zip(ends[0][::-1], ends[1][::-1], strict=False)
    length = next((at for at, (a, b) in enumerate(pairs) if a != b or not a.isspace()), min(map(len, ends)))
    if not length:
        return one, two, ""
    words = [end[:-length] for end in ends]
    cut = [[*side[:-1], word] if word else side[:-1] for side, word in zip((one, two), words, strict=True)]
    return cut[0], cut[1], ends[0][-length:]


def _slot_for(one: Pieces, two: Pieces, taken: set[str]) -> Slot:
    """The slot for two stretches that differ: a slot that stands alone on one side keeps its name if it may."""
    alone = [side[0] for side in (one, two) if len(side) == 1]
    slots = [piece for piece in alone if isinstance(piece, Slot)]
    if len(slots) == 1:
        return slots[0]
    return Slot(_numbered(taken), known=False)


def _apart(pieces: Pieces, avoid: set[str]) -> Pieces:
    """Every slot with a name of its own: for when two uses of one slot turned out to hold different values."""
    taken = set(avoid)
    result: list[str | Slot] = []
    for piece in pieces:
        if isinstance(piece, Slot):
            piece = Slot(unique(piece.name, taken), piece.known) if piece.known else Slot(_numbered(taken), known=False)  # noqa: PLW2901
            taken.add(piece.name)
        result.append(piece)
    return result


def _numbered(taken: set[str]) -> str:
    number = 0
    while f"v{number}" in taken:
        number += 1
    return f"v{number}"


# Rule 3: what the slots are called


def _named(group: _Group, observed: Sequence[Observed], avoid: set[str]) -> Template:
    template = template_of(group.pieces)
    values = [template.match(observed[member].text) or {} for member in group.members]
    slots = {piece.name: piece for piece in group.pieces if isinstance(piece, Slot)}
    taken = avoid | {name for name, slot in slots.items() if slot.known}
    names: dict[str, str] = {}
    for name, slot in slots.items():
        if not slot.known:
            filled = [
                (given.get(name, ""), observed[member]) for given, member in zip(values, group.members, strict=True)
            ]
            source = _field_of(filled)
            names[name] = unique(identifier(source), taken) if source else _numbered(taken)
            taken.add(names[name])
    return template_of(
        [Slot(names.get(at.name, at.name), at.known) if isinstance(at, Slot) else at for at in group.pieces]
    )


def _field_of(filled: Sequence[tuple[str, Observed]]) -> str | None:
    """The first field that had the slot's value in every run."""
    candidates: list[str] | None = None
    for value, item in filled:
        names = list(dict.fromkeys(name for name, other in item.values if other.strip() == value.strip()))
        candidates = names if candidates is None else [name for name in candidates if name in names]
    return candidates[0] if candidates else None
