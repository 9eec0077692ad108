"""What code refuses about a proposed text, before it costs a rollout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textgrad_lg.descriptions import is_description
from textgrad_lg.errors import TemplateError
from textgrad_lg.optim.checks import Check, compiled
from textgrad_lg.optim.copied import COPIED, Copied
from textgrad_lg.optim.leakage import ANSWER, QUOTED, Leakage, texts_in
from textgrad_lg.optim.planted import Kind, planted
from textgrad_lg.optim.sources import SOURCE
from textgrad_lg.templates import FENCE

if TYPE_CHECKING:
    from textgrad_lg.domain import Domain
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site

_MARK = re.compile(r"<!--\s*/?frozen\s*-->")
_FROZEN = re.compile(r"<!--\s*frozen\s*-->.*?<!--\s*/frozen\s*-->", re.DOTALL)


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
        trusted: Texts by the user (goal, constraints, policies); what stands there may stand in a new text.
        allow: Of what a new text may not bring in, the Kinds that it may after all, as in `("address", "phone")`; see
            `optim.planted`.
        frozen: Regular expressions; what they match in the text in force must stay as it is, wherever it stands, and a new
            text may have no other match. What stands between `<!-- frozen -->` and `<!-- /frozen -->` is frozen anyway.
        checks: Rules of the user's, see `optim.checks`; each is given the new text and says why it may not be run.
        quoted: A new text may not copy this many words in a row out of a train example; 0 for no such rule.
        answer: A new text may not hold a train example's reference of this many words or more; 0 for no such rule. For
            both, see `optim.leakage`.
        copied: A new text may copy this many words in a row out of a trace, and no more; see `optim.copied`.

    Raises:
        ValueError: One of `frozen` is not a regular expression, or one of `allow` is no Kind.
        TypeError: `frozen` or `allow` is one text instead of several.
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
    copied: int = COPIED
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.frozen, str):
            raise TypeError("frozen is several regular expressions; put the one into a tuple")
        if isinstance(self.allow, str):
            raise TypeError("allow is several kinds; put the one into a tuple")
        for pattern in self.frozen:
            compiled(pattern)
        unknown = [kind for kind in self.allow if kind not in list(Kind)]
        if unknown:
            raise ValueError(f"there is no kind {unknown[0]!r} to allow; there are {', '.join(Kind)}")

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
    copied: Copied | None = None,
    domain: Domain | None = None,
) -> str | None:
    """Why `new` may not take the place of `old`, in words; None if it may.

    Refused are: a text that is the same, empty or too long; that loses or invents a slot; that changes what is frozen;
    that holds the delimiters with which this library fences data in its own requests; one that brings in what neither
    the old text nor the user's own words have, of the Kinds that feedback may carry over from tools, users and imported
    traces (`optim.planted`: addresses, keys, hidden characters, instructions about instructions and more); one that copies
    out a train example or a trace; and one that a check of the user's refuses.

    Args:
        old: The Template in force.
        new: The proposed one.
        limits: How far it may go; `EditLimits()` if None.
        own: The graph's own Template, if it is another than `old`.
        leakage: The train examples; None where they are not known.
        copied: The traces; None where they are not known.
        domain: Of a setting, which values it may take; nothing else is asked of its text.
    """
    if domain is not None:
        return _outside(old, new, domain)
    return next(_reasons(old, new, limits or EditLimits(), own or old, leakage=leakage, copied=copied), None)


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


def _reasons(
    old: Template, new: Template, limits: EditLimits, own: Template, *, leakage: Leakage | None, copied: Copied | None
) -> Iterator[str]:
    if new == old:
        yield "nothing is changed"
    yield from _slots(old, new)
    yield from _size(old, new, limits, own)
    yield from _frozen(old.text, new.text)
    yield from _matched(old.text, new.text, limits.frozen)
    if FENCE.search(new.text):
        yield "the new text holds a delimiter of this library's own requests"
    known = (old.text, own.text, *limits.trusted)
    yield from (reason for _, reason in planted(new.text, lambda: known, limits.allow))
    yield from _demonstrated(old, new, known, limits, leakage)
    if new.text != old.text:  # demonstrations are train examples on purpose
        if leakage is not None and (leaked := leakage.found(new.text, known)):
            yield leaked
        if copied is not None and Kind.COPIED not in limits.allow and (taken := copied.found(new.text, known)):
            yield taken
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


def _demonstrated(
    old: Template, new: Template, known: tuple[str, ...], limits: EditLimits, leakage: Leakage | None
) -> Iterator[str]:
    """What new demonstrations bring in. The user's own examples may stand in them; those made of traces are a stranger's."""
    kept = set(old.demos)
    fresh = [
        text for demo in new.demos if demo not in kept for text in (*(value for _, value in demo.inputs), demo.output)
    ]
    if not fresh:
        return

    def trusted() -> Iterator[str]:
        yield from known
        for example in leakage.examples if leakage is not None else ():
            if SOURCE not in example.metadata:
                yield from texts_in(example.inputs)
                yield from texts_in(example.reference_outputs)

    for text in dict.fromkeys(fresh):
        yield from (reason for _, reason in planted(text, trusted, limits.allow, of="a demonstration"))


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
