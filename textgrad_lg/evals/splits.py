"""Splitting examples into train, validation and test, which never mix."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from textgrad_lg.errors import DataError
from textgrad_lg.example import Example
from textgrad_lg.types import JSON

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
"""The names that `metadata["split"]` may have, and the split that each means."""

GROUP = "group"
"""The key of `metadata` that says which examples belong together; they share a split."""

_NAMES = ("train", "validation", "test")
_STRATUM = 3
"""Labels are kept in proportion where there are, on average, at least this many groups a label: one for each split."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Disjoint parts of one data set, each in the order of the data.

    Attributes:
        train: What gradients are taken from.
        validation: What a new text is accepted on.
        test: What the result is proved on; run before and after, and never learnt from.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]


def split(examples: Sequence[Example], *, seed: int, fractions: tuple[float, float, float] = (0.4, 0.3, 0.3)) -> Splits:
    """Split examples into train, validation and test.

    Where the examples say their split (`metadata["split"]`: train, validation, val or test), that is honoured, and all
    must. Else they are shuffled with `seed`; where `reference_outputs` has few distinct values, each split gets its share
    of each. The same examples and seed give the same splits, whatever the order of the examples or of keys in dicts.

    Examples with the same inputs always share a split, and so do those of one group (`metadata["group"]`: a customer, a
    document, a conversation): else the test would hold what was learnt. Where their declared splits differ, examples with
    the same inputs go to the first of train, validation, test; for a group that is refused, as one of the two is a mistake.

    Args:
        examples: The examples, with unique ids.
        seed: All chance comes from it.
        fractions: The shares of train, validation and test, counted in groups; an example that shares neither group nor
            inputs with another is one by itself. Their sum is 1.

    Raises:
        DataError: A split would be empty, the examples do not all say theirs, or a group is declared on two sides.
    """
    if len(fractions) != len(_NAMES) or min(fractions) <= 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise DataError(f"the fractions are {fractions}; three positive shares that add up to 1 are wanted")
    groups = _inseparable(examples)
    declared = any("split" in example.metadata for example in examples)
    parts = _declared(groups) if declared else _drawn(groups, seed, fractions)
    found = [{example.id for group in part for example in group} for part in parts]
    if not all(found):
        empty = ", ".join(name for name, ids in zip(_NAMES, found, strict=True) if not ids)
        grouped = any(GROUP in example.metadata for example in examples)
        kinds, same = ("groups", "group or inputs") if grouped else ("different inputs", "inputs")
        raise DataError(
            f"no example is left for {empty}: of {len(examples)} examples with {len(groups)} {kinds}, at least "
            f"{len(_NAMES)} are needed, one for each of train, validation and test. Examples with the same {same} count "
            "once" + ("; give each split an example of its own" if declared else "")
        )
    return Splits(*(tuple(example for example in examples if example.id in ids) for ids in found))


def _inseparable(examples: Sequence[Example]) -> list[list[Example]]:
    """The examples in sets that may not be divided, ordered by id: not by their order in the data.

    Two examples belong together if they share their inputs or their group, or if a chain of such pairs leads from one to
    the other.
    """
    ordered = sorted(examples, key=lambda example: example.id)
    first: dict[tuple[str, str], int] = {}
    above = list(range(len(ordered)))

    def root(at: int) -> int:
        while above[at] != at:
            above[at] = at = above[above[at]]
        return at

    for at, example in enumerate(ordered):
        group = _group(example)
        for key in (
            ("inputs", _canonical(example.inputs)),
            *([(GROUP, _canonical(group))] if group is not None else []),
        ):
            one, other = sorted((root(first.setdefault(key, at)), root(at)))
            above[other] = one  # the smaller stays on top, so that sets are in the order of their first ids
    sets: dict[int, list[Example]] = {}
    for at, example in enumerate(ordered):
        sets.setdefault(root(at), []).append(example)
    return list(sets.values())


def _group(example: Example) -> str | int | None:
    """The group of an example; None where it has none."""
    found = example.metadata.get(GROUP)
    if found is None or found == "":
        return None
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise DataError(
            f"the example {example.id!r} has the group {found!r}; a group is a text or a whole number, and says which "
            "examples share a split"
        )
    return found


def _declared(groups: Iterable[list[Example]]) -> list[list[list[Example]]]:
    parts: list[list[list[Example]]] = [[] for _ in _NAMES]
    for group in groups:
        for example in group:
            name = example.metadata.get("split")
            if not isinstance(name, str) or name not in SPLITS:
                said = "says no split, and others do" if name is None else f"says the split {name!r}"
                raise DataError(
                    f"the example {example.id!r} {said}; give each example one of {', '.join(SPLITS)}, or none any"
                )
        _one_side(group)
        parts[min(_NAMES.index(SPLITS[str(example.metadata["split"])]) for example in group)].append(group)
    return parts


def _one_side(examples: Sequence[Example]) -> None:
    """Refuse a group that is declared on two sides."""
    said: dict[str | int, tuple[str, str]] = {}
    for example in examples:
        group, name = _group(example), SPLITS[str(example.metadata["split"])]
        if group is None:
            continue
        other, side = said.setdefault(group, (example.id, name))
        if side != name:
            raise DataError(
                f"the examples {other!r} and {example.id!r} are of the group {group!r}, and say the splits {side} and "
                f"{name}; a group is on one side, so correct its splits, or give the two parts groups of their own"
            )


def _drawn(
    groups: Sequence[list[Example]], seed: int, fractions: tuple[float, float, float]
) -> list[list[list[Example]]]:
    chance = random.Random(seed)  # noqa: S311  repeatable on purpose
    strata: dict[str, list[list[Example]]] = {}
    for group in groups:
        strata.setdefault(_canonical(group[0].reference_outputs), []).append(group)
    if len(strata) * _STRATUM > len(groups):
        strata = {"": list(groups)}
    ranked: list[tuple[float, float, list[Example]]] = []
    for label in sorted(strata):
        stratum = strata[label]
        chance.shuffle(stratum)
        # Ranks spread each stratum evenly over 0..1, so that any stretch of them holds its share of each.
        ranked += [((at + 0.5) / len(stratum), chance.random(), group) for at, group in enumerate(stratum)]
    ordered = [group for *_, group in sorted(ranked, key=lambda each: each[:2])]
    sizes = _sizes(len(ordered), fractions)
    return [ordered[sum(sizes[:at]) : sum(sizes[: at + 1])] for at in range(len(sizes))]


def _sizes(count: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers near `fractions` of `count`, none 0 as long as `count` is enough."""
    sizes = [max(1, math.floor(fraction * count)) for fraction in fractions]
    while sum(sizes) < count:
        sizes[max(range(len(sizes)), key=lambda at: fractions[at] * count - sizes[at])] += 1
    while sum(sizes) > count:
        sizes[max(range(len(sizes)), key=lambda at: (sizes[at] > 1, sizes[at] - fractions[at] * count))] -= 1
    return sizes


def _canonical(value: JSON) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
