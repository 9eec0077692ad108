"""Pareto: a pool of candidates, each best at something. Parents are drawn from its front, and complementary ones merged.

Everything here is a pure function of the pool. The run fills it: it makes a Member of every candidate that it has run on the
same examples, and runs what `merge` gives like any other candidate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site


@dataclass(frozen=True, slots=True)
class Member:
    """One candidate of the pool. Its number is its place in the pool, from 0.

    Attributes:
        texts: The texts that are other than the graph's own.
        scores: Its score on each example, by the example's id; examples that could not be judged are left out.
        parents: The numbers of the candidates it was made from: none for the graph as it is, one for an edit, two for a
            merge. Smaller than its own.
    """

    texts: Mapping[Site, Template]
    scores: Mapping[str, float]
    parents: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """Its mean score; minus infinity without any."""
        return math.fsum(self.scores.values()) / len(self.scores) if self.scores else -math.inf


Pool = Sequence[Member]


@dataclass(frozen=True, slots=True)
class Merge:
    """A candidate made of two.

    Attributes:
        texts: Its texts that are other than the graph's own.
        parents: The numbers of the two.
        ancestor: The number of the candidate that both come from.
        taken: Which of the two each changed text was taken from, by Site.
    """

    texts: Mapping[Site, Template]
    parents: tuple[int, int]
    ancestor: int
    taken: Mapping[Site, int]


def best(pool: Pool) -> dict[str, tuple[int, ...]]:
    """For each example, the numbers of the members that score highest on it; examples in the order of first mention."""
    examples = dict.fromkeys(name for member in pool for name in member.scores)
    found: dict[str, tuple[int, ...]] = {}
    for name in examples:
        scores = {at: member.scores[name] for at, member in enumerate(pool) if name in member.scores}
        top = max(scores.values())
        found[name] = tuple(at for at, score in scores.items() if score == top)
    return found


def dominates(one: Member, other: Member) -> bool:
    """Whether `one` is judged on every example that `other` is, is nowhere worse there, and is better on one of them."""
    if not one.scores.keys() >= other.scores.keys():
        return False
    return all(one.scores[name] >= score for name, score in other.scores.items()) and any(
        one.scores[name] > score for name, score in other.scores.items()
    )


def front(pool: Pool) -> dict[int, int]:
    """The members that are best on some example and that no other dominates; and on how many examples each is best.

    Returns:
        Number of the member to number of examples, in the order of the pool. Empty only where nothing was judged.
    """
    wins = [at for winners in best(pool).values() for at in winners]
    return {
        at: wins.count(at)
        for at, member in enumerate(pool)
        if at in wins and not any(dominates(other, member) for other in pool)
    }


def parent(pool: Pool, rng: random.Random) -> int:
    """The number of a member of the front, drawn with a chance in proportion to the examples on which it is best.

    Args:
        pool: The pool.
        rng: Makes the draw; seed it with the run's seed and the step.

    Raises:
        ValueError: No member of the pool has a score.
    """
    weights = front(pool)
    if not weights:
        msg = "no member of the pool has a score, so none can be drawn; run the graph as it is first"
        raise ValueError(msg)
    return rng.choices(list(weights), list(weights.values()))[0]


def ancestors(pool: Pool, number: int) -> frozenset[int]:
    """The numbers of all that a member was made from, itself included."""
    found: set[int] = set()
    todo = [number]
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            todo += pool[at].parents
    return frozenset(found)


def common_ancestor(pool: Pool, one: int, other: int) -> int | None:
    """The latest member that both come from; None where there is none, or where one of them comes from the other."""
    first, second = ancestors(pool, one), ancestors(pool, other)
    if one in second or other in first:
        return None
    return max(first & second, default=None)


def merge(pool: Pool, one: int, other: int) -> Merge | None:
    """The two members as one candidate: of each Parameter the text that was changed since their common ancestor.

    Where both changed a text, the member with the higher mean gives it, and among equals the earlier one.

    Returns:
        None where there is nothing to be won: they have no common ancestor, it did better than one of them, one comes from
        the other, not both of them bring a text in, or the pool has the result already.
    """
    ancestor = common_ancestor(pool, one, other)
    if ancestor is None or pool[ancestor].mean > min(pool[one].mean, pool[other].mean):
        return None
    first, second = sorted((one, other))
    root = pool[ancestor].texts
    leader = first if pool[first].mean >= pool[second].mean else second
    texts: dict[Site, Template] = {}
    taken: dict[Site, int] = {}
    # Sites are sorted, so that the result does not depend on the order in which its parents were changed.
    for site in sorted({**root, **pool[first].texts, **pool[second].texts}, key=str):
        now, mine, yours = (members.get(site) for members in (root, pool[first].texts, pool[second].texts))
        if mine == yours:
            source, text = None, mine
        elif mine == now:
            source, text = second, yours
        elif yours == now:
            source, text = first, mine
        else:
            source, text = leader, pool[leader].texts.get(site)
        if text is not None:  # None is the graph's own text
            texts[site] = text
        if source is not None:
            taken[site] = source
    if set(taken.values()) != {first, second} or any(member.texts == texts for member in pool):
        return None
    return Merge(texts, (first, second), ancestor, taken)


def complements(pool: Pool) -> tuple[tuple[int, int], ...]:
    """Pairs on the front that are worth merging, the most promising first: each does better than the other somewhere.

    The promise is the mean, over the examples on which both were judged, of the better of the two scores.
    """
    found: list[tuple[float, tuple[int, int]]] = []
    for one, other in combinations(front(pool), 2):
        scores = [
            (score, pool[other].scores[name]) for name, score in pool[one].scores.items() if name in pool[other].scores
        ]
        apart = any(mine > yours for mine, yours in scores) and any(mine < yours for mine, yours in scores)
        if apart and merge(pool, one, other) is not None:
            found.append((math.fsum(map(max, scores)) / len(scores), (one, other)))
    return tuple(pair for _, pair in sorted(found, key=lambda item: (-item[0], item[1])))
