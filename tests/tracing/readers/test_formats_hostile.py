"""What strangers can do to a file: it is said with file and line, and the good traces are kept."""

from __future__ import annotations

import gc
import gzip
import itertools
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracing.readers import sample
from textgrad_lg_tracing.readers import decode
from textgrad_lg_tracing.readers.gather import trace
from textgrad_lg_tracing.readers.limits import Limits
from textgrad_lg_tracing.readers.read import read
from textgrad_lg_tracing.readers.span import SourceSpan

GOOD = "11111111111111111111111111111111"
OTHER = "22222222222222222222222222222222"


def span(trace_id: Any = GOOD, own="0000000000000001", **more):
    return {
        "traceId": trace_id,
        "spanId": own,
        "name": "node",
        "startTimeUnixNano": "1000",
        "endTimeUnixNano": "2000",
        **more,
    }


def line(*spans):
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]})


def attribute(key, **value):
    return {"key": key, "value": value}


@pytest.fixture
def write(tmp_path):
    """Writes lines, the last of which is a good trace, and reads them."""

    def wrote(*lines, good=True, name="spans.jsonl", **limits):
        path = tmp_path / name
        data = b"".join(one + b"\n" for one in (text.encode() if isinstance(text, str) else text for text in lines))
        data += line(span()).encode() + b"\n" if good else b""
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        problems = []
        traces = {found.id: found for found in read(path, limits=Limits(**limits), report=problems.append)}
        if good:
            assert len(traces[GOOD].spans) == 1
            assert traces[GOOD].problems == ()
        return traces, [text.removeprefix(f"{tmp_path}/") for text in problems]

    return wrote


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{not json", "spans.jsonl, line 2: left out: not JSON (unexpected character"),
        ('{"resourceSpans": [', "spans.jsonl, line 2: left out: not JSON"),
        ("17", "spans.jsonl, line 2: spans were expected, not int"),
        ('{"a": 1}', "spans.jsonl, line 2: this is of no known form (OTLP, Jaeger"),
        ('[{"a": 1}]', "spans.jsonl, line 2: this is of no known form"),
        ("[" * 5000 + "]" * 5000, "spans.jsonl, line 2: left out: not JSON"),
        ('{"resourceSpans": [7]}', "spans.jsonl, line 2: a resource's spans were left out"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [7]}]}]}', "spans.jsonl, line 2: a span was left out"),
        (line(span("")), "spans.jsonl, line 2: a span was left out: no trace id: nothing"),
        (line(span("0" * 32)), "a span was left out: no trace id: '000"),
        (line(span("zz" * 16)), "a span was left out: no trace id: 'zzzz"),
        (line(span(7)), "a span was left out: no trace id: int"),
        (line(span(OTHER, "")), "a span was left out: no span id: ''"),
        (line(span(OTHER, parentSpanId="x")), "a span was left out: no parent's span id: 'x'"),
        (line(span(OTHER, startTimeUnixNano="noon")), "a span was left out: no time: 'noon'"),
        (line(span(OTHER, startTimeUnixNano=None)), "a span was left out: no time"),
        (line(span(OTHER, attributes=7)), "a span was left out: it is not of OTLP's form (TypeError)"),
        (line(span(OTHER, attributes=[{"value": {}}])), "a span was left out: it is not of OTLP's form (KeyError)"),
        (line(span(OTHER, events=[1])), "a span was left out"),
        (line(span(OTHER, links=[{"traceId": "x"}])), "a span was left out: no trace id: 'x'"),
        (line(span(OTHER, status=3)), "a span was left out"),
    ],
)
def test_a_wrong_line_is_said(write, wrong, said):
    traces, problems = write(line(span()), wrong)
    assert list(traces) == [GOOD]
    (problem,) = problems
    assert said in problem
    assert problem.startswith("spans.jsonl, line 2: ")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"startTimeUnixNano": "-5"}, "negative or beyond all dates (-5 to 2000)"),
        ({"startTimeUnixNano": "-5", "endTimeUnixNano": "-1"}, "negative or beyond all dates"),
        ({"endTimeUnixNano": str(1 << 70)}, "negative or beyond all dates"),
        ({"endTimeUnixNano": "999"}, "a span ends before it starts (1000 to 999)"),
        ({"attributes": [attribute("k", oddValue=1)]}, "'k' was left out: a value of the unknown type 'oddValue'"),
        ({"attributes": [attribute("k", intValue="x")]}, "'k' was left out: it is not of OTLP's form (ValueError)"),
        ({"attributes": [attribute("k", stringValue=[1])]}, "'k' was left out"),
        ({"attributes": [attribute(f"k{at}", intValue=1) for at in range(9)]}, "more than 8 attributes; the others"),
    ],
)
def test_a_span_with_something_wrong_is_kept_without_it(write, more, said):
    traces, problems = write(line(span(OTHER, **more)), attributes=8)
    (found,) = traces[OTHER].spans
    assert 0 <= found.start <= found.end < 1 << 63
    assert len(found.attributes) == (8 if len(more.get("attributes", [])) > 1 else 0)
    assert found.dropped == (1 if "attributes" in more else 0)
    (problem,) = traces[OTHER].problems
    assert "spans.jsonl, line 1: " in problem
    assert said in problem
    assert problems == []


