"""Loading examples, and what is said about those that cannot be used."""

import json
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest
from inline_snapshot import snapshot
from langchain_core.messages import HumanMessage
from langsmith import schemas

from textgrad_lg.errors import DataError
from textgrad_lg.evals import load, split
from textgrad_lg.example import Example


class Client:
    """Stands for `langsmith.Client`: the data sets it holds, and what it was asked."""

    def __init__(self, **datasets):
        self.datasets, self.asked = datasets, []

    def list_examples(self, *, dataset_name, as_of=None):
        self.asked.append((dataset_name, as_of))
        return iter(self.datasets[dataset_name])


def row(number, **more):
    return schemas.Example(id=UUID(int=number), inputs={"text": str(number)}, outputs={"label": "a"}, **more)


@pytest.mark.parametrize(
    "given",
    [
        {"inputs": {"text": "Great!"}, "reference_outputs": {"label": "positive"}},
        {"inputs": {"text": "Great!"}, "outputs": {"label": "positive"}},
        {"inputs": {"text": "Great!"}, "expected": {"label": "positive"}, "reference_outputs": None},
        {"inputs": {"text": "Great!"}, "expected": {"label": "positive"}, "metadata": None, "id": None},
        ({"text": "Great!"}, {"label": "positive"}),
        [{"text": "Great!"}, {"label": "positive"}],
        Example("1", {"text": "Great!"}, {"label": "positive"}),
    ],
    ids=count(),
)
def test_the_forms_of_one_example(given):
    assert load([given]) == (Example("1", {"text": "Great!"}, {"label": "positive"}),)


@pytest.mark.parametrize("reference", [None, {}], ids=count())
def test_nothing_expected(reference):
    (example,) = load([{"inputs": "hi", "reference_outputs": reference}])
    assert example.reference_outputs is None


@pytest.mark.parametrize("expected", ["positive", 3, 0, False, ["a"], ""], ids=count())
def test_what_was_expected_is_put_under_output_where_it_is_no_dict(expected):
    assert load([("hi", expected)])[0].reference_outputs == {"output": expected}


def test_ids_are_numbers_of_one_width():
    assert [example.id for example in load([("a", "b")] * 3)] == ["1", "2", "3"]
    assert [example.id for example in load([("a", "b")] * 10)][::9] == ["01", "10"]


def test_ids_metadata_and_splits_are_kept():
    (example,) = load([{"inputs": "hi", "id": 7, "metadata": {"source": "mail"}, "split": "val"}])
    assert (example.id, example.metadata) == ("7", {"source": "mail", "split": "val"})
    (example,) = load([{"inputs": "hi", "metadata": {"split": "test"}, "split": "test"}])
    assert example.metadata == {"split": "test"}


def test_tuples_become_lists_and_the_given_values_are_not_changed():
    given = {"inputs": {"messages": [("user", "hi")], "heat": 0.5}, "metadata": {"tags": ("a",)}, "split": "test"}
    (example,) = load([given])
    assert example.inputs == {"messages": [["user", "hi"]], "heat": 0.5}
    assert example.metadata == {"tags": ["a"], "split": "test"}
    assert given["metadata"] == {"tags": ("a",)}


def test_a_generator_is_data_too():
    assert len(load((str(number), "x") for number in range(3))) == 3


# Files


def test_a_jsonl_file(tmp_path):
    file = tmp_path / "reviews.jsonl"
    file.write_text('\ufeff{"inputs": "a\u2028b", "expected": "x"}\r\n\n["b", "y"]\n', encoding="utf-8")
    expected = (Example("1", "a\u2028b", {"output": "x"}), Example("2", "b", {"output": "y"}))
    assert load(file) == load(str(file)) == expected


