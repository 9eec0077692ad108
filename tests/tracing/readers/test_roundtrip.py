"""A run read back is the run that was recorded; what is lost is listed here."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.tracing.readers import desk
from tests.tracing.readers.support import DATA, FILES, build_one, edges, exported, live, shape, source, values
from textgrad_lg.record import discover
from textgrad_lg.trace import Trace
from textgrad_lg.types import SpanKind
from textgrad_lg.variable import text_of
from textgrad_lg_tracing.readers import Completeness, read_traces

PRODUCERS = ["langsmith", "langsmith-otel", "openinference", "traceloop"]
LOST_VARIABLES = {
    # A call's messages are without ids: a prompt that says word for word what stands in the state is taken for that.
    "traceloop": {"s2.in1"},
}
LOST_EDGES = {"traceloop": {("s2.in1", "s2.out", "s2", 1.0)}}
LOST_ATTRIBUTES = {
    "langsmith": {("tool", "description")},
    "langsmith-otel": {("tool", "description"), ("llm", "tools")},
    "traceloop": {("tool", "description")},
}


@pytest.fixture(scope="module")
def recorded() -> Trace:
    return live()


def read_back(producer: str) -> Trace:
    built = build_one(source(producer))
    assert built is not None
    return built.trace


@pytest.mark.parametrize("producer", PRODUCERS)
def test_a_production_trace_reads_as_the_recorded_run(recorded, producer):
    trace = read_back(producer)
    assert shape(trace) == shape(recorded)
    lost = LOST_VARIABLES.get(producer, set())
    expected = {name: told for name, told in values(recorded).items() if name not in lost}
    assert values(trace) == expected
    assert edges(trace) == edges(recorded) - LOST_EDGES.get(producer, set())
    assert (trace.inputs, trace.outputs, trace.example) == (recorded.inputs, recorded.outputs, "example-7")
    assert not trace.warnings


@pytest.mark.parametrize("producer", PRODUCERS)
def test_what_is_said_of_calls_and_tools_is_kept_but_for_a_list(recorded, producer):
    trace = read_back(producer)
    lost = {
        (mine.kind.value, key)
        for mine, other in zip(recorded.spans, trace.spans, strict=True)
        for key in mine.attributes.keys() | other.attributes.keys()
        if key in {"model", "tools", "description", "arguments", "step", "triggers", "input_tokens", "output_tokens"}
        and mine.attributes.get(key) != other.attributes.get(key)
    }
    assert lost == LOST_ATTRIBUTES.get(producer, set())


@pytest.mark.parametrize("producer", FILES)
def test_the_same_spans_in_any_order_give_the_same_trace(producer):
    found = source(producer)
    spans = list(found.spans)
    first = read_back(producer)
    for seed in range(3):
        random.Random(seed).shuffle(spans)
        built = build_one(found._replace(spans=tuple(spans)))
        assert built is not None
        assert built.trace == first


@pytest.mark.parametrize("producer", FILES)
def test_a_trace_read_back_survives_json(producer):
    trace = read_back(producer)
    assert Trace.from_json(trace.to_json()) == trace


def test_the_official_conventions_give_messages_and_nothing_of_the_graph(recorded):
    (found,) = read_traces(DATA / FILES["gen_ai"])
    assert found.completeness is Completeness.MESSAGES
    assert "do not show nodes" in found.reasons[0]
    kinds = [span.kind for span in found.trace.spans]
    assert SpanKind.NODE not in kinds
    assert kinds.count(SpanKind.LLM) == 6

    def replies(trace):
        made = (v for v in trace.variables if v.span and trace.span_by_id[v.span].kind is SpanKind.LLM)
        return [text_of(v.value) for v in made]

    assert replies(found.trace) == replies(recorded)
    told = {(e.source, e.target): e.via for e in found.trace.edges}
    assert told["s2.out", "s3.out"] == "tool-call-id"
    assert told["s5.out", "s7.out"] == told["s6.out", "s7.out"] == "text"


def test_our_own_spans_read_back_as_the_rollout_that_was_exported(recorded, tmp_path: Path):
    labelled = discover([recorded], desk.build()).label(recorded)
    (tmp_path / "spans.pb").write_bytes(exported(labelled))
    (found,) = read_traces(tmp_path / "spans.pb", report=lambda _: None)
    trace = found.trace
    assert found.completeness is Completeness.FULL
    assert trace.id == labelled.id
    assert shape(trace) == shape(labelled)
    # Inputs of a subgraph that nothing in it used are in no span.
    unused = {"s4.in.topic", "s4.in.plan", "s4.in.reviews"}
    assert values(trace) == {name: told for name, told in values(labelled).items() if name not in unused}
    assert edges(labelled) - edges(trace) == {
        ("s0.in.topic", "s4.in.topic", "s4", 1.0),
        ("s1.out.plan", "s4.in.plan", "s4", 1.0),
    }
    assert not edges(trace) - edges(labelled)
    # Messages of calls are written without ids; those of messages that stand in the state are found there.
    ids = {
        v.id for v in labelled.variables if v.id in trace.variable_by_id and v.value != trace.variable_by_id[v.id].value
    }
    assert ids == {"s2.out", "s13.out", "s15.out", "s17.out"}
    sites = [(v.id, str(v.site)) for v in trace.parameters]
    assert sites == [(v.id, str(v.site)) for v in labelled.parameters]


def test_our_own_spans_without_content_are_structure_only(recorded, tmp_path: Path):
    (tmp_path / "spans.pb").write_bytes(exported(recorded, content=False))
    (found,) = read_traces(tmp_path / "spans.pb", report=lambda _: None)
    assert found.completeness is Completeness.STRUCTURE
    assert "content was not captured" in found.reasons[0]
    assert shape(found.trace) == shape(recorded)


def test_what_we_wrote_of_steps_and_runs_is_no_run_of_a_graph(recorded, tmp_path: Path):
    (tmp_path / "spans.pb").write_bytes(exported(recorded))
    said: list[str] = []
    assert len(list(read_traces(tmp_path / "spans.pb", report=said.append))) == 1
    assert len(said) == 2
    assert all("none of its spans is a graph's" in text for text in said)


def test_each_span_says_which_span_of_the_backend_it_is():
    (found,) = read_traces(DATA / FILES["langsmith"])
    runs = {span.span_id: span.name for span in source("langsmith").spans}
    assert found.provenance.backend == found.provenance.producer == "langsmith"
    assert found.provenance.trace == source("langsmith").id
    names = {span.id: runs[found.provenance.spans[span.id]] for span in found.trace.spans}
    assert names["s0"] == "desk"
    assert names["s8"] == "search"
    assert names["s17"] == "ScriptedChatModel"


def test_what_phoenix_gave_back_as_otlp_is_the_trace_that_was_sent():
    """A response of Phoenix 20.26 to `/v1/projects/default/spans/otlpv1`, as it was."""
    (sent,) = read_traces(DATA / FILES["openinference"])
    (found,) = read_traces(DATA / "formats" / "phoenix_otlpv1_recorded.json.gz")
    assert found.provenance.backend == "phoenix"
    assert found.trace == sent.trace
