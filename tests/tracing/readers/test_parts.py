"""Of a trace that holds several runs, or our spans and another tracer's, each run is read once, from who tells of it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from tests.tracing.readers.support import edges, langsmith, live, shape, source, span, trace_of, values
from tests.tracing.support import memory
from textgrad_lg import events
from textgrad_lg.example import Score
from textgrad_lg.types import Phase
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers import Completeness, SourceSpan, SourceTrace, read, read_traces
from textgrad_lg_tracing.readers.index import index
from textgrad_lg_tracing.readers.parts import parts

OTHERS = ["openinference", "langsmith-otel"]
"""Whose spans go below our `forward`."""
NANO = 1_000_000_000
ORIGINAL, PROPOSED = "1" * 32, "2" * 32


@pytest.fixture(scope="module")
def recorded():
    return live()


@pytest.fixture
def ours(recorded, tmp_path):
    """Writes the trace of one Example: of the texts as they are, and as they are proposed, in this order."""

    def write(*names: str, **options: Any) -> SourceTrace:
        callback, exporter = memory(**options)
        run: dict[str, Any] = {"run": "run-1", "time": recorded.started + 60}
        callback(events.RunStarted(**run, graph="desk", settings={}))
        for number, name in enumerate(names or (ORIGINAL,)):
            scored: dict[str, Any] = {"step": 1, "phase": Phase.ROLLOUT, "example": "example-7"}
            trace = replace(recorded, id=name, started=recorded.started + 100 * number)
            scores = (Score("right", float(number), f"said of {number}"),)
            candidate = f"c{number}" if number else "original"
            callback(events.ExampleScored(**run, **scored, candidate=candidate, trace=trace, scores=scores))
        callback(events.StepFinished(**run, step=1, started=recorded.started, score=None, accepted=False))
        callback(events.RunFinished(**run, summary="", started=recorded.started, improved=False))
        callback.close()
        (tmp_path / "spans.pb").write_bytes(encode_spans(exporter.get_finished_spans()).SerializeToString())
        (found,) = [one for one in read(tmp_path / "spans.pb") if any(at.name == "forward" for at in one.spans)]
        return found

    return write


def forwards(found: SourceTrace) -> list[SourceSpan]:
    return [one for one in found.spans if one.name == "forward"]


def again(spans: Sequence[SourceSpan], number: int, below: str | None = None, trace_id: str = "") -> list[SourceSpan]:
    """The spans of a run as those of another one, 100 seconds later each time, below a span."""

    def renamed(name: str) -> str:
        return f"{number:02x}{name[2:]}"

    names = {one.span_id for one in spans}
    return [
        one._replace(
            trace_id=trace_id or one.trace_id,
            span_id=renamed(one.span_id),
            attributes=json.loads(re.sub(r":[0-9a-f]{8}-", f":{number:08x}-", json.dumps(one.attributes))),
            parent_id=renamed(one.parent_id) if one.parent_id in names else below,
            start=one.start + 100 * NANO * number,
            end=one.end + 100 * NANO * number,
        )
        for one in spans
    ]


def runs(producer: str, *belows: str | None) -> list[SourceSpan]:
    """The desk's run, once below each of the spans."""
    found = source(producer).spans
    return [one for number, below in enumerate(belows, 1) for one in again(found, number, below)]


def put(found: SourceTrace, *others: SourceSpan) -> SourceTrace:
    spans = sorted((*found.spans, *others), key=lambda one: (one.start, one.span_id))
    return found._replace(spans=tuple(spans))


def bare(spans: Sequence[SourceSpan]) -> list[SourceSpan]:
    """Spans without what was given and made."""
    content = ("input.", "output.", "llm.input", "llm.output", "gen_ai.prompt", "gen_ai.completion")
    return [
        one._replace(attributes={key: told for key, told in one.attributes.items() if not key.startswith(content)})
        for one in spans
    ]


def read_all(found: SourceTrace) -> list[Any]:
    return list(read_traces(found, report=lambda _: None))


# Our spans and those of another tracer below them