def test_a_json_file(tmp_path):
    file = tmp_path / "reviews.json"
    file.write_text(json.dumps([{"inputs": "a"}, {"inputs": "b"}]))
    assert [example.inputs for example in load(file)] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("r.jsonl", '{"inputs": 1}\n\n{"inputs": \n', "r.jsonl, line 3, column 12"),
        ("r.jsonl", '{"inputs": 1}\n{"text": 1}\n', "r.jsonl, line 2"),
        ("r.jsonl", '{"inputs": NaN}', "r.jsonl, line 1: inputs"),
        ("r.json", '[{"inputs": 1},\n {"inputs": }]', "r.json, line 2, column 13"),
        ("r.json", '[{"inputs": 1}, {"text": 1}]', "r.json, example 2"),
        ("r.json", '{"inputs": 1}', "r.json holds a dict"),
        ("r.jsonl", "\n", "there are no examples"),
        ("r.csv", "text,label", "r.csv is no .jsonl or .json file"),
    ],
    ids=count(),
)
def test_errors_name_the_file_and_the_place(tmp_path, name, text, where):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        load(tmp_path / name)
    assert where in str(caught.value)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no file r\.jsonl in .*" + tmp_path.name):
        load("r.jsonl")
    with pytest.raises(DataError, match=r"no file /.*r\.jsonl"):
        load(tmp_path / "r.jsonl")
    Path("r.jsonl").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match="UTF-8"):
        load("r.jsonl")
    Path("reviews").write_text("")
    for text in ("reviews", "", "  "):
        with pytest.raises(DataError, match="is neither"):
            load(text)


# LangSmith


def test_a_langsmith_data_set():
    client = Client(reviews=[row(1), row(2, metadata={"dataset_split": ["base"], "source": "mail"})])
    first, second = load("reviews", client=client)
    assert first == Example(str(UUID(int=1)), {"text": "1"}, {"label": "a"})
    assert second.metadata == {"dataset_split": ["base"], "source": "mail"}
    assert client.asked == [("reviews", None)]


def test_a_langsmith_version():
    client = Client(reviews=[row(1)])
    when = datetime(2025, 1, 1, tzinfo=UTC)
    load("reviews", client=client, as_of="prod")
    load("reviews", client=client, as_of=when)
    assert client.asked == [("reviews", "prod"), ("reviews", when)]


def test_langsmith_splits_are_honoured():
    names = [["train"], ["base", "validation"], "test", ["val"], ["test"]]
    rows = [row(at, metadata={"dataset_split": name}) for at, name in enumerate(names)]
    splits = split(load("reviews", client=Client(reviews=rows)), seed=0)
    assert [[UUID(each.id).int for each in part] for part in (splits.train, splits.validation, splits.test)] == [
        [0],
        [1, 3],
        [2, 4],
    ]


def test_a_langsmith_example_in_two_splits_is_refused():
    client = Client(reviews=[row(1, metadata={"dataset_split": ["train", "test"]})])
    with pytest.raises(DataError, match="example 1: it is in the LangSmith splits train, test"):
        load("reviews", client=client)


def test_langsmith_examples_in_a_list():
    assert load([row(1, metadata={"dataset_split": ["test"]})])[0].metadata["split"] == "test"


def test_an_unknown_langsmith_data_set():
    with pytest.raises(DataError, match=r"the LangSmith data set 'review' could not be read: KeyError") as caught:
        load("review", client=Client())
    assert isinstance(caught.value.__cause__, KeyError)


def test_the_real_client_is_asked_where_none_is_given(monkeypatch):
    client = Client(reviews=[row(1)])
    monkeypatch.setattr("langsmith.Client", lambda: client)
    assert len(load("reviews")) == 1


# Bad input

