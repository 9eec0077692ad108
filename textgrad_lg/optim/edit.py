"""What code refuses about a proposed text, before it costs a rollout."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.errors import TemplateError
from textgrad_lg.templates import FENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from textgrad_lg.prompt import Template

_MARK = re.compile(r"<!--\s*/?frozen\s*-->")
_FROZEN = re.compile(r"<!--\s*frozen\s*-->.*?<!--\s*/frozen\s*-->", re.DOTALL)

# Each alternative starts where a word starts, so that a long text without any match is read once and not once a letter.
_ADDRESS = re.compile(
    r"""
      (?<![\w.+-]) [\w.+-]+ @ [\w-]+ (?:\.[\w-]+)+                          # an e-mail address
    | (?<![\w.+-]) [a-z][a-z0-9+.-]* :// [^\s<>"'`]+                        # any scheme
    | (?<!\w) (?:mailto|tel|javascript) : [^\s<>"'`]+
    | (?<![\w.-]) (?:[\w-]+\.)+ (?:com|org|net|info|biz|io|ai|dev|app|xyz) (?![\w.-]*\w) (?:/[^\s<>"'`]*)?
    | (?<![\w.-]) (?:[\w-]+\.)+ [a-z]{2,} /[^\s<>"'`]+                      # a bare host with a path
    | (?<![\w.]) \d{1,3} (?:\.\d{1,3}){3} (?![\w.]*\w)                      # an IP address
    """,
    re.VERBOSE | re.IGNORECASE,
)
_JOINERS = "\u200c\u200d\u00ad"
"""Invisible, and part of ordinary writing: Persian, Indic scripts and emoji need the joiners, German the soft hyphen."""


@dataclass(frozen=True, slots=True)
class EditLimits:
    """How far a proposed text may go.

    Attributes:
        characters: A new text may always be this long, in characters.
        growth: A new text may also be this many times as long as the text it replaces.
        demos: All demonstrations of one Parameter together may be this long, in characters.
        trusted: Texts by the user (goal, constraints, policies) whose URLs and addresses a new text may use.
    """

    characters: int = 2_000
    growth: float = 3.0
    demos: int = 8_000
    trusted: tuple[str, ...] = ()

    def longest(self, old: Template) -> int:
        """The most characters that a text in the place of `old` may have."""
        return max(self.characters, int(self.growth * len(old.text)))


def check(old: Template, new: Template, *, limits: EditLimits | None = None) -> str | None:
    """Why `new` may not take the place of `old`, in words; None if it may.

    Refused are: a text that is the same, empty or too long; that loses or invents a slot; that changes what stands
    between `<!-- frozen -->` and `<!-- /frozen -->`; that holds control characters, or the delimiters with which this
    library fences data in its own requests; and one with a URL or an address that neither the old text nor the user's
    own words have. The last is because feedback quotes tools and users: it must not be able to plant a link in a prompt.
    Links are found by their form, so one that is spelled out in words is not.

    Args:
        old: The Template in force.
        new: The proposed one.
        limits: How far it may go; `EditLimits()` if None.
    """
    return next(_reasons(old, new, limits or EditLimits()), None)


def frozen_spans(text: str) -> tuple[tuple[int, int], ...]:
    """Start and end of each frozen span in `text`, its two marks included."""
    return tuple(found.span() for found in _FROZEN.finditer(text))


def keep_margins(old: str, new: str) -> str:
    """`new` with the white space that surrounds `old`: models trim it, and what is joined to the text may rely on it."""
    body = old.strip()
    return old.replace(body, new.strip(), 1) if body else new


def _reasons(old: Template, new: Template, limits: EditLimits) -> Iterator[str]:
    if new == old:
        yield "nothing is changed"
    yield from _slots(old, new)
    yield from _size(old, new, limits)
    yield from _frozen(old.text, new.text)
    if FENCE.search(new.text):
        yield "the new text holds a delimiter of this library's own requests"
    yield from _characters(old.text, new.text)
    yield from _addresses((old.text, *limits.trusted), new.text)


def _slots(old: Template, new: Template) -> Iterator[str]:
    if sorted(new.slots) != sorted(old.slots):
        yield "the new text declares other slots than the old one"
    try:
        old.check(new.text)
    except TemplateError as error:
        yield str(error)
    for demo in new.demos:
        given = {name for name, _ in demo.inputs}
        lacking = [slot for slot in new.slots if slot not in given]
        if lacking and "human" not in given:
            yield f"a demonstration has no value for the slot {{{lacking[0]}}}"


def _size(old: Template, new: Template, limits: EditLimits) -> Iterator[str]:
    longest = limits.longest(old)
    if len(new.text) > longest:
        yield f"the new text has {len(new.text)} characters; the limit is {longest}"
    demos = sum(len(text) for demo in new.demos for text in (*(value for _, value in demo.inputs), demo.output))
    if demos > limits.demos and new.demos != old.demos:
        yield f"the demonstrations have {demos} characters; the limit is {limits.demos}"


def _frozen(old: str, new: str) -> Iterator[str]:
    before, after = Counter(_FROZEN.findall(old)), Counter(_FROZEN.findall(new))
    if before - after:
        yield "the new text changes or loses a frozen span"
    # A mark more would freeze text that the user left open, or tear a frozen span apart.
    if after - before or len(_MARK.findall(new)) != len(_MARK.findall(old)):
        yield "the new text adds or loses a mark of a frozen span"


def _characters(old: str, new: str) -> Iterator[str]:
    known = set(old)
    strange = sorted({char for char in new if _is_control(char) and char not in known})
    if strange:
        yield f"the new text holds control characters: {', '.join(f'U+{ord(char):04X}' for char in strange)}"


def _is_control(char: str) -> bool:
    return char not in "\n\t\r" and char not in _JOINERS and unicodedata.category(char) in ("Cc", "Cf", "Cs")


def _addresses(known: Iterable[str], new: str) -> Iterator[str]:
    allowed = {address for text in known for address in _found(text)}
    planted = [address for address in _found(new) if address not in allowed]
    if planted:
        yield f"the new text brings in {planted[0]}, which is neither in the old text nor in your own words"


def _found(text: str) -> list[str]:
    """The URLs and addresses in `text`, as a reader would see them: full-width letters and invisible ones do not hide one."""
    plain = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return [found[0].rstrip(".,;:!?)]}*_").casefold() for found in _ADDRESS.finditer(plain)]