@pytest.mark.parametrize("producer", OTHERS)
def test_where_ours_are_without_content_the_run_is_read_from_theirs_with_all_that_ours_say_of_it(
    producer, ours, recorded
):
    written = ours()
    (found,) = read_all(put(written, *runs(producer, forwards(written)[0].span_id)))
    assert (found.completeness, found.provenance.producer) == (Completeness.FULL, producer)
    (reason,) = found.reasons
    assert reason == (
        "textgrad_lg's spans hold nothing of what its nodes were given and made; "
        f"it is read from those that {producer} put below them"
    )
    assert shape(found.trace) == shape(recorded)
    assert values(found.trace) == values(recorded)
    assert edges(found.trace) == edges(recorded)
    # What ours know.
    assert (found.id, found.trace.id, found.trace.example) == (ORIGINAL, ORIGINAL, "example-7")
    assert (found.session, found.error, found.whole) == ("run-1", None, True)
    assert found.feedback == (Score("right", 0.0),)
    assert found.provenance.trace == written.id
    assert found.provenance.spans.keys() == {one.id for one in found.trace.spans}
    assert found.provenance.rollout == {
        "textgrad.run.id": "run-1",
        "textgrad.step": "1",
        "textgrad.example.id": "example-7",
        "textgrad.candidate": "original",
        "textgrad.trace.id": ORIGINAL,
    }


def test_where_ours_have_content_they_are_read_and_nothing_is_said_of_theirs(ours, recorded):
    written = ours(content=True)
    lossy = [one._replace(dropped=3) for one in runs("openinference", forwards(written)[0].span_id)]
    (found,) = read_all(put(written, *lossy))
    assert (found.completeness, found.provenance.producer, found.reasons) == (Completeness.FULL, "textgrad_lg", ())
    (alone,) = read_all(written)
    assert found.trace == alone.trace
    assert shape(found.trace) == shape(recorded)
    assert found.provenance.rollout["textgrad.candidate"] == "original"


def test_where_neither_have_content_the_structure_is_ours(ours):
    written = ours()
    (found,) = read_all(put(written, *bare(runs("openinference", forwards(written)[0].span_id))))
    assert (found.completeness, found.provenance.producer) == (Completeness.STRUCTURE, "textgrad_lg")
    assert found.reasons[0].startswith("no message of any model call is in the spans")


def test_where_ours_show_no_nodes_theirs_are_read(ours, recorded):
    written = ours(content=True, detail="summary")
    (found,) = read_all(put(written, *runs("openinference", forwards(written)[0].span_id)))
    assert (found.completeness, found.provenance.producer) == (Completeness.FULL, "openinference")
    assert edges(found.trace) == edges(recorded)


# Several rollouts


def test_each_rollout_of_an_example_is_a_run_with_its_own_id_and_scores(ours, recorded):
    (alone,) = read_all(ours(content=True))
    one, other = read_all(ours(ORIGINAL, PROPOSED, content=True))
    for found, name, candidate, value in ((one, ORIGINAL, "original", 0.0), (other, PROPOSED, "c1", 1.0)):
        assert (found.id, found.trace.id, found.provenance.rollout[at.CANDIDATE]) == (name, name, candidate)
        assert found.feedback == (Score("right", value, f"said of {int(value)}"),)
        assert (found.completeness, found.reasons) == (Completeness.FULL, ())
        assert (shape(found.trace), values(found.trace)) == (shape(recorded), values(alone.trace))
        assert edges(found.trace) == edges(alone.trace)
    assert set(one.provenance.spans.values()).isdisjoint(other.provenance.spans.values())


