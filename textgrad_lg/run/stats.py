"""Paired statistics: is the graph better with the new texts, by how much, and how sure is that."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from textgrad_lg.example import Example


RESAMPLES = 9999
"""Random sign flips and bootstrap samples; no p-value is below one in this many plus one, unless it is exact."""
_NORMAL_95 = 1.959963984540054
_SAME = 1e-9  # differences closer than this, relative to the largest, differ by rounding alone
_CHUNK = 256  # keeps memory small: this many resamples of all examples at a time


@dataclass(frozen=True, slots=True)
class TagEffect:
    """What changed on the examples of one tag. It says where a difference comes from; it proves nothing by itself.

    Attributes:
        tag: The tag.
        before: Mean score of the first version on them.
        after: Mean score of the second.
        difference: `after - before`.
        low: Lower end of the 95 % confidence interval of the difference; None where there is none.
        high: Upper end of it.
        p_value: Two-sided, and adjusted for the number of tags by Benjamini and Yekutieli (2001), since among many tags some
            differ by chance; examples may have several tags.
        n: Examples of the tag that were judged both times.
    """

    tag: str
    before: float
    after: float
    difference: float
    low: float | None
    high: float | None
    p_value: float
    n: int

    def __str__(self) -> str:
        parts = [f"{self.tag}: {self.before:.2f} -> {self.after:.2f}"]
        if self.low is not None and self.high is not None:
            parts.append(f"[{self.low:+.2f}, {self.high:+.2f}]")
        return ", ".join([*parts, f"p = {self.p_value:.2g}", f"n = {self.n}"])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions of a graph on the same examples. What cannot be said (no pair; one pair) is None.

    Attributes:
        before: Mean score of the first.
        after: Mean score of the second.
        difference: `after - before`.
        low: Lower end of the 95 % confidence interval of the difference.
        high: Upper end of it.
        p_value: Two-sided: how often chance alone gives a difference at least this large either way. Never 0.
        p_better: One-sided: how often chance alone gives a gain at least this large. Never 0.
        n: Examples that were judged both times.
        missing: Examples left out, because one side or both had no score.
        per_example: Id, score before and score after of each of the `n` examples, in the order of `before`.
        by_tag: The same for the examples of each tag, by tag; empty where the examples have none.
    """

    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_better: float | None
    n: int
    missing: int
    per_example: tuple[tuple[str, float, float], ...]
    by_tag: tuple[TagEffect, ...] = field(default=())

    def __str__(self) -> str:
        if self.before is None or self.after is None or self.p_value is None:
            return f"n/a: none of {self.missing} examples was judged both times"
        parts = [f"{self.before:.2f} -> {self.after:.2f}"]
        if self.low is not None and self.high is not None:
            parts.append(f"difference {self.difference:+.2f}, 95 % interval [{self.low:+.2f}, {self.high:+.2f}]")
        parts += [f"p = {self.p_value:.2g}", f"n = {self.n}"]
        return ", ".join([*parts, f"{self.missing} not judged"] if self.missing else parts)

    def table(self) -> str:
        """A line for each example: what it scored before and after, and the difference. Those that lost most come first."""
        rows = sorted(self.per_example, key=lambda row: row[2] - row[1])
        width = max([len("example"), *(len(name) for name, *_ in rows)])
        head = f"{'example':{width}}  before  after  change"
        return "\n".join(
            [head, *(f"{name:{width}}  {old:6.2f}  {new:5.2f}  {new - old:+6.2f}" for name, old, new in rows)]
        )


def compare(
    before: Mapping[str, float | None],
    after: Mapping[str, float | None],
    *,
    seed: int = 0,
    tags: Mapping[str, Sequence[str]] | None = None,
) -> Comparison:
    """Compare two versions of a graph on the same examples.

    The p-values are those of the paired sign-flip permutation test: if the versions did not differ, each example's
    difference could as well have had the other sign. They are exact where all changes are of one size, as for pass or
    fail (the test is then McNemar's exact one), and for up to 13 changed examples. Else they come from 9999 random
    flips, and are not below 0.0001 (one-sided) or 0.0002 (two-sided).

    The interval depends on the scores. For pass or fail (each score 0 or 1) it is that of Bonett and Price (2012): a
    normal interval after one example was added to each kind of change. It covers the truth in 96 to 98 % of
    cases on average and 89 % at worst for 5 to 20 examples (95 % and 93 % from 50 up), where a bootstrap falls far
    below for few examples or few changes; and it has a width even where no score changed. For graded scores it is the BCa bootstrap, which is a little narrow for fewer than 20
    examples (about 90 % at 10). It is None for one graded example, and without width where all graded differences
    are equal.

    Args:
        before: Score by example id; None, or a number that is not finite, where there is none.
        after: The same for the second version.
        seed: Of all chance; the same arguments give the same result.
        tags: The tags of each example, by its id, for the effect by tag; see `tags_of`.
    """
    both = ((name, old, after.get(name)) for name, old in before.items())
    pairs = tuple(
        (name, float(old), float(new))
        for name, old, new in both
        if old is not None and new is not None and math.isfinite(old) and math.isfinite(new)
    )
    missing = len(before.keys() | after.keys()) - len(pairs)
    if not pairs:
        return Comparison(None, None, None, None, None, None, None, 0, missing, ())
    differences = [new - old for _, old, new in pairs]
    binary = all(score in {0.0, 1.0} for _, *scores in pairs for score in scores)
    low, high = _bonett_price(differences) if binary else _bootstrap(differences, seed)
    return Comparison(
        before=math.fsum(old for _, old, _ in pairs) / len(pairs),
        after=math.fsum(new for _, _, new in pairs) / len(pairs),
        difference=math.fsum(differences) / len(pairs),
        low=low,
        high=high,
        p_value=_sign_flip(differences, "two-sided", seed),
        p_better=_sign_flip(differences, "greater", seed),
        n=len(pairs),
        missing=missing,
        per_example=pairs,
        by_tag=_by_tag(pairs, tags or {}, seed),
    )


