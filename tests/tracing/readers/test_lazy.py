"""What a trace is chosen by is known before its Trace is made, and is what the Trace says of itself afterwards."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from benchmarks import desk as many
from benchmarks import ingest
from tests.tracing.readers.support import DATA, FILES, call, exported, langsmith, live, source, span, trace_of
from textgrad_lg.example import Score
from textgrad_lg.types import SpanKind
from textgrad_lg_tracing.readers import SourceTrace, read_traces
from textgrad_lg_tracing.readers import imported as module
from textgrad_lg_tracing.readers.index import index
from textgrad_lg_tracing.readers.parts import Part


def refuse(problem: str) -> None:
    raise AssertionError(problem)


def unasked(*_: Any) -> Any:
    raise AssertionError("a Trace was made that nobody has asked for")


def one(*spans: Any) -> module.ImportedTrace:
    (found,) = read_traces(trace_of(*spans), report=refuse)
    return found


def test_a_trace_is_made_when_it_is_asked_for_and_once(tmp_path, monkeypatch):
    ingest.write_json(tmp_path / "a.jsonl", 12)
    made: list[str] = []
    build = module.build  # pyright: ignore[reportPrivateImportUsage]

    def noted(found: Part) -> Any:
        made.append(found.id)
        return build(found)

    monkeypatch.setattr(module, "build", noted)
    traces = list(read_traces(tmp_path / "a.jsonl", report=refuse))
    assert made == []
    errors = {found.session: found.error for found in traces if found.error}
    assert errors == {"session-0": "ValueError: the order 0 is closed", "session-10": many.failure(10)}
    assert all(found.whole for found in traces)
    assert traces[5].trace is traces[5].trace
    assert traces[5].provenance.spans
    assert made == [traces[5].id]


@pytest.mark.parametrize("producer", FILES)
def test_what_is_known_at_once_is_what_the_trace_says(producer):
    found = one(*source(producer).spans)
    trace = found.trace
    assert found.id == trace.id
    assert found.error == next((at.error for at in trace.spans if at.parent is None), None)
    assert found.whole == bool(trace.inputs and trace.outputs)
    assert found.session == "thread-1"


@pytest.mark.parametrize("content", [True, False])
def test_the_same_of_our_own_spans(tmp_path, content):
    path = tmp_path / "own.pb"
    recorded = live()
    path.write_bytes(exported(recorded, content=content))
    (found,) = read_traces(path, report=lambda _: None)
    assert (found.id, found.error, found.whole) == (recorded.id, None, content)
    assert found.trace.id == recorded.id


def test_the_traces_of_the_benchmark_are_traces_of_a_graph():
    """What is measured is the real thing: nodes, calls, tools and routers, and all of the state."""
    spans = [{"resourceSpans": [{"scopeSpans": [{"spans": many.spans(11)}]}]}]
    (found,) = read_traces(spans, report=refuse)
    assert found.error is None
    assert (str(found.completeness), found.reasons) == ("full", ())
    kinds = [at.kind for at in found.trace.spans]
    assert [kinds.count(kind) for kind in (SpanKind.NODE, SpanKind.LLM, SpanKind.TOOL, SpanKind.FUNCTION)] == [
        6,
        5,
        2,
        2,
    ]
    assert set(found.trace.outputs) == {"messages", "plan", "answer", "verdict"}
    # What a template was filled with, and the call it went to.
    planned = next(at for at in found.trace.spans if at.kind is SpanKind.LLM)
    assert planned.attributes["template_variables"] == {"question": f"Order 11: {many.TEXT}"}


def test_a_trace_of_the_benchmark_that_failed():
    spans = [{"resourceSpans": [{"scopeSpans": [{"spans": many.spans(10)}]}]}]
    (found,) = read_traces(spans, report=refuse)
    assert found.error == many.failure(10) == "TimeoutError: the warehouse did not answer for order 10"
    assert found.trace.output() == {"error": many.failure(10)}


def run(**about: Any) -> Any:
    return langsmith("graph", inputs={"q": "x"}, outputs={"a": "y"}, **about)


def test_spans_of_others_around_the_run_say_nothing_of_it():
    web = span("GET /ask", {"http.method": "GET", "user.id": "nobody"}, error="500")
    root = run(parent_id=web.span_id, metadata={"user_id": "ann", "thread_id": 7})
    found = one(web, root)
    assert (found.error, found.source, found.session) == (None, "ann", "7")
    assert found.trace.spans[0].error is None


def test_control_flow_is_no_error():
    root = run(error="GraphInterrupt((Interrupt(value='go on?'),))")
    found = one(root)
    assert found.error is None
    assert found.trace.spans[0].error is None


def test_of_several_runs_side_by_side_none_is_the_whole():
    found = one(run(error="ValueError('no')"), run())
    assert found.error is None
    assert found.trace.spans[0].error is None


def test_a_run_without_its_input_or_its_output_is_not_whole():
    assert not one(langsmith("graph", inputs={"q": "x"})).whole
    assert not one(langsmith("graph", outputs={"a": "y"})).whole
    assert not one(call(None, [("system", "Say one thing.")], "one thing")).whole
    # What ended with an error has made nothing but that.
    failed = one(langsmith("graph", inputs={"q": "x"}, error="ValueError('no')"))
    assert (failed.whole, failed.error) == (True, "ValueError: no")
    assert failed.trace.outputs


def test_feedback_is_there_at_once(monkeypatch):
    monkeypatch.setattr(module, "build", unasked)
    found = one(run(feedback_stats={"thumb": {"n": 1, "avg": 0.0, "comments": ["too long"]}}))
    assert found.feedback == (Score("thumb", 0.0, "too long"),)


def test_spans_that_no_glance_can_read_stop_no_other(monkeypatch):
    def raises(_: Any) -> Any:
        raise KeyError("odd")

    monkeypatch.setattr(module, "glance", raises)
    said: list[str] = []
    assert list(read_traces(trace_of(run()), report=said.append)) == []
    assert said == [f"trace {'a' * 32} was left out: its spans do not fit together (KeyError: 'odd')"]


class Told(dict[str, Any]):
    """A mapping that can be watched."""


def test_the_spans_are_let_go_when_the_trace_is_made():
    root = run()
    told = Told(root.attributes)
    watched = weakref.ref(told)
    (found,) = read_traces(SourceTrace("a" * 32, (root._replace(attributes=told),)), report=refuse)
    del told
    gc.collect()
    assert watched() is not None
    assert found.trace.inputs
    gc.collect()
    assert watched() is None


def test_an_index_and_what_it_loads_are_read_as_the_files_are(tmp_path):
    ingest.write_json(tmp_path / "a.jsonl", 40)
    (tmp_path / "b.jsonl").write_bytes((DATA / FILES["openinference"]).read_bytes())
    expected = {found.id: found.trace for found in read_traces(tmp_path, report=refuse)}
    found = index(tmp_path, report=refuse)
    assert {one.id: one.trace for one in read_traces(found, report=refuse)} == expected
    failed = [entry.id for entry in found if entry.error]
    chosen = list(read_traces(found.load(failed), report=refuse))
    assert [one.id for one in chosen] == failed
    assert len(failed) == 4
    assert all(one.trace == expected[one.id] for one in chosen)


def test_spans_of_which_a_trace_is_made_that_cannot_be_matched_are_an_empty_one(monkeypatch):
    def raises(*_: Any) -> Any:
        raise IndexError("odd")

    monkeypatch.setattr(module, "match", raises)
    said: list[str] = []
    (found,) = read_traces(trace_of(run()), report=said.append)
    assert (found.trace.spans, found.matches, found.provenance.spans) == ((), (), {})
    assert said == [f"trace {'a' * 32} was left out: its spans do not fit together (IndexError: odd)"]


def test_spans_that_tell_of_no_run_when_they_are_looked_at_closely_are_an_empty_trace(monkeypatch):
    monkeypatch.setattr(module, "build", lambda _: None)
    said: list[str] = []
    (found,) = read_traces(trace_of(run()), report=said.append)
    assert str(found.completeness) == "structure only"
    assert found.trace.warnings == tuple(said)
