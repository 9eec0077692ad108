"""The Memo as a value: what it finds, how it grows, and how it is written and read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgrad_lg.errors import ReplayError
from textgrad_lg.replay import Entry, Memo

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
ENTRIES = st.builds(
    Entry,
    key=st.sampled_from("abc"),
    lane=st.sampled_from(["", "[0]", "[1]"]),
    ordinal=st.integers(0, 3),
    name=st.text(),
    value=VALUES,
    reason=st.none() | st.text(),
    seconds=st.floats(0, 1e6),
)
MEMOS = st.lists(ENTRIES, max_size=6, unique_by=lambda entry: entry.place).map(lambda found: Memo(tuple(found)))


@settings(max_examples=30)
@given(MEMOS)
def test_a_memo_reads_back_as_the_same_memo(memo):
    assert Memo.from_json(memo.to_json()) == memo
    assert Memo.from_json(memo.to_json()).to_json() == memo.to_json()


@settings(max_examples=30)
@given(MEMOS, MEMOS)
def test_a_memo_grows_by_what_it_does_not_know(memo, other):
    both = memo.with_entries(other.entries)
    assert both.entries[: len(memo)] == memo.entries
    assert {entry.place for entry in both.entries} == {entry.place for entry in (*memo.entries, *other.entries)}
    assert both.with_entries(other.entries) is both
    for entry in memo.entries:
        assert both.find(*entry.place) == entry


@settings(max_examples=30)
@given(MEMOS, st.sampled_from("abc"), st.sampled_from(["", "[0]", "[2]"]), st.integers(0, 3))
def test_what_is_found_is_of_the_same_key_and_ordinal_whatever_the_order_of_entries(memo, key, lane, ordinal):
    found = memo.find(key, lane, ordinal)
    assert Memo(memo.entries[::-1]).find(key, lane, ordinal) == found
    matching = [entry for entry in memo.entries if (entry.key, entry.ordinal) == (key, ordinal)]
    assert (found is None) == (not matching)
    if found is not None:
        assert found in matching
        assert found.lane == lane or lane not in [entry.lane for entry in matching]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "it is not JSON"),
        ("[]", "a memo is a JSON object"),
        ("{}", "a memo is a JSON object"),
        ('{"version": 3, "entries": []}', "of version 3, and this library reads versions 1 to 2"),
        ('{"version": 1, "entries": 3}', "its entries are not a list"),
        (
            '{"version": 1, "entries": [["a"]]}',
            "an entry has the fields key, lane, ordinal, name, value, reason, seconds",
        ),
        ('{"version": 1, "entries": [["a", "", "0", "n", 1, null]]}', "an entry has the fields"),
    ],
)
def test_what_is_not_a_memo_is_refused(text, why):
    with pytest.raises(ReplayError, match=why):
        Memo.from_json(text)


def test_a_memo_does_not_say_twice_what_one_call_answered():
    row = ["k", "", 0, "n", 1, None]
    with pytest.raises(ReplayError, match="says twice"):
        Memo.from_json(json.dumps({"version": 1, "entries": [row, row]}))