def tags_of(examples: Sequence[Example]) -> dict[str, tuple[str, ...]]:
    """The tags of each example that has some: `metadata["tags"]`, a list of texts, or `metadata["tag"]`, one.

    What is neither a text nor a whole number is no tag, and is left out.
    """
    found = {example.id: _tags(example) for example in examples}
    return {name: tags for name, tags in found.items() if tags}


def _tags(example: Example) -> tuple[str, ...]:
    one, many = example.metadata.get("tag"), example.metadata.get("tags")
    every = [one, *(many if isinstance(many, list) else [many])]
    return tuple(dict.fromkeys(str(tag) for tag in every if isinstance(tag, str | int) and tag != ""))


def _by_tag(
    pairs: Sequence[tuple[str, float, float]], tags: Mapping[str, Sequence[str]], seed: int
) -> tuple[TagEffect, ...]:
    from scipy.stats import false_discovery_control

    found: list[TagEffect] = []
    for tag in sorted({tag for name, *_ in pairs for tag in tags.get(name, ())}):
        mine = [pair for pair in pairs if tag in tags.get(pair[0], ())]
        one = compare({name: old for name, old, _ in mine}, {name: new for name, _, new in mine}, seed=seed)
        assert one.before is not None
        assert one.after is not None
        assert one.difference is not None
        assert one.p_value is not None
        found.append(TagEffect(tag, one.before, one.after, one.difference, one.low, one.high, one.p_value, one.n))
    if not found:
        return ()
    adjusted = false_discovery_control([effect.p_value for effect in found], method="by")
    return tuple(replace(effect, p_value=float(value)) for effect, value in zip(found, adjusted, strict=True))


def _sign_flip(differences: Sequence[float], alternative: Literal["two-sided", "greater"], seed: int) -> float:
    """The p-value of the paired sign-flip permutation test of the mean."""
    import numpy as np
    from scipy import stats

    # A difference of 0 is 0 under either sign, so leaving it out changes nothing but the number of flips to count.
    changed = [difference for difference in differences if difference]
    if not changed:
        return 1.0
    sizes = [abs(difference) for difference in changed]
    if max(sizes) - min(sizes) <= _SAME * max(sizes):
        gains = sum(difference > 0 for difference in changed)
        exact = float(stats.binomtest(gains, len(changed), alternative=alternative).pvalue)
        return max(exact, sys.float_info.min)  # below it there is only 0, which no p-value is
    found = stats.permutation_test(
        (np.array(changed) / max(sizes),),
        np.mean,
        permutation_type="samples",
        alternative=alternative,
        n_resamples=RESAMPLES,
        batch=_CHUNK,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _bonett_price(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the difference of two paired proportions."""
    size = len(differences) + 2
    up = (sum(difference > 0 for difference in differences) + 1) / size
    down = (sum(difference < 0 for difference in differences) + 1) / size
    half = _NORMAL_95 * math.sqrt((up + down - (up - down) ** 2) / size)
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def _bootstrap(differences: Sequence[float], seed: int) -> tuple[float | None, float | None]:
    """The 95 % BCa bootstrap interval of the mean."""
    import numpy as np
    from scipy import stats

    if len(differences) == 1:
        return None, None
    size = max(abs(difference) for difference in differences)
    if max(differences) - min(differences) <= _SAME * size:
        mean = math.fsum(differences) / len(differences)
        return mean, mean
    found = stats.bootstrap(
        (np.array(differences) / size,),
        np.mean,
        method="BCa",
        n_resamples=RESAMPLES,
        batch=_CHUNK,
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low) * size, float(found.high) * size
