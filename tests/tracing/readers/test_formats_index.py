"""An index says of many traces what is needed to choose among them, and reads those that were chosen."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.json.file import FileSpanExporter

from benchmarks import ingest
from tests.tracing.readers import sample
from textgrad_lg.errors import DataError
from textgrad_lg_tracing.readers import files, imported, otlp_json, otlp_proto
from textgrad_lg_tracing.readers.index import Entry, index
from textgrad_lg_tracing.readers.limits import Limits
from textgrad_lg_tracing.readers.read import read
from textgrad_lg_tracing.readers.scores import score
from textgrad_lg_tracing.readers.span import SourceEvent, SourceSpan

DATA = Path(__file__).parent / "data"
FORMATS = DATA / "formats"


def refuse(problem):
    raise AssertionError(problem)


def span(**attributes):
    return SourceSpan("t", "s", None, "n", 0, 1, attributes, (), (), None, 0, "", {}, "otlp")


def test_an_entry(tmp_path):
    exporter = FileSpanExporter(str(tmp_path / "a.jsonl"))
    spans = sample.sdk_spans(2)
    random.Random(0).shuffle(spans)
    for one in spans:
        exporter.export([one])
    exporter.shutdown()
    found = index(tmp_path / "a.jsonl", report=refuse)
    entries = {entry.id: entry for entry in found}
    assert len(found) == len(entries) == 2
    # The root did not fail, so what failed within is no error of the trace.
    assert entries[f"{0x00AB << 112 | 1:032x}"] == Entry(
        f"{0x00AB << 112 | 1:032x}", "desk", sample.T0, sample.T0 + 5 * sample.MS, 3, None, None
    )
    assert list(entries) == sorted(entries, key=[f"{one.context.trace_id:032x}" for one in spans].index)


@pytest.fixture
def mixed(tmp_path):
    """Files of several forms, one with two traces that lie within each other."""
    ingest.write_json(tmp_path / "a.jsonl", 60)
    ingest.write_proto(tmp_path / "b.pb", 3)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress((DATA / "openinference.jsonl").read_bytes()))
    for name in ("jaeger.json", "langfuse.json"):
        (tmp_path / name).write_bytes((FORMATS / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", ["a.jsonl", "b.pb"])
def test_of_a_record_only_the_spans_that_are_wanted_are_made(name, tmp_path, monkeypatch):
    (ingest.write_json if name == "a.jsonl" else ingest.write_proto)(tmp_path / name, 30)
    found = index(tmp_path, report=refuse)
    wanted = [entry.id for entry in found][7:9]
    module = otlp_json if name == "a.jsonl" else otlp_proto
    made, whole = [], module._span
    monkeypatch.setattr(module, "_span", lambda *given: made.append(whole(*given)) or made[-1])
    assert [trace.id for trace in found.load([*wanted, wanted[0]])] == sorted(wanted, key=wanted.index)
    assert len(made) == 2 * ingest.SPANS


def test_many_traces_are_indexed_drawn_and_clustered_without_making_them_all(tmp_path, monkeypatch):
    ingest.write_json(tmp_path / "many.jsonl", 200)
    made, build = [], imported.build  # pyright: ignore[reportPrivateImportUsage]
    monkeypatch.setattr(imported, "build", lambda found: made.append(found.id) or build(found))
    monkeypatch.setattr(ingest, "MOST", 12)
    stages = {stage.name: stage.came for stage in ingest.learnt(tmp_path / "many.jsonl")}
    assert stages["index"] == "200 traces"
    assert stages["choose"] == "20 failing, 20 others"
    assert stages["load"] == "40 taken in"
    assert stages["make"] == "24 drawn and made"
    assert stages["cluster"] == "3 kinds of 12 failures"
    assert len(made) == 24


def test_what_is_loaded_is_what_is_read(mixed):
    expected = {trace.id: trace for trace in read(mixed, report=refuse)}
    found = index(mixed, report=refuse)
    assert {entry.id for entry in found} == set(expected)
    for entry in found:
        trace = expected[entry.id]
        assert entry.start == min(one.start for one in trace.spans)
        assert entry.end == max(one.end for one in trace.spans)
        assert next(found.load(entry.id)) == trace
        assert entry.id in found
    chosen = random.Random(1).sample(sorted(expected), 20)
    assert {trace.id: trace for trace in found.load(chosen)} == {name: expected[name] for name in chosen}
    failed = [entry.id for entry in found if entry.error]
    assert len(failed) == 6
    assert "x" not in found
    with pytest.raises(KeyError):
        next(found.load("x"))


def test_records_are_read_once_for_neighbours(mixed, monkeypatch):
    found = index(mixed / "a.jsonl", report=refuse)
    read_again = []
    again = files.again
    monkeypatch.setattr(
        files, "again", lambda path, form, at, size: read_again.append(at) or again(path, form, at, size)
    )
    ids = [entry.id for entry in found]
    assert [trace.id for trace in found.load(reversed(ids))] == ids
    assert len(read_again) == len(set(read_again)) == 3


def test_a_bulk_export_is_indexed(tmp_path):
    from tests.tracing.readers.test_formats_langsmith import RUNS, bulk

    path = bulk(tmp_path / "runs.parquet", RUNS, row_group_size=7)
    found = index([path], report=refuse)
    (entry,) = found
    assert (entry.spans, entry.name) == (len(RUNS), "desk")
    assert list(found.load([entry.id])) == list(read(path))


def test_problems(tmp_path):
    line = {"traceId": "1" * 32, "spanId": "1" * 16, "startTimeUnixNano": "-1", "endTimeUnixNano": "5"}
    bad = {**line, "traceId": "2" * 32, "spanId": "x", "startTimeUnixNano": "1"}
    text = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [line, bad, {**line, "spanId": "2" * 16}]}]}]})
    (tmp_path / "a.jsonl").write_text(f"{{\n{text}\n")
    problems = []
    found = index(tmp_path / "a.jsonl", limits=Limits(trace_spans=1), report=problems.append)
    assert [entry.id for entry in found] == ["1" * 32]
    assert "a.jsonl, line 1: left out: not JSON" in problems[0]
    assert "a.jsonl, line 2: a span was left out: no span id: 'x'" in problems[1]
    assert len(problems) == 2
    (trace,) = found.load("1" * 32)
    assert len(trace.spans) == 1
    assert "a.jsonl, line 2: a span's time is negative" in trace.problems[0]
    assert "has 1 spans more than the limit of 1" in trace.problems[-1]
    with pytest.raises(DataError):
        index(tmp_path / "none")


def test_an_error_without_a_root_and_a_rootless_trace(tmp_path):
    spans = [one for one in sample.sdk_spans() if one.parent]
    (tmp_path / "a.pb").write_bytes(sample.proto(spans).SerializeToString())
    (entry,) = index(tmp_path / "a.pb", report=refuse)
    assert (entry.name, entry.error) == ("", "ValueError: no plan")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, None),
        ({"textgrad.score": 0.5}, 0.5),
        ({"evaluation.score": True, "gen_ai.evaluation.score.value": 0}, 0.0),
        ({"evaluation.score": "good"}, None),
        ({"langsmith.feedback_stats": {"a": {"avg": 0.75}, "b": {"avg": None}, "c": 3}}, 0.75),
        ({"langfuse.scores": [{"value": 0.5}, {"value": "good"}, 4]}, 0.5),
        ({"phoenix.annotations": [{"result": {"score": 0.25}}, {"result": None}]}, 0.25),
        ({"mlflow.info": {"assessments": [{"feedback": {"value": False}}, {"expectation": {"value": -1}}]}}, 0.0),
        ({"textgrad.score": float("nan")}, None),
    ],
)
def test_a_score(attributes, expected):
    assert score(span(**attributes)) == expected


def test_a_score_in_an_event():
    told = SourceEvent("gen_ai.evaluation.result", 0, {"gen_ai.evaluation.score.value": 0.25})
    assert score(span()._replace(events=(told, SourceEvent("other", 0, {"textgrad.score": 0})))) == 0.25


def test_the_lowest_score_of_a_trace_is_in_its_entry():
    (entry,) = index(FORMATS / "langfuse.json", report=refuse)
    assert entry.score == 0.5
