"""What must hold of any split."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from textgrad_lg.errors import DataError
from textgrad_lg.evals import split
from textgrad_lg.example import Example

inputs = st.fixed_dictionaries({"text": st.text(max_size=3), "n": st.integers(0, 9)})
references = st.none() | st.fixed_dictionaries({"label": st.sampled_from("abc"), "why": st.just("x")})


def canonical(value):
    return json.dumps(value, sort_keys=True)


@st.composite
def datasets(draw, smallest=3):
    distinct = draw(st.lists(inputs, min_size=smallest, max_size=30, unique_by=canonical))
    again = draw(st.lists(st.sampled_from(distinct), max_size=10))
    rows = draw(st.permutations([*distinct, *again]))
    return [Example(str(at), each, draw(references)) for at, each in enumerate(rows)]


def parts(splits):
    return splits.train, splits.validation, splits.test


def ids(splits):
    return [[example.id for example in part] for part in parts(splits)]


def turned(value):
    """The same value with the keys of each dict in the other order."""
    return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


@given(datasets(), st.integers())
def test_complete_disjoint_and_in_the_order_of_the_data(examples, seed):
    splits = split(examples, seed=seed)
    found = [example for part in parts(splits) for example in part]
    assert all(parts(splits))
    assert sorted(found, key=examples.index) == examples
    assert [sorted(part, key=examples.index) for part in parts(splits)] == [list(part) for part in parts(splits)]


@given(datasets(), st.integers())
def test_the_same_inputs_are_in_one_split(examples, seed):
    where = {}
    for name, part in zip("abc", parts(split(examples, seed=seed)), strict=True):
        for example in part:
            where.setdefault(canonical(example.inputs), set()).add(name)
    assert all(len(names) == 1 for names in where.values())


@given(datasets(), st.integers(), st.randoms())
def test_neither_the_order_of_examples_nor_of_keys_matters(examples, seed, chance):
    others = [Example(each.id, turned(each.inputs), turned(each.reference_outputs)) for each in examples]
    chance.shuffle(others)
    first, second = split(examples, seed=seed), split(others, seed=seed)
    assert [set(part) for part in ids(first)] == [set(part) for part in ids(second)]


@given(st.integers(3, 200), st.integers())
def test_sizes_are_near_the_fractions(count, seed):
    sizes = [len(part) for part in parts(split([Example(str(at), at) for at in range(count)], seed=seed))]
    assert sum(sizes) == count
    for size, fraction in zip(sizes, (0.4, 0.3, 0.3), strict=True):
        assert size == 1 or abs(size - fraction * count) <= 1


@given(st.integers(3, 30), st.integers(3, 30), st.integers())
def test_few_labels_are_spread_evenly(common, rare, seed):
    examples = [Example(str(at), at, {"label": "common" if at < common else "rare"}) for at in range(common + rare)]
    for part, fraction in zip(parts(split(examples, seed=seed)), (0.4, 0.3, 0.3), strict=True):
        labels = Counter(str(example.reference_outputs) for example in part)
        for label, count in (("common", common), ("rare", rare)):
            assert abs(labels[str({"label": label})] - fraction * count) <= 2


def test_the_very_split():
    examples = [Example(str(at), at, {"label": "ab"[at % 2]}) for at in range(10)]
    assert ids(split(examples, seed=0)) == snapshot([["1", "2", "4", "7"], ["0", "3", "9"], ["5", "6", "8"]])
    assert ids(split(examples, seed=1)) != ids(split(examples, seed=0))


@pytest.mark.parametrize(
    ("fractions", "count", "sizes"),
    [
        ((0.4, 0.3, 0.3), 3, [1, 1, 1]),
        ((0.98, 0.01, 0.01), 10, [8, 1, 1]),
        ((0.9, 0.05, 0.05), 3, [1, 1, 1]),
        ((0.5, 0.25, 0.25), 100, [50, 25, 25]),
    ],
)
def test_sizes(fractions, count, sizes):
    splits = split([Example(str(at), at) for at in range(count)], seed=0, fractions=fractions)
    assert [len(part) for part in parts(splits)] == sizes


# Declared splits


def declared(*names, inputs=None):
    return [
        Example(str(at), inputs[at] if inputs else at, None, {} if name is None else {"split": name})
        for at, name in enumerate(names)
    ]


def test_declared_splits_are_honoured_whatever_the_seed():
    examples = declared("test", "val", "train", "validation", "train")
    assert ids(split(examples, seed=1)) == ids(split(examples, seed=2)) == [["2", "4"], ["1", "3"], ["0"]]


def test_the_same_inputs_leave_the_later_of_two_declared_splits():
    examples = declared("test", "train", "validation", "test", inputs=["same", "same", "b", "c"])
    assert ids(split(examples, seed=0)) == [["0", "1"], ["2"], ["3"]]


def test_the_words_of_the_refusals():
    cases = {
        "some say none": declared("train", None, "test"),
        "unknown": declared("train", "dev", "test"),
        "not a text": declared("train", ["val"], "test"),
        "none for test": declared("train", "val", "train"),
        "same inputs": declared("train", "val", "test", inputs=["a", "b", "a"]),
        "too few": [Example("1", "a"), Example("2", "b")],
        "too few different ones": [Example(str(at), at % 2) for at in range(10)],
        "none": [],
    }
    words = {}
    for name, examples in cases.items():
        with pytest.raises(DataError) as caught:
            split(examples, seed=0)
        words[name] = str(caught.value)
    assert words == snapshot(
        {
            "some say none": "the example '1' says no split, and others do; give each example one of train, validation, val, test, or none any",
            "unknown": "the example '1' says the split 'dev'; give each example one of train, validation, val, test, or none any",
            "not a text": "the example '1' says the split ['val']; give each example one of train, validation, val, test, or none any",
            "none for test": "no example is left for test: of 3 examples with 3 different inputs, at least 3 are needed, one for each of train, validation and test. Examples with the same inputs count once; give each split an example of its own",
            "same inputs": "no example is left for test: of 3 examples with 2 different inputs, at least 3 are needed, one for each of train, validation and test. Examples with the same inputs count once; give each split an example of its own",
            "too few": "no example is left for validation: of 2 examples with 2 different inputs, at least 3 are needed, one for each of train, validation and test. Examples with the same inputs count once",
            "too few different ones": "no example is left for validation: of 10 examples with 2 different inputs, at least 3 are needed, one for each of train, validation and test. Examples with the same inputs count once",
            "none": "no example is left for train, validation, test: of 0 examples with 0 different inputs, at least 3 are needed, one for each of train, validation and test. Examples with the same inputs count once",
        }
    )


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5, 0.0), (0.5, 0.3, 0.3), (1.2, -0.1, -0.1), (0.5, 0.5), (float("nan"),) * 3]
)
def test_fractions_are_three_shares(fractions):
    with pytest.raises(DataError, match="three positive shares"):
        split([Example(str(at), at) for at in range(9)], seed=0, fractions=fractions)


# Groups


@st.composite
def grouped(draw):
    """Examples of which some share inputs, some a group, and some both: chains of these must not be cut either."""
    count = draw(st.integers(3, 30))
    group = st.none() | st.just("") | st.integers(0, 6) | st.sampled_from(["0", "a", "b"])
    rows = draw(st.lists(st.tuples(st.integers(0, 25), group), min_size=count, max_size=count))
    lone = [(100 + at, None) for at in range(3)]  # enough for a split each
    rows = draw(st.permutations([*rows, *lone]))
    return [
        Example(f"{at:02}", given, None, {} if name is None else {"group": name})
        for at, (given, name) in enumerate(rows)
    ]


def sides(splits, key):
    where = {}
    for name, part in zip("abc", parts(splits), strict=True):
        for example in part:
            if (found := key(example)) not in (None, ""):
                where.setdefault((type(found), found), set()).add(name)
    return where


@given(grouped(), st.integers())
def test_no_group_is_on_two_sides(examples, seed):
    splits = split(examples, seed=seed)
    assert all(len(names) == 1 for names in sides(splits, lambda example: example.metadata.get("group")).values())
    assert all(len(names) == 1 for names in sides(splits, lambda example: example.inputs).values())
    assert sorted(example.id for part in parts(splits) for example in part) == [each.id for each in examples]


@given(grouped(), st.integers(), st.randoms())
def test_with_groups_the_order_of_examples_does_not_matter_either(examples, seed, chance):
    others = list(examples)
    chance.shuffle(others)
    assert [set(part) for part in ids(split(examples, seed=seed))] == [
        set(part) for part in ids(split(others, seed=seed))
    ]


@given(grouped(), st.lists(st.sampled_from(["train", "val", "test"]), min_size=33, max_size=33))
def test_no_group_is_declared_on_two_sides(examples, names):
    said = [
        replace(each, metadata={**each.metadata, "split": name}) for each, name in zip(examples, names, strict=False)
    ]
    try:
        splits = split(said, seed=0)
    except DataError:
        return
    assert all(len(found) == 1 for found in sides(splits, lambda example: example.metadata.get("group")).values())


def test_fractions_are_counted_in_groups():
    examples = [Example(f"{at:02}", at, None, {"group": at // 4}) for at in range(40)]
    assert [len(part) for part in parts(split(examples, seed=0))] == [16, 12, 12]


def test_a_chain_of_groups_and_inputs_stays_together():
    one: dict[str, Any] = {"group": "one"}
    two: dict[str, Any] = {"group": "two"}
    chain = [
        Example("1", "x", None, one),
        Example("2", "y", None, one),
        Example("3", "y", None, two),
        Example("4", "z", None, two),
    ]
    splits = split([*chain, *(Example(f"lone {at}", at) for at in range(6))], seed=0)
    assert any({"1", "2", "3", "4"} <= set(part) for part in ids(splits))


def test_the_words_of_what_is_refused_about_groups():
    def of(*rows):
        return [Example(str(at), at, None, metadata) for at, metadata in enumerate(rows)]

    cases = {
        "two sides": of({"split": "train", "group": "a"}, {"split": "val"}, {"split": "test", "group": "a"}),
        "no group": of({"group": ["a"]}, {}, {}),
        "a bool": of({"group": True}, {}, {}),
        "too few": of({"group": "a"}, {"group": "a"}, {"group": "b"}, {"group": "b"}),
    }
    words = {}
    for name, examples in cases.items():
        with pytest.raises(DataError) as caught:
            split(examples, seed=0)
        words[name] = str(caught.value)
    assert words == snapshot(
        {
            "two sides": "the examples '0' and '2' are of the group 'a', and say the splits train and test; a group is on one side, so correct its splits, or give the two parts groups of their own",
            "no group": "the example '0' has the group ['a']; a group is a text or a whole number, and says which examples share a split",
            "a bool": "the example '0' has the group True; a group is a text or a whole number, and says which examples share a split",
            "too few": "no example is left for validation: of 4 examples with 2 groups, at least 3 are needed, one for each of train, validation and test. Examples with the same group or inputs count once",
        }
    )
