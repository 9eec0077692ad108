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

_NAMES = ("train", "validation", "test")
_STRATUM = 3
"""Labels are kept in proportion where there are, on average, at least this many inputs a label: one for each split."""


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

    Examples with the same inputs always share a split: else the test would hold what was learnt. Where their declared
    splits differ, they go to the first of train, validation, test.

    Args:
        examples: The examples, with unique ids.
        seed: All chance comes from it.
        fractions: The shares of train, validation and test, counted in distinct inputs; their sum is 1.

    Raises:
        DataError: A split would be empty, or the examples do not all say theirs.
    """
    if len(fractions) != len(_NAMES) or min(fractions) <= 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise DataError(f"the fractions are {fractions}; three positive shares that add up to 1 are wanted")
    groups = _same_inputs(examples)
    declared = any("split" in example.metadata for example in examples)
    parts = _declared(groups) if declared else _drawn(groups, seed, fractions)
    found = [{example.id for group in part for example in group} for part in parts]
    if not all(found):
        empty = ", ".join(name for name, ids in zip(_NAMES, found, strict=True) if not ids)
        raise DataError(
            f"no example is left for {empty}: of {len(examples)} examples with {len(groups)} different inputs, at least "
            f"{len(_NAMES)} are needed, one for each of train, validation and test. Examples with the same inputs count "
            "once" + ("; give each split an example of its own" if declared else "")
        )
    return Splits(*(tuple(example for example in examples if example.id in ids) for ids in found))


def _same_inputs(examples: Sequence[Example]) -> list[list[Example]]:
    """The examples in groups of the same inputs, ordered by id: not by their order in the data."""
    groups: dict[str, list[Example]] = {}
    for example in sorted(examples, key=lambda example: example.id):
        groups.setdefault(_canonical(example.inputs), []).append(example)
    return list(groups.values())


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
        parts[min(_NAMES.index(SPLITS[str(example.metadata["split"])]) for example in group)].append(group)
    return parts


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