BAD = {
    "a flat dict": [{"text": "Great!", "label": "positive"}],
    "a flat dict of one": [{"text": "Great!"}],
    "an unknown key": [{"inputs": "a", "label": "positive"}],
    "two references": [{"inputs": "a", "outputs": "b", "expected": "b"}],
    "no inputs": [{"inputs": None}],
    "a bad id": [{"inputs": "a", "id": True}],
    "an empty id": [{"inputs": "a", "id": ""}],
    "bad metadata": [{"inputs": "a", "metadata": "mail"}],
    "two splits": [{"inputs": "a", "split": "train", "metadata": {"split": "test"}}],
    "a message": [({"messages": [HumanMessage("hi")]}, "x")],
    "not a number": [("a", {"n": float("nan")})],
    "bytes": [("a", b"x")],
    "a set": [({"a"}, "x")],
    "a key": [({1: "x"}, "x")],
    "texts": ["a", "b"],
    "three of them": [("a", "b", "c")],
    "nothing": [],
    "same ids": [{"inputs": at, "id": at % 7} for at in range(14)],
    "same given and made id": [("a", "b"), {"inputs": "c", "id": "1"}],
    "one example, not a list": {"inputs": "a"},
    "raw bytes": b"a",
    "a number": 3,
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_refused(data):
    with pytest.raises(DataError):
        load(data)


def test_the_words_of_the_refusals():
    words = {}
    for name, data in BAD.items():
        with pytest.raises(DataError) as caught:
            load(data)
        words[name] = str(caught.value)
    assert words == snapshot(
        {
            "a flat dict": 'example 1: there is no \'inputs\', and nothing is guessed. It has \'text\', \'label\'; say which of it the graph is invoked with, and what was wanted, as in {"inputs": {"text": "..."}, "reference_outputs": {"label": "..."}}',
            "a flat dict of one": 'example 1: there is no \'inputs\', and nothing is guessed. It has \'text\'; say which of it the graph is invoked with, and what was wanted, as in {"inputs": {"text": "..."}, "reference_outputs": {"answer": "..."}}',
            "an unknown key": "example 1: 'label' is not known; known are inputs, reference_outputs, outputs, expected, id, metadata, split. What was wanted goes under 'reference_outputs', anything else under 'metadata'",
            "two references": "example 1: 'outputs' and 'expected' say the same thing; give one of them",
            "no inputs": 'example 1: the inputs are missing; they are what the graph is invoked with. Say what the graph is invoked with, and what was wanted, as in {"inputs": {"question": "..."}, "reference_outputs": {"answer": "..."}}',
            "a bad id": "example 1: the id is True; an id is a text or a whole number",
            "an empty id": "example 1: the id is ''; an id is a text or a whole number",
            "bad metadata": "example 1: the metadata are a str; wanted is a dict",
            "two splits": "example 1: 'split' is 'train', and in the metadata 'test'; give one of them",
            "a message": 'example 1: inputs[\'messages\'][0] is a HumanMessage, which JSON cannot hold; a chat message is written {"role": "user", "content": "..."}',
            "not a number": "example 1: reference_outputs['n'] is nan, which JSON cannot hold; a missing value is None",
            "bytes": "example 1: reference_outputs is a bytes, which JSON cannot hold; write it as text, numbers, lists and dicts",
            "a set": "example 1: inputs is a set, which JSON cannot hold; write it as text, numbers, lists and dicts",
            "a key": "example 1: inputs: the key 1 is a int; the keys of JSON are texts",
            "texts": 'example 1: a str is no example. Say what the graph is invoked with, and what was wanted, as in {"inputs": {"question": "..."}, "reference_outputs": {"answer": "..."}}',
            "three of them": 'example 1: a tuple is no example. Say what the graph is invoked with, and what was wanted, as in {"inputs": {"question": "..."}, "reference_outputs": {"answer": "..."}}',
            "nothing": "there are no examples; an optimisation needs at least one for each of train, validation, test",
            "same ids": "two examples have the same id: '0', '1', '2', '3', '4' and 2 more. Give each its own, or none an id",
            "same given and made id": "two examples have the same id: '1'. Give each its own, or none an id",
            "one example, not a list": "the data are a dict; wanted is a list of examples, a .jsonl or .json path, or the name of a LangSmith data set",
            "raw bytes": "the data are a bytes; wanted is a list of examples, a .jsonl or .json path, or the name of a LangSmith data set",
            "a number": "the data are a int; wanted is a list of examples, a .jsonl or .json path, or the name of a LangSmith data set",
        }
    )
