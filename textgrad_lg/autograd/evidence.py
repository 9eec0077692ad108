"""Which of too many texts to ask about: those that the evidence speaks of."""

from __future__ import annotations

import re
from collections import Counter
from math import fsum
from typing import TYPE_CHECKING

from textgrad_lg.descriptions import is_description
from textgrad_lg.variable import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textgrad_lg.variable import Variable

_NAME = re.compile(r"`([^`]+)`")
_WORD = re.compile(r"\w{4,}")


def likeliest(candidates: Sequence[Variable], feedback: str, made: str, *, most: int) -> list[Variable]:
    """At most `most` of the candidates, in their order.

    One call that asks about the likely ones is chosen over several calls that ask about all: what a call has, such as the
    descriptions of fifty tools, is mostly not at fault, and the number of calls would grow with it. In this order are taken:
    what belongs to a tool or a node that the feedback names (the last name between backticks in a role); what belongs to
    one that is named in what was made (the tools it called); what shares words with the feedback; prompts before
    descriptions; and the latest. What sets few candidates apart counts more than what many have in common.

    Args:
        candidates: All of one kind, in the order in which they were used.
        feedback: The feedback on what was made, and the verdicts behind it.
        made: What was made.
        most: How many can be asked about.
    """
    if len(candidates) <= most:
        return list(candidates)
    owners = [set(_NAME.findall(variable.role)[-1:]) for variable in candidates]
    words = [_words(f"{variable.role} {text_of(variable.value)}") for variable in candidates]
    every = set[str]().union(*owners)
    in_feedback, in_made = _told(owners, _said(every, feedback)), _told(owners, _said(every, made))
    shared = _told(words, _words(feedback))

    def rank(at: int) -> tuple[float, float, float, bool, int]:
        site = candidates[at].site
        described = site is not None and is_description(site)
        return (-in_feedback[at], -in_made[at], -shared[at], described, -at)

    return [candidates[at] for at in sorted(sorted(range(len(candidates)), key=rank)[:most])]


def _told(sets: Sequence[set[str]], told: set[str]) -> list[float]:
    """For each set how much of it was told; what only one set has counts as one, what all have counts as nothing."""
    count = Counter(item for items in sets for item in items)
    # An exact sum: the order of a set's items must not show.
    return [fsum(1 / count[item] for item in items & told if count[item] < len(sets)) for items in sets]


def _said(names: Iterable[str], text: str) -> set[str]:
    return {name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)}


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