def test_a_span_that_was_not_ended_is_no_problem(write):
    traces, _ = write(line(span(OTHER, endTimeUnixNano="0")))
    assert (traces[OTHER].spans[0].start, traces[OTHER].spans[0].end) == (1000, 1000)
    assert traces[OTHER].problems == ()


def test_deep_values(write):
    value = {"intValue": "1"}
    for _ in range(70):
        value = {"arrayValue": {"values": [value]}}
    traces, _ = write(line(span(OTHER, attributes=[{"key": "deep", "value": value}, attribute("k", intValue=1)])))
    assert traces[OTHER].spans[0].attributes == {"k": 1}
    assert "the attribute 'deep' was left out: lists and mappings lie too deep" in traces[OTHER].problems[0]

    deep = [0]
    for _ in range(70):
        deep = [deep]
    run = {"id": "r", "trace_id": "t", "run_type": "chain", "name": "n", "start_time": "2026-01-01T00:00:00"}
    traces, _ = write(json.dumps({**run, "inputs": {"a": deep}, "outputs": {"b": 1}}))
    assert traces["t"].spans[0].attributes == {"langsmith.run_type": "chain", "langsmith.outputs": {"b": 1}}
    assert "'langsmith.inputs' was left out: lists and mappings lie too deep" in traces["t"].problems[0]


def test_what_is_not_strictly_json_is_mended_and_said(write):
    wrong: Any = line(span(OTHER, name="NAME", attributes=[attribute("k", doubleValue=float("nan"))])).encode()
    assert b"NaN" in wrong
    traces, problems = write(wrong.replace(b"NAME", b"a\xffb\\ud800c"))
    (found,) = traces[OTHER].spans
    assert found.name == "a�b?c"
    assert found.attributes == {"k": "nan"}
    assert problems[0].startswith("spans.jsonl, line 1: not strictly JSON, read after replacing")


def test_a_line_that_is_too_long_is_not_read(write):
    long = line(span(OTHER, attributes=[attribute("k", stringValue="x" * 5_000_000)]))
    traces, problems = write(long, name="long.gz", record_bytes=1 << 20)
    assert list(traces) == [GOOD]
    assert problems == [f"long.gz, line 1: left out, it has {len(long) + 1} bytes (Limits.record_bytes is 1048576)"]