def test_and_so_it_is_where_theirs_are_read(ours, recorded):
    written = ours(ORIGINAL, PROPOSED)
    theirs = runs("openinference", *(forward.span_id for forward in forwards(written)))
    found = read_all(put(written, *theirs))
    assert [(one.id, one.feedback) for one in found] == [
        (ORIGINAL, (Score("right", 0.0),)),
        (PROPOSED, (Score("right", 1.0),)),
    ]
    assert [edges(one.trace) for one in found] == [edges(recorded)] * 2
    # One of them may have been traced, and not the other.
    first, second = read_all(put(written, *theirs[: len(theirs) // 2]))
    assert (first.completeness, second.completeness) == (Completeness.FULL, Completeness.STRUCTURE)


def test_what_is_said_of_the_example_is_said_of_each_of_its_rollouts(ours):
    written = ours(ORIGINAL, PROPOSED)
    thumb = {"phoenix.annotations": [{"name": "thumb", "result": {"score": 1}}]}
    spans = [
        one._replace(attributes={**one.attributes, **thumb}) if one.parent_id is None else one for one in written.spans
    ]
    assert [{score.key: score.value for score in found.feedback} for found in read_all(trace_of(*spans))] == [
        {"thumb": 1.0, "right": 0.0},
        {"thumb": 1.0, "right": 1.0},
    ]


def test_rollouts_of_one_id_in_one_trace_are_told_apart(ours):
    written = ours(ORIGINAL, PROPOSED)
    same = [
        one._replace(attributes={**one.attributes, at.TRACE: ORIGINAL}) if one.name == "forward" else one
        for one in written.spans
    ]
    one, other = read_all(written._replace(spans=tuple(same)))
    assert one.id == ORIGINAL
    assert other.id == written.id[:16] + forwards(written)[1].span_id


def test_of_a_rollout_that_was_made_again_the_last_run_is_read(ours):
    written = ours()
    (forward,) = forwards(written)
    two = runs("openinference", forward.span_id, forward.span_id)
    (found,) = read_all(put(written, *two))
    assert set(found.provenance.spans.values()) == {one.span_id for one in two[len(two) // 2 :]} & set(
        found.provenance.spans.values()
    )
    assert found.reasons[-1] == "the rollout was made again: of its runs the last one is read"
    assert found.completeness is Completeness.FULL


def test_a_run_in_the_time_of_another_is_no_second_try(ours):
    written = ours()
    (forward,) = forwards(written)
    outer = runs("openinference", forward.span_id)
    late = max(one.end for one in outer) + 200 * NANO
    outer = [one._replace(end=late) if one.parent_id == forward.span_id else one for one in outer]
    inner = again(source("openinference").spans, 2, forward.span_id)
    (found,) = read_all(put(written, *outer, *inner))
    assert set(found.provenance.spans.values()) <= {one.span_id for one in outer}
    assert len(found.reasons) == 1


def test_a_rollout_that_was_never_scored_is_read_from_theirs_or_not_at_all(ours):
    written = ours()
    (forward,) = forwards(written)
    left = {key: value for key, value in forward.attributes.items() if key not in {at.TRACE, at.SPAN}}
    alone = trace_of(forward._replace(attributes=left, trace_id="a" * 32))
    (found,) = read_all(put(alone, *runs("openinference", forward.span_id)))
    assert (found.id, found.completeness) == ("a" * 16 + forward.span_id, Completeness.FULL)
    assert found.trace.example == "example-7"
    said: list[str] = []
    assert list(read_traces(alone, report=said.append)) == []
    assert said == [f"trace {'a' * 32} was left out: none of its spans is a graph's, a model's or a tool's"]


def test_a_rollout_in_another_is_not_a_part_of_it(ours):
    written = ours(ORIGINAL, PROPOSED, content=True)
    outer, inner = forwards(written)
    spans = [one._replace(parent_id=outer.span_id) if one is inner else one for one in written.spans]
    found = read_all(written._replace(spans=tuple(spans)))
    assert [one.id for one in found] == [ORIGINAL, PROPOSED]
    assert [len(one.trace.spans) for one in found] == [len(found[0].trace.spans)] * 2


# Theirs alone


@pytest.mark.parametrize("producer", ["langsmith", "traceloop", *OTHERS])
def test_two_runs_whose_parents_never_came_are_two(producer, recorded):
    found = trace_of(*runs(producer, "e" * 16, "f" * 16))
    one, other = read_all(found)
    for each in (one, other):
        assert (each.completeness, each.reasons, each.whole) == (Completeness.FULL, (), True)
        assert shape(each.trace) == shape(recorded)
        assert (each.session, each.trace.example, each.provenance.rollout) == ("thread-1", "example-7", {})
    assert one.id == one.trace.id != other.id
    assert {each.provenance.trace for each in (one, other)} == {found.id}


def test_the_ids_of_several_runs_are_half_the_traces_and_half_the_spans():
    found = runs("openinference", "e" * 16, "f" * 16)
    tops = [one.span_id for one in found if one.parent_id in {"e" * 16, "f" * 16}]
    assert [one.id for one in read_all(trace_of(*found))] == ["a" * 16 + name for name in tops]
    random.Random(1).shuffle(found)
    assert {one.id for one in read_all(trace_of(*found))} == {"a" * 16 + name for name in tops}
    # The only one has the trace's own.
    (alone,) = read_all(trace_of(*runs("openinference", "e" * 16)))
    assert alone.id == "a" * 32


def test_two_runs_below_a_span_of_another_kind_are_two_and_what_is_said_of_it_is_said_of_both():
    thumb = {"http.method": "GET", "phoenix.annotations": [{"name": "thumb", "result": {"score": 0}}]}
    web = span("GET /ask", thumb, start=0)
    one, other = read_all(trace_of(web, *runs("openinference", web.span_id, web.span_id)))
    assert one.feedback == other.feedback == (Score("thumb", 0.0),)
    assert one.completeness is other.completeness is Completeness.FULL


@pytest.mark.parametrize("producer", ["langsmith", "traceloop", *OTHERS])
def test_a_run_that_has_lost_a_span_does_not_fall_apart(producer):
    spans = source(producer).spans
    for lost in range(len(spans)):
        assert len(list(parts(trace_of(*spans[:lost], *spans[lost + 1 :])))) == 1


@pytest.mark.parametrize("producer", OTHERS)
def test_of_two_runs_what_has_lost_its_parent_stays_with_its_own(producer):
    both = runs(producer, None, None)
    half = len(both) // 2
    for lost in (number for number, one in enumerate(both) if one.parent_id is not None):
        first, second = parts(trace_of(*both[:lost], *both[lost + 1 :]))
        expected = [one.span_id for number, one in enumerate(both) if number != lost]
        own = half - (lost < half)
        assert sorted(one.span_id for one in first.source.spans) == sorted(expected[:own])
        assert sorted(one.span_id for one in second.source.spans) == sorted(expected[own:])


def graph(start: int, end: int) -> list[SourceSpan]:
    """A run of one node."""
    name = f"plan:{start}"
    root = langsmith("graph", inputs={"q": "x"}, outputs={"a": "y"}, start=start, end=end)
    node = langsmith("plan", parent=root, task=name, inputs={"q": "x"}, outputs={"a": "y"}, start=start, end=end)
    return [root, node]


def test_what_is_in_neither_run_for_certain_is_left_out_and_that_is_said():
    one, other = graph(10, 30), graph(20, 40)
    stray = langsmith("part", parent_id="f" * 16, start=25, end=26)
    early, later = (langsmith("part", parent_id="f" * 16, start=at, end=at) for at in (5, 15))
    known = langsmith("part", parent_id="e" * 16, task="plan:10|inner:1", start=25, end=26)
    found = list(parts(trace_of(*one, *other, stray, early, later, known)))
    assert [{at.span_id for at in part.source.spans} for part in found] == [
        {at.span_id for at in (*one, later, known)},
        {at.span_id for at in other},
    ]
    why = "2 of its spans belong to none of the trace's 2 runs for certain; they were left out"
    assert all(part.source.problems == (why,) for part in found)
    assert why in read_all(trace_of(*one, *other, stray, early))[0].reasons


def test_a_task_that_is_in_two_runs_says_nothing_of_where_a_span_belongs():
    one, other = graph(10, 40), graph(20, 40)
    twin = other[1]._replace(attributes=one[1].attributes)
    stray = langsmith("part", parent_id="e" * 16, task="plan:10", start=35, end=36)
    assert not any(stray in part.source.spans for part in parts(trace_of(*one, other[0], twin, stray)))


def test_runs_of_no_graph_stay_together():
    calls = [langsmith("graph", inputs={"q": "x"}, outputs={"a": "y"}) for _ in range(3)]
    assert len(list(parts(trace_of(*calls)))) == 1
    # One graph beside them neither.
    assert len(list(parts(trace_of(*calls, *graph(10, 20))))) == 1
    # OpenTelemetry's own instrumentation writes nothing of LangGraph's.
    (alone,) = read_all(trace_of(*runs("gen_ai", "e" * 16, "f" * 16)))
    assert alone.completeness is Completeness.MESSAGES


def test_where_our_forward_spans_are_missing_theirs_are_read_and_the_losses_go_to_their_runs(ours):
    written = ours(ORIGINAL, PROPOSED)
    names = [forward.span_id for forward in forwards(written)]
    losses = tuple(one for one in written.spans if one.name.startswith("loss"))
    both = put(written._replace(spans=losses), *runs("openinference", *names))
    found = read_all(both)
    assert [one.feedback for one in found] == [(Score("right", 0.0),), (Score("right", 1.0),)]
    assert all(one.completeness is Completeness.FULL for one in found)
    # One that is missing, beside one that is there.
    left = tuple(one for one in written.spans if one.span_id != names[1])
    theirs = runs("openinference", *names)
    # By their beginning: the run that was put there happened long before the rollouts.
    orphan, known = read_all(put(written._replace(spans=left), *theirs))
    assert (known.id, known.feedback) == (ORIGINAL, (Score("right", 0.0),))
    assert [orphan.id] == [written.id[:16] + one.span_id for one in theirs if one.parent_id == names[1]]
    assert orphan.feedback == (Score("right", 1.0),)


def test_an_index_gives_all_runs_of_a_trace(ours, tmp_path):
    ours(ORIGINAL, PROPOSED, content=True)
    found = index(tmp_path / "spans.pb", report=lambda _: None)
    expected = [one.trace for one in read_traces(tmp_path / "spans.pb", report=lambda _: None)]
    assert [one.trace for one in read_traces(found, report=lambda _: None)] == expected
    assert len(expected) == 2


KINDS = ["graph", "task", "call", "web", "ours", "forward"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20), st.sampled_from(KINDS)), max_size=12), st.data())
def test_no_span_is_in_two_runs_and_no_two_runs_have_one_id(drawn, data):
    made: list[SourceSpan] = []
    for start, length, kind in drawn:
        below = data.draw(st.sampled_from([None, "f" * 16, *(one.span_id for one in made)]))
        about: dict[str, Any] = {"parent_id": below, "start": start, "end": start + length}
        if kind in {"graph", "call"}:
            made.append(langsmith(kind, "chain" if kind == "graph" else "llm", inputs={"q": "x"}, **about))
        elif kind == "task":
            made.append(langsmith("plan", task=f"plan:{data.draw(st.integers(0, 3))}", inputs={"q": "x"}, **about))
        elif kind == "web":
            made.append(span("GET", {}, **about))
        else:
            told: dict[str, Any] = {at.SCHEMA: "1", at.PHASE: "forward", at.SPAN: "s0", at.TRACE: ORIGINAL}
            made.append(span(kind, told if kind == "forward" else {**told, at.NODE: "plan", at.SPAN: "s1"}, **about))
    ordered = sorted(made, key=lambda one: (one.start, one.span_id))
    found = list(parts(trace_of(*ordered)))
    assert len({part.id for part in found}) == len(found)
    theirs = [one.span_id for part in found if part.dialect is not None for one in part.source.spans]
    assert len(set(theirs)) == len(theirs)
    for part in found:
        assert list(part.source.spans) == sorted(part.source.spans, key=lambda one: (one.start, one.span_id))
    assert len(read_all(trace_of(*ordered))) == len(found)
