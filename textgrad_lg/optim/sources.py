"""Sources: whose traces the feedback of a step stems from, and how much of it one of them may give.

In production anybody can make traces that fail. Without a cap, whoever fails most often writes the prompt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textgrad_lg.gradient import Gradient, Gradients

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgrad_lg.site import Site

SHARE = 1 / 3
"""Part of the feedback on one Parameter that may stem from one source."""
SOURCE = "source"
"""Key of an Example's metadata that says from whose trace it was made; the user's own Examples have none."""


def capped(gradients: Gradients, sources: Mapping[str, str], share: float = SHARE) -> Gradients:
    """The Gradients of which no source has more than its share of those on any one Parameter.

    Where there are too few sources for that, each may give as many as the others do; a single one gives all. Of a source's
    Gradients those are kept that tell most: of different traces before of one, and the worst scores first. What is kept
    stays in its order, and those on Variables between stay all: no optimizer is shown them.

    Args:
        gradients: The Gradients of one step.
        sources: Who made each trace, by its id: an end user, a thread, a group. A trace that is not there is a source of
            its own.
        share: More than 0, and at most 1.

    Raises:
        ValueError: `share` is no part.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it has to be more than 0, and at most 1")
    on: dict[Site, dict[str, list[int]]] = {}
    for at, gradient in enumerate(gradients.items):
        if gradient.site is not None:
            source = sources.get(gradient.trace, gradient.trace)
            on.setdefault(gradient.site, {}).setdefault(source, []).append(at)
    dropped: set[int] = set()
    for given in on.values():
        most = _most([len(found) for found in given.values()], share)
        for found in given.values():
            dropped.update(_ranked(gradients.items, found)[most:])
    kept = tuple(gradient for at, gradient in enumerate(gradients.items) if at not in dropped)
    return replace(gradients, items=kept) if dropped else gradients


def _most(counts: Sequence[int], share: float) -> int:
    """The largest number such that no source exceeds its share of what is kept when each gives at most so many."""
    share = max(share, 1 / len(counts))
    most = 1
    # The share of what is kept only shrinks from here on, so the first number that is too large ends it.
    while most < max(counts) and most + 1 <= share * sum(min(count, most + 1) for count in counts) + 1e-9:
        most += 1
    return most


def _ranked(items: Sequence[Gradient], found: Sequence[int]) -> list[int]:
    """One source's Gradients, in the order in which they are kept."""
    worst = sorted(found, key=lambda at: (items[at].score or 0.0, -items[at].weight))
    turns: dict[str, int] = {}
    turn: dict[int, int] = {}
    for at in worst:
        turn[at] = turns[items[at].trace] = turns.get(items[at].trace, -1) + 1
    return sorted(worst, key=lambda at: turn[at])