def test_a_long_line_takes_no_memory(tmp_path):
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"resourceSpans": ["' + b"x" * 100)
        file.seek(1 << 30)
        file.write(b'"]}\n' + line(span()).encode())
    problems = []
    tracemalloc.start()
    (found,) = read(path, limits=Limits(record_bytes=1 << 20), report=problems.append)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.id == GOOD
    assert "line 1: left out, it has 1073741828 bytes" in problems[0]
    assert most < 30 << 20


@pytest.mark.parametrize("head", [b"", b'{"resourceSpans": [\n', b'{"resourceSpans": ["'])
def test_a_zip_bomb_is_cut_off(tmp_path, head):
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.GzipFile(path, "wb") as file:
        file.write(line(span()).encode() + b"\n" + head)
        for _ in range(64):
            file.write(b" " * (1 << 20))
    assert path.stat().st_size < 1 << 17
    problems = []
    (found,) = read(path, limits=Limits(file_bytes=8 << 20, record_bytes=1 << 20), report=problems.append)
    assert found.id == GOOD
    assert problems[-1].endswith("the file has more than 8388608 bytes; the rest was not read")


def test_a_file_that_is_cut_off_or_no_gzip(tmp_path):
    whole = gzip.compress((line(span()) + "\n").encode() * 100)
    (tmp_path / "cut.gz").write_bytes(whole[:-20])
    (tmp_path / "none.gz").write_bytes(b"\x1f\x8bnothing")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    problems = []
    found = list(read([tmp_path / "none.gz", tmp_path / "cut.gz", tmp_path / "empty.jsonl"], report=problems.append))
    assert [len(trace.spans) for trace in found] == [1]
    assert "none.gz: the file cannot be read any further (" in problems[0]
    assert "cut.gz: the file cannot be read any further (EOFError" in problems[1]
    assert "empty.jsonl: the file is empty" in problems[2]


def test_ids_that_are_given_twice(write):
    once, fuller = span(OTHER), span(OTHER, attributes=[attribute("k", intValue=1)])
    for lines in itertools.permutations([line(once), line(once), line(fuller)]):
        traces, _ = write(*lines)
        assert traces[OTHER].spans[0].attributes == {"k": 1}
        (problem,) = set(traces[OTHER].problems)
        assert "two different spans have the id 0000000000000001; the fuller one was kept" in problem
    traces, _ = write(line(once), line(once))
    assert traces[OTHER].problems == ()


def ring(*parents):
    return [
        span(OTHER, f"{at:016x}", parentSpanId=f"{parent:016x}", startTimeUnixNano=str(100 - at))
        for at, parent in enumerate(parents, 1)
    ]


@pytest.mark.parametrize(
    ("parents", "roots"),
    [
        ((1,), [1]),
        ((2, 1), [2]),
        ((2, 3, 1, 1), [3]),
        ((2, 1, 4, 3, 9), [2, 4]),
        ((0, 1, 2), [1]),
    ],
)
def test_parents_in_a_circle(write, parents, roots):
    traces, _ = write(line(*ring(*parents)))
    found = traces[OTHER]
    assert sorted(int(one.span_id, 16) for one in found.spans if one.parent_id is None) == roots
    circles = 0 if 0 in parents else len(roots)
    assert len([text for text in found.problems if "is above itself; it was made a root" in text]) == circles


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.randoms())
@settings(max_examples=100, deadline=None)
def test_following_parents_always_ends_and_the_order_does_not_matter(parents, random):
    spans = [
        SourceSpan(
            OTHER,
            f"{at:016x}",
            f"{parent:016x}" if parent else None,
            "n",
            at % 3,
            5,
            {},
            (),
            (),
            None,
            0,
            "",
            {},
            "otlp",
        )
        for at, parent in enumerate(parents, 1)
    ]
    found = trace(OTHER, spans)
    above = {one.span_id: one.parent_id for one in found.spans}
    for start in above:
        steps, at = 0, start
        while at in above:
            at, steps = above[at], steps + 1
            assert steps <= len(above)
    random.shuffle(spans)
    again = trace(OTHER, spans)
    assert again.spans == found.spans
    assert sorted(again.problems) == sorted(found.problems)


def test_a_long_chain_of_parents(write):
    chain = [span(OTHER, f"{at:016x}", parentSpanId=f"{at + 1:016x}") for at in range(1, 5_000)]
    traces, _ = write(line(*chain))
    assert len(traces[OTHER].spans) == len(chain)


def test_more_spans_than_a_trace_may_have(write):
    traces, _ = write(line(*[span(OTHER, f"{at:016x}") for at in range(1, 31)]), trace_spans=10)
    assert len(traces[OTHER].spans) == 10
    assert traces[OTHER].problems == ("it has 30 spans; 20 were left out (limit 10)",)


def test_traces_that_wait_too_long_are_given_out_as_they_are(write):
    ids = [f"{at:032x}" for at in range(1, 31)]
    traces, _ = write(*[line(span(one, "00000000000000aa")) for one in [*ids, *ids]], waiting_spans=10)
    early = [one for one in ids if traces[one].problems]
    assert early == ids[:20]  # the others got their second span in time
    assert "lie so far apart" in traces[ids[0]].problems[0]
    assert all(len(traces[one].spans) == 1 for one in ids)


