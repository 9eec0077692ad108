"""What code refuses about a proposed text, before it costs a rollout."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textgrad_lg.descriptions import is_description
from textgrad_lg.errors import TemplateError
from textgrad_lg.optim.checks import Check, compiled
from textgrad_lg.optim.leakage import ANSWER, QUOTED, Leakage
from textgrad_lg.templates import FENCE

if TYPE_CHECKING:
    from textgrad_lg.domain import Domain
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site

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
        ceiling: But no text, however many edits led to it, may be longer than this many times the graph's own text, unless
            it is within `characters`, or shortens what is in force.
        demos: All demonstrations of one Parameter together may be this long, in characters.
        descriptions: The description of a tool, an argument or an output schema may be this long, in characters, or as
            long as it is. OpenAI refuses a tool with a longer one.
        trusted: Texts by the user (goal, constraints, policies) whose URLs and addresses a new text may use.
        frozen: Regular expressions; what they match in the text in force must stay as it is, wherever it stands, and a new
            text may have no other match. What stands between `<!-- frozen -->` and `<!-- /frozen -->` is frozen anyway.
        checks: Rules of the user's, see `optim.checks`; each is given the new text and says why it may not be run.
        quoted: A new text may not copy this many words in a row out of a train example; 0 for no such rule.
        answer: A new text may not hold a train example's reference of this many words or more; 0 for no such rule. For
            both, see `optim.leakage`.

    Raises:
        ValueError: One of `frozen` is not a regular expression.
        TypeError: `frozen` is one text instead of several.
    """

    characters: int = 2_000
    growth: float = 3.0
    demos: int = 8_000
    descriptions: int = 1_024
    trusted: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    quoted: int = QUOTED
    answer: int = ANSWER
    ceiling: float = 9.0

    def __post_init__(self) -> None:
        if isinstance(self.frozen, str):
            raise TypeError("frozen is several regular expressions; put the one into a tuple")
        for pattern in self.frozen:
            compiled(pattern)

    def at(self, site: Site) -> EditLimits:
        """The limits for the text at a Site."""
        return replace(self, characters=self.descriptions, growth=1.0) if is_description(site) else self

    def longest(self, old: Template, own: Template | None = None) -> int:
        """The most characters that a text in the place of `old` may have.

        Args:
            old: The text in force.
            own: The graph's own text, if it is another.
        """
        most = max(self.characters, int(self.ceiling * len((own or old).text)), len(old.text))
        return min(max(self.characters, int(self.growth * len(old.text))), most)


def check(
    old: Template,
    new: Template,
    *,
    limits: EditLimits | None = None,
    own: Template | None = None,
    leakage: Leakage | None = None,
    domain: Domain | None = None,
) -> str | None:
    """Why `new` may not take the place of `old`, in words; None if it may.

    Refused are: a text that is the same, empty or too long; that loses or invents a slot; that changes what is frozen;
    that holds control characters, or the delimiters with which this library fences data in its own requests; one with a
    URL or an address that neither the old text nor the user's own words have; one that copies out a train example; and
    one that a check of the user's refuses. Addresses are because feedback quotes tools and users: it must not be able to
    plant a link in a prompt. They are found by their form, so one that is spelled out in words is not.

    Args:
        old: The Template in force.
        new: The proposed one.
        limits: How far it may go; `EditLimits()` if None.
        own: The graph's own Template, if it is another than `old`.
        leakage: The train examples; None where they are not known.
        domain: Of a setting, which values it may take; nothing else is asked of its text.
    """
    if domain is not None:
        return _outside(old, new, domain)
    return next(_reasons(old, new, limits or EditLimits(), own or old, leakage), None)


def _outside(old: Template, new: Template, domain: Domain) -> str | None:
    """Why a setting's new text may not be run."""
    if new == old:
        return "nothing is changed"
    if new.slots or new.demos:
        return "a setting has a value, and neither slots nor demonstrations"
    try:
        value = domain.parse(new.text)
    except ValueError as error:
        return str(error)
    known = domain.text(value)
    # One text for each value, so that none is tried twice.
    return None if new.text == known else f"{new.text!r} has to be written as {known}"


def frozen_spans(text: str, patterns: Sequence[str] = ()) -> tuple[tuple[int, int], ...]:
    """Start and end of each frozen span in `text`, in order; of a marked one with its two marks.

    Args:
        text: The text.
        patterns: Regular expressions whose matches are frozen too. Spans that overlap are one.
    """
    found = [match.span() for match in _FROZEN.finditer(text)]
    found += [match.span() for pattern in patterns for match in compiled(pattern).finditer(text) if match[0]]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def keep_margins(old: str, new: str) -> str:
    """`new` with the white space that surrounds `old`: models trim it, and what is joined to the text may rely on it."""
    body = old.strip()
    return old.replace(body, new.strip(), 1) if body else new


def _reasons(old: Template, new: Template, limits: EditLimits, own: Template, leakage: Leakage | None) -> Iterator[str]:
    if new == old:
        yield "nothing is changed"
    yield from _slots(old, new)
    yield from _size(old, new, limits, own)
    yield from _frozen(old.text, new.text)
    yield from _matched(old.text, new.text, limits.frozen)
    if FENCE.search(new.text):
        yield "the new text holds a delimiter of this library's own requests"
    yield from _characters(old.text, new.text)
    yield from _addresses((old.text, *limits.trusted), new.text)
    if new.text != old.text:  # demonstrations are train examples on purpose
        if leakage is not None and (leaked := leakage.found(new.text, (old.text, own.text, *limits.trusted))):
            yield leaked
        yield from filter(None, (rule(new.text) for rule in limits.checks))


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


def _size(old: Template, new: Template, limits: EditLimits, own: Template) -> Iterator[str]:
    longest = limits.longest(old, own)
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


def _matched(old: str, new: str, patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        before, after = (Counter(match[0] for match in compiled(pattern).finditer(text)) for text in (old, new))
        if before - after:
            yield f"the new text changes or loses what the frozen pattern {pattern!r} matches"
        # A new match would be frozen from then on, and might contradict what the user froze.
        if after.keys() - before.keys():
            yield f"the new text adds a match of the frozen pattern {pattern!r}"


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
