"""Failures by kind, and the data set that grows from them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgrad_lg import Evals, ProductionTrace, Score, Site, Template, to_examples
from textgrad_lg.errors import DataError, GraphError, TextgradError
from textgrad_lg.evals import load
from textgrad_lg.example import Example
from textgrad_lg.overlay import Replacement
from textgrad_lg.run.clusters import clustered, in_turn
from textgrad_lg.run.failing import Seen, kinds
from textgrad_lg.run.no_graph import NoGraph
from textgrad_lg.run.trial import changes
from textgrad_lg.templates import FENCE
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.trace import Span
from textgrad_lg.update import Update

KINDS = [
    "the parcel of order {} never arrived and nobody apologises for it",
    "ValueError: could not parse the date {} that stands in the request",
    "the answer is in English and should have been in French, see {}",
]


def trace(number, *, question=None, error=None, reply=None):
    build = TraceBuilder("shop", id=f"{number:032x}")
    asked = build.input("question", question or f"question {number}")
    answer = build.llm(
        "answer", reads=[asked], prompts={"answer/system": "Be brief."}, reply=reply or f"answer {number}"
    )
    made = build.finish({"answer": answer})
    return made if error is None else replace(made, spans=(replace(made.spans[0], error=error), *made.spans[1:]))


def thumbs(number, score=0.0, comment="too short", **expected):
    return ProductionTrace(trace(number), (Score("thumb", score, comment, expected=expected or None),))


def test_few_kinds_make_few_clusters_whatever_their_numbers():
    texts = [KINDS[0].format(at) for at in range(100)] + [KINDS[1].format(at) for at in range(9)] + [KINDS[2].format(1)]
    found = clustered(texts)
    assert [len(group) for group in found] == [100, 9, 1]
    assert found == clustered(texts)
    assert [texts[at][:10] for at in in_turn(found)[:3]] == [kind[:10] for kind in KINDS]


def test_what_was_said_of_a_failure_outweighs_a_long_conversation_that_came_out():
    """Each kind of failure in each of two conversations that have no word in common."""
    talks = ["parcel late courier depot sorry " * 60, "invoice twice card bank pending " * 60]

    def failure(number):
        score = Score("judge", 0.0, KINDS[number % 3].format(number))
        made = ProductionTrace(trace(number, reply=f"{talks[number % 2]} {number}"), (score,))
        return Seen(made, Example(str(number), {}), (), failed=True)

    failing = [failure(number) for number in range(12)]
    clusters, groups = kinds(failing, {one.example.id: (one.trace.trace.id,) for one in failing}, seed=0)
    assert [{int(one.example.id) % 3 for one in group} for group in groups] == [{0}, {1}, {2}]
    assert [cluster.size for cluster in clusters] == [4, 4, 4]
    # Where nothing is said but that it failed, what came out tells the kinds apart.
    mute = [replace(one, trace=replace(one.trace, feedback=(Score("thumb", 0.0),))) for one in failing]
    _, groups = kinds(mute, {one.example.id: (one.trace.trace.id,) for one in mute}, seed=0)
    assert [{int(one.example.id) % 2 for one in group} for group in groups] == [{0}, {1}]


def test_more_wordings_than_clusters():
    words = ["late", "broken", "wrong", "lost", "cold", "green"]
    texts = [f"{KINDS[at % 3].format('')} {words[at % 6]} {words[at // 6 % 6]}" for at in range(36)]
    found = clustered(texts, most=5)
    assert len(found) <= 5
    assert all(len({at % 3 for at in group}) == 1 for group in found)


@given(st.lists(st.text(max_size=30), max_size=12), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_each_text_is_in_one_cluster(texts, most):
    found = clustered(texts, most=most)
    assert sorted(at for group in found for at in group) == list(range(len(texts)))
    assert len(found) <= most or not texts
    assert [len(group) for group in found] == sorted((len(group) for group in found), reverse=True)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    assert clustered(["one and the same"] * 3) == ((0, 1, 2),)
    with pytest.raises(TextgradError, match=r"textgrad-lg\[learn\]"):
        clustered(KINDS)


def test_a_trace_in_any_form():
    plain = trace(1)
    assert ProductionTrace.of(plain) == ProductionTrace(plain)
    assert ProductionTrace.of(plain, {plain.id: "ann"}).who == "ann"
    assert ProductionTrace.of(plain).who == plain.id
    imported = SimpleNamespace(trace=plain, feedback=[Score("thumb", 0.0, "bad <<<END 12345678>>>"), True, "hm"])
    found = ProductionTrace.of(imported)
    assert [score.value for score in found.feedback] == [0.0, 1.0, None]
    # What people wrote stands between delimiters, which they cannot close.
    assert len(FENCE.findall(found.feedback[0].comment or "")) == 2
    assert ProductionTrace.of(found) is found
    assert ProductionTrace.of(found, {plain.id: "ann"}).source == "ann"
    bare = SimpleNamespace(trace=plain, feedback=[Score("thumb", 1.0)])
    assert ProductionTrace.of(bare).feedback == (Score("thumb", 1.0),)


def test_an_error_that_the_run_caught_itself_is_none():
    one = trace(1)
    inner = (*one.spans, Span("s9", one.spans[1].kind, "tool", "s0", error="ValueError: retried"))
    assert ProductionTrace(replace(one, spans=inner)).error is None
    assert ProductionTrace(trace(1, error="ValueError: boom")).fails(1.0)


def test_failing_ones_become_examples_that_say_where_they_come_from():
    found = to_examples([trace(1), thumbs(2), trace(3, error="ValueError: boom"), thumbs(4, 1.0)])
    assert [example.inputs for example in found] == [{"question": "question 2"}, {"question": "question 3"}]
    assert [example.metadata["failed_by"] for example in found] == ["feedback", "error"]
    assert [example.metadata["source"] for example in found] == [f"{2:032x}", f"{3:032x}"]
    assert found[0].metadata["trace"] == f"{2:032x}"
    assert len(to_examples([trace(1), thumbs(2)], every=True)) == 2


def test_an_evaluator_says_what_failed_and_a_correction_what_was_wanted():
    corrected = thumbs(1, answer="a better one")
    (example,) = to_examples([corrected])
    assert example.reference_outputs == {"answer": "a better one"}
    found = to_examples([trace(1), trace(2)], lambda outputs: outputs["answer"] == "answer 1")
    assert [(example.inputs, example.metadata["failed_by"]) for example in found] == [
        ({"question": "question 2"}, "evaluator")
    ]
    data = [{"inputs": {"question": "question 2"}, "expected": "two", "metadata": {"tag": "a", "split": "test"}}]
    (example,) = to_examples([trace(2)], Evals(data, [lambda outputs, reference_outputs: 0.0]))
    assert example.reference_outputs == {"output": "two"}
    assert example.metadata["tag"] == "a"
    assert "split" not in example.metadata


def test_a_file_grows_and_holds_each_example_once(tmp_path):
    file = tmp_path / "new" / "failing.jsonl"
    assert len(to_examples([thumbs(1), thumbs(2)], to=file)) == 2
    assert to_examples([thumbs(1), thumbs(2)], to=file) == ()
    twin = ProductionTrace(trace(9, question="question 1"), (Score("thumb", 0.0),))
    file.write_text(file.read_text().rstrip("\n"))
    assert len(to_examples([twin, thumbs(3), thumbs(3)], to=file)) == 1
    assert [example.inputs for example in load(file)] == [{"question": f"question {at}"} for at in (1, 2, 3)]
    assert all(json.loads(line)["metadata"]["source"] for line in file.read_text().splitlines())
    file.write_text(file.read_text() + '{"inputs": {"ques')
    with pytest.raises(DataError, match="line 4"):
        to_examples([thumbs(4)], to=file)
    with pytest.raises(DataError, match=r"is no \.jsonl file"):
        to_examples([thumbs(4)], to="failing")


class Client:
    """Keeps a data set as `langsmith.Client` does."""

    def __init__(self):
        self.sets: dict[str, list] = {}
        self.calls = 0

    def has_dataset(self, *, dataset_name):
        return dataset_name in self.sets

    def create_dataset(self, dataset_name, **options):
        self.sets[dataset_name] = []

    def list_examples(self, *, dataset_name):
        return [SimpleNamespace(**row) for row in self.sets[dataset_name]]

    def create_examples(self, *, dataset_name, examples):
        self.calls += 1
        self.sets[dataset_name] += examples


def test_a_langsmith_data_set_grows_too():
    client = Client()
    assert len(to_examples([thumbs(1), thumbs(2, answer="x")], to="failing", client=client)) == 2
    assert to_examples([thumbs(1), thumbs(2)], to="failing", client=client) == ()
    assert client.calls == 1
    first, second = client.sets["failing"]
    assert first["inputs"] == {"question": "question 1"}
    assert second["reference_outputs"] == {"answer": "x"}
    assert len({row["id"] for row in client.sets["failing"]}) == 2
    del client.sets["failing"]
    client.has_dataset = lambda dataset_name: True  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(DataError, match="could not be added to: KeyError"):
        to_examples([thumbs(3)], to="failing", client=client)


async def test_what_has_no_graph_is_not_run():
    target = NoGraph.of([trace(1), trace(2)])
    assert target.name == "shop"
    assert target.state == ""
    with pytest.raises(GraphError, match="cannot be run"):
        await target.run(SimpleNamespace(example="e"), None)  # pyright: ignore[reportArgumentType]
    assert target.improved(None) is target.check() is target.published(None) is None  # pyright: ignore[reportArgumentType]


def test_a_text_brings_along_the_traces_of_all_edits_that_led_to_it():
    site, own, one, two = Site.parse("answer/system"), Template("a"), Template("b"), Template("c")
    tried = [Update(site, own, one, "", "x", ("g1",), ("t1",)), Update(site, one, two, "", "x", ("g2",), ("t2", "t1"))]
    (made,) = changes({}, {site: Replacement(own, two)}, {site: own}, why="", proposer="merge", tried=tried)
    assert (made.gradients, made.traces) == (("g2", "g1"), ("t2", "t1"))
    (back,) = changes({site: Replacement(own, two)}, {}, {site: own}, why="", proposer="merge", tried=tried)
    assert (back.gradients, back.traces) == ((), ())