def test_problems_are_bounded(write):
    _, problems = write(*["{"] * 100, problems=5)
    assert len(problems) == 6
    assert problems[-1] == "spans.jsonl: 95 more problems"
    traces, _ = write(line(*[span(OTHER, f"{at:016x}", startTimeUnixNano=str(-at)) for at in range(1, 99)]), problems=5)
    assert len(traces[OTHER].problems) == 6
    assert traces[OTHER].problems[-1] == "there are more problems with this trace"


def test_events_and_links_are_bounded(write):
    events = [{"name": "e", "timeUnixNano": "1"}] * 9
    links = [{"traceId": GOOD, "spanId": "00000000000000aa"}] * 9
    traces, _ = write(
        line(span(OTHER, events=events, links=links, droppedEventsCount=2, droppedLinksCount="3")), entries=4
    )
    (found,) = traces[OTHER].spans
    assert (len(found.events), len(found.links), found.dropped) == (4, 4, 15)


def test_a_payload_of_langchains_is_never_constructed(write):
    payload = {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "false"}}
    run = {"id": "r", "trace_id": "t", "run_type": "chain", "name": "n", "start_time": "2026-01-01T00:00:00"}
    traces, _ = write(json.dumps({**run, "inputs": payload}))
    assert traces["t"].spans[0].attributes["langsmith.inputs"] == payload


def message(number):
    spans = sample.sdk_spans(first=number)
    return sample.proto(spans)


def proto_file(path, *messages):
    path.write_bytes(b"".join(len(data).to_bytes(4, "big") + data for data in messages))
    return path


def test_a_damaged_message_keeps_its_other_spans(tmp_path):
    wrong = message(1 << 8)
    wrong.resource_spans[0].scope_spans[0].spans[1].name = "MARK"
    data = wrong.SerializeToString().replace(b"MARK", b"\xff\xfe\xfd\xfc")
    problems = []
    path = proto_file(tmp_path / "a.pb", data, message(2 << 8).SerializeToString())
    found = list(read(path, report=problems.append))
    assert [[one.name for one in trace.spans] for trace in found] == [["desk", "plan"], ["desk", "plan", "join"]]
    assert found[1].spans[0].resource == {"service.name": "desk", "host.cores": 2}
    assert found[1].spans[0].scope == sample.SCOPE
    assert problems == [
        f"{path}, message 1: a message is damaged; what is good of it was read",
        f"{path}, message 1: a span was left out: it is damaged",
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x00\x00\x00\x03\x0a\x01\xff", "message 1: a message is damaged"),
        (b"\x00\x00\x00\x09\x0a\x20", "message 1 is cut off"),
        (b"\x0a\x7f\x00", "message 1 is cut off"),
        (b"\x0a", "it ends at byte 1, within a message"),
        (b"\x0a\x02\x12\x00\x77\x01\x01", "at byte 4 there is no OTLP trace data"),
        (b"\x03\x0b\x01\x01", "left out: a field is of the unknown type 3"),
        (b"\x02\x00\x00", "left out: a field has the number 0"),
        (b"\xff" * 20, "a number is cut off or too long"),
        (b"\x0a" + b"\xff" * 7 + b"\x7f", "at byte 0 it goes beyond"),
    ],
)
def test_files_that_are_no_protobuf(tmp_path, data, said):
    (tmp_path / "a.pb").write_bytes(data)
    good = proto_file(tmp_path / "b.pb", message(1).SerializeToString())
    problems = []
    (found,) = read([tmp_path / "a.pb", good], report=problems.append)
    assert len(found.spans) == 3
    assert said in problems[0]
    assert problems[0].startswith(str(tmp_path / "a.pb"))


def test_a_message_that_is_too_long_is_left_out(tmp_path):
    long, good = message(1 << 8), message(2 << 8)
    long.resource_spans[0].scope_spans[0].spans[0].name = "x" * 100_000
    for data in (
        [long.SerializeToString() + good.SerializeToString()],
        [],
    ):
        path = tmp_path / f"{len(data)}.pb"
        if data:
            path.write_bytes(data[0])
        else:
            proto_file(path, long.SerializeToString(), good.SerializeToString())
        problems = []
        (found,) = read(path, limits=Limits(record_bytes=50_000), report=problems.append)
        assert found.id.endswith("201")
        assert "message 1: left out, it has" in problems[0]


