"""What counts as reading a field, and what as reading the whole."""

import copy
import json
import operator
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgrad_lg.evals.reads import NotedReads, unshared


def noted():
    return NotedReads({"label": "positive", "why": {"words": ["great"]}})


def by_match(outputs):
    match outputs:
        case {"label": label}:
            return label


def fields_of(**fields):
    return fields


BY_NAME = {
    "index": lambda outputs: outputs["label"],
    "get": lambda outputs: outputs.get("label"),
    "in": lambda outputs: "label" in outputs,
    "pop": lambda outputs: outputs.pop("label"),
    "setdefault": lambda outputs: outputs.setdefault("label", "x"),
    "itemgetter": operator.itemgetter("label"),
    "percent": lambda outputs: "%(label)s" % outputs,  # noqa: UP031  this way of reading is the test
    "format_map": "{label}".format_map,
    "match": by_match,
    ".copy": lambda outputs: outputs.copy()["label"],
    "copy": lambda outputs: copy.copy(outputs)["label"],
    "deepcopy": lambda outputs: copy.deepcopy(outputs)["label"],
    "after len, bool and isinstance": lambda outputs: (
        len(outputs),
        not outputs,
        isinstance(outputs, dict),
        outputs["label"],
    ),
}
AS_A_WHOLE = {
    "list": list,
    "dict": dict,
    "sorted": sorted,
    "repr": repr,
    "f-string": lambda outputs: f"{outputs}",
    "json": json.dumps,
    "json, indented and sorted": lambda outputs: json.dumps(outputs, indent=1, sort_keys=True),
    "keys": lambda outputs: outputs.keys(),
    "values": lambda outputs: outputs.values(),
    "items": lambda outputs: outputs.items(),
    "popitem": lambda outputs: outputs.popitem(),
    "reversed": lambda outputs: list(reversed(outputs)),
    "==": lambda outputs: outputs == {},
    "== from the right": lambda outputs: {} == outputs,  # noqa: SIM300  the side is the test
    "== of two of them": lambda outputs: NotedReads({}) == outputs,
    "!=": lambda outputs: outputs != {},
    "!= of two of them": lambda outputs: NotedReads({}) != outputs,
    "** in a dict": lambda outputs: {**outputs},
    "** in a call": lambda outputs: fields_of(**outputs),
    "update": lambda outputs: {}.update(outputs),  # noqa: PLW0108  one dict an id, not one for all
    "|": lambda outputs: outputs | {},
    "| from the right": lambda outputs: {} | outputs,
    "pickle": pickle.dumps,
    "a copy, read as a whole": lambda outputs: str(outputs.copy()),
}


@pytest.mark.parametrize("read", BY_NAME.values(), ids=BY_NAME)
def test_asking_by_name_notes_the_field(read):
    outputs = noted()
    read(outputs)
    assert (outputs.fields, outputs.whole) == (("label",), False)


@pytest.mark.parametrize("read", AS_A_WHOLE.values(), ids=AS_A_WHOLE)
def test_going_through_all_fields_counts_as_the_whole(read):
    outputs = noted()
    read(outputs)
    assert outputs.whole


def test_fields_come_in_the_order_of_first_reading():
    outputs = NotedReads({"a": 1, "b": 2, "c": 3})
    _ = outputs["c"], outputs["a"], outputs["c"], outputs.get("missing")
    assert outputs.fields == ("c", "a", "missing")


def test_a_key_that_is_no_text_counts_as_the_whole():
    outputs = noted()
    assert 3 not in outputs
    assert outputs.whole


def test_copies_that_nobody_reads_are_no_reading():
    outputs = noted()
    for copied in (outputs.copy, lambda: copy.copy(outputs), lambda: copy.deepcopy(outputs)):
        assert copied()
    assert (outputs.fields, outputs.whole) == ((), False)


def test_a_deep_copy_shares_nothing_and_pickles_as_a_plain_dict():
    outputs = noted()
    copy.deepcopy(outputs)["why"]["words"].append("bad")
    assert outputs["why"] == {"words": ["great"]}
    assert type(pickle.loads(pickle.dumps(outputs))) is dict


def test_it_has_no_hash_like_any_dict():
    with pytest.raises(TypeError):
        hash(noted())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values), st.dictionaries(st.text(), values))
def test_it_behaves_as_the_dict_it_was_made_from(one, other):
    outputs = NotedReads(one)
    assert outputs == one
    assert (outputs == other) == (one == other)
    assert (outputs != other) == (one != other)
    assert (outputs | other, other | outputs) == (one | other, other | one)
    assert (list(outputs), list(outputs.items()), len(outputs), repr(outputs)) == (
        list(one),
        list(one.items()),
        len(one),
        repr(one),
    )
    assert json.dumps(outputs) == json.dumps(one)
    assert copy.deepcopy(outputs) == outputs.copy() == one


@given(values)
def test_unshared_is_equal_and_new_at_every_depth(value):
    before = json.dumps(value)
    copied = unshared(value)
    assert copied == value

    def spoil(item):
        for inner in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            spoil(inner)
        if isinstance(item, dict | list):
            item.clear()

    spoil(copied)
    assert json.dumps(value) == before