def test_wrong_spans_in_a_message(tmp_path):
    wrong = message(0)
    spans = wrong.resource_spans[0].scope_spans[0].spans
    spans[0].span_id = b""
    spans[1].end_time_unix_nano = 1
    value = spans[2].attributes.add(key="deep").value
    for _ in range(70 // 2):
        value = value.array_value.values.add()
    value.bytes_value = b"\x00\x01"
    spans[2].attributes.add(key="nan").value.double_value = float("nan")
    spans[2].attributes.add(key="none")
    path = proto_file(tmp_path / "a.pb", wrong.SerializeToString())
    (found,) = read(
        path, limits=Limits(depth=20, attributes=6, entries=1), report=lambda _: pytest.fail("none expected")
    )
    root, join = found.spans
    assert root.attributes == {"session.id": "s-1", "input.value": "Grüße", "nan": "nan", "none": None}
    assert root.dropped == 1
    assert len(join.attributes) == 6
    assert join.dropped == 3 + 6
    assert join.end == join.start
    said = "\n".join(found.problems)
    assert "a span was left out: no trace id and span id" in said
    assert "'deep' was left out: lists and mappings lie too deep" in said
    assert "a span ends before it starts" in said
    assert "more than 6 attributes; the others were left out" in said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"data": [{"traceID": "7", "spans": [{"spanID": "1"}]}]}, "a span was left out: no time"),
        ({"data": [{"traceID": "7", "spans": [7]}]}, "it is not of Jaeger's form (AttributeError)"),
        ({"data": [{"context": {}, "span_kind": "LLM"}]}, "a span was left out: no trace id"),
        ({"data": [{"context": {"trace_id": OTHER}, "span_kind": "LLM", "events": [3]}]}, "not of Phoenix's form"),
        ({"info": {}, "data": {"spans": [{"trace_id": "x"}]}}, "a span was left out: no trace id"),
        ({"info": {}, "data": {"spans": [3]}}, "it is not of MLflow's form (AttributeError)"),
        ({"id": "a", "observations": [{"traceId": "t"}]}, "an observation was left out: no date and time"),
        ({"id": "a", "observations": [3]}, "it is not of Langfuse's form (AttributeError)"),
        ({"runs": [{"run_type": "llm"}]}, "a run was left out: no id"),
        ({"runs": [{"id": "a", "run_type": "llm", "child_runs": [4]}]}, "it is not of LangSmith's form"),
    ],
)
def test_wrong_values_of_other_backends(value, said):
    problems = []
    found = [
        text for trace in read([value, json.loads(line(span()))], report=problems.append) for text in trace.problems
    ]
    assert said in "\n".join([*problems, *found])
    assert problems[0].startswith("item 1: ")


def test_objects_that_are_no_traces():
    class Loop:
        def model_dump(self):
            return {"again": self}

    problems = []
    assert list(read([Loop(), 7, None], report=problems.append)) == []
    assert problems == [
        "item 1: left out: lists and mappings lie too deep within each other",
        "item 2: spans were expected, not int",
        "item 3: spans were expected, not nothing",
    ]


def test_without_report_problems_are_logged(tmp_path, caplog):
    (tmp_path / "a.jsonl").write_text("{")
    assert list(read(tmp_path / "a.jsonl")) == []
    assert "line 1: left out: not JSON" in caplog.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "resourceSpans",
                        "scopeSpans",
                        "spans",
                        "traceId",
                        "spanId",
                        "attributes",
                        "key",
                        "value",
                        "data",
                        "runs",
                        "id",
                        "run_type",
                        "context",
                        "span_kind",
                        "info",
                        "traceID",
                        "observations",
                        "startTime",
                        "start_time",
                        "status",
                        "events",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=100, deadline=None)
def test_no_value_raises(value):
    for found in read([{}, value], report=lambda _: None):
        assert found.spans


@given(st.binary(max_size=60), st.sampled_from([b"", b"\x0a", b"{", b"\x1f\x8b\x08", b"PAR1", b"\x00\x00\x00\x09\x0a"]))
@settings(max_examples=60, deadline=None)
def test_no_bytes_raise(tmp_path_factory, data, head):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(head + data)
    assert list(read(path, report=lambda _: None)) == []


def test_the_garbage_collector_is_as_it_was():
    assert gc.isenabled()
    with decode.uncollected():
        assert not gc.isenabled()
        with decode.uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), decode.uncollected():
        raise ZeroDivisionError
    assert gc.isenabled()
