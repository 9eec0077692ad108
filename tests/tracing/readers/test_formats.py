"""The same trace from each format is the same spans, but for what the format itself loses."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.json.file import FileSpanExporter

from tests.tracing.readers import sample
from textgrad_lg.errors import DataError
from textgrad_lg_tracing.readers.read import read

DATA = Path(__file__).parent / "data"
TRACE = "00ab0000000000000000000000000001"
ROOT, PLAN, JOIN = "0cde000000000001", "0cde000000000002", "0cde000000000003"
ATTRIBUTES = {
    "metadata": json.dumps(sample.METADATA),
    "count": 3,
    "share": 0.25,
    "sure": True,
    "empty": "",
    "names": ["a", "b"],
    "sizes": [1, 2],
    "openinference.span.kind": "LLM",
}


def one(source, **more) -> Any:
    """The one trace in a source with which nothing is wrong."""
    (found,) = read(source, report=refuse, **more)
    assert found.problems == ()
    return found


def refuse(problem):
    raise AssertionError(problem)


def json_file(path, spans, size=2):
    """A file as the official exporter writes it, `size` spans a line."""
    exporter = FileSpanExporter(str(path))
    for at in range(0, len(spans), size):
        exporter.export(spans[at : at + size])
    exporter.shutdown()
    return path


@pytest.fixture
def lines(tmp_path):
    return json_file(tmp_path / "spans.jsonl", sample.sdk_spans())


def test_otlp_json_lines(lines):
    assert len(lines.read_text().splitlines()) == 2
    found = one(lines)

    assert found.id == TRACE
    root, plan, join = found.spans
    assert [span.span_id for span in found.spans] == [ROOT, PLAN, JOIN]
    assert [span.parent_id for span in found.spans] == [None, ROOT, ROOT]
    assert (root.name, root.start, root.end) == ("desk", sample.T0, sample.T0 + 5 * sample.MS)
    assert root.attributes == {"session.id": "s-1", "input.value": "Grüße"}
    assert (root.scope, root.backend, root.error) == (sample.SCOPE, "otlp", None)
    assert root.resource == {"service.name": "desk", "host.cores": 2}
    assert plan.attributes == ATTRIBUTES
    assert plan.error == "ValueError: no plan"
    (event,) = plan.events
    assert (event.name, event.time) == ("exception", sample.T0 + 5_000)
    assert event.attributes == {"exception.type": "ValueError", "exception.message": "no plan"}
    (link,) = plan.links
    assert (int(link.trace_id, 16), int(link.span_id, 16)) == (7, 9)
    assert link.attributes == {"textgrad.link.type": "differentiates"}
    assert join.attributes == {f"key{at}": at for at in range(3, 15)}
    assert [span.dropped for span in found.spans] == [0, 0, 3]


def framed(framing, data):
    return {"single": b"", "varint": varint(len(data)), "fixed": len(data).to_bytes(4, "big")}[framing] + data


def varint(number):
    return bytes([number & 0x7F | 0x80]) + varint(number >> 7) if number > 0x7F else bytes([number])


@pytest.mark.parametrize("framing", ["single", "varint", "fixed"])
@pytest.mark.parametrize("packed", [False, True])
def test_otlp_protobuf_is_the_same_as_json(lines, tmp_path, framing, packed):
    spans = sample.sdk_spans()
    data = b"".join(framed(framing, sample.proto(part).SerializeToString()) for part in (spans[:1], spans[1:]))
    path = tmp_path / "spans"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert one(path) == one(lines)


def test_base64_ids_and_snake_case_of_protobufs_own_json(lines, tmp_path):
    from google.protobuf import json_format

    for keep in (False, True):
        path = tmp_path / f"own{keep}.json"
        path.write_text(json_format.MessageToJson(sample.proto(), preserving_proto_field_name=keep))
        assert one(path) == one(lines)


def test_values_of_every_type(tmp_path):
    values = [
        ("text", {"stringValue": "t"}),
        ("bytes", {"bytesValue": "AAE="}),
        ("list", {"arrayValue": {"values": [{"intValue": "1"}, {"boolValue": False}, {}]}}),
        ("map", {"kvlistValue": {"values": [{"key": "k", "value": {"doubleValue": 1.5}}]}}),
        ("none", {}),
        ("nan", {"doubleValue": "NaN"}),
        ("infinite", {"doubleValue": "-Infinity"}),
    ]
    span: dict[str, Any] = {
        "traceId": TRACE,
        "spanId": ROOT,
        "name": "n",
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
    }
    span["attributes"] = [{"key": key, "value": value} for key, value in values]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    expected = {"text": "t", "bytes": "AAE=", "list": [1, False, None], "map": {"k": 1.5}, "none": None}
    expected |= {"nan": "nan", "infinite": "-inf"}
    assert one(path).spans[0].attributes == expected

    from google.protobuf import json_format
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    span["traceId"], span["spanId"] = (base64.b64encode(bytes.fromhex(name)).decode() for name in (TRACE, ROOT))
    message = json_format.ParseDict(
        json.loads(path.read_text()) | {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}, TracesData()
    )
    (tmp_path / "a.pb").write_bytes(message.SerializeToString())
    assert one(tmp_path / "a.pb").spans[0].attributes == expected


def same_but(found, expected, backend, **lost):
    """Whether the spans are those of OTLP, but for what the backend is known to lose."""
    assert [span.backend for span in found.spans] == [backend] * len(expected.spans)
    for span, other in zip(found.spans, expected.spans, strict=True):
        assert span._replace(backend="otlp") == other._replace(**lost)


def test_jaeger(lines):
    found = one(DATA / "formats" / "jaeger.json")
    expected = one(lines)
    root, plan, join = expected.spans
    # Lists come as JSON text, and what a link carried is lost.
    texts = {"names": '["a","b"]', "sizes": "[1,2]"}
    plan = plan._replace(attributes={**plan.attributes, **texts}, links=(plan.links[0]._replace(attributes={}),))
    same_but(found, expected._replace(spans=(root, plan, join)), "jaeger", dropped=0)


def test_jaegers_third_api_is_otlp(lines, tmp_path):
    path = tmp_path / "v3.json"
    path.write_text(json.dumps({"result": json.loads(json_file(tmp_path / "one", sample.sdk_spans(), 9).read_text())}))
    same_but(one(path), one(lines), "jaeger")


@pytest.mark.parametrize("name", ["phoenix.json", "phoenix_otlp.json"])
def test_phoenix(lines, name):
    found = one(DATA / "formats" / name)
    expected = one(lines)
    plain = [span._replace(links=()) for span in expected.spans]
    assert json.loads(found.spans[1].attributes["metadata"]) == sample.METADATA
    # Compared as values: the text that was sent had blanks in it, which Phoenix does not keep.
    meta = json.dumps(sample.METADATA, separators=(",", ":"))
    plain[1] = plain[1]._replace(attributes={**plain[1].attributes, "metadata": meta})
    same_but(found, expected._replace(spans=tuple(plain)), "phoenix", dropped=0, scope="", resource={})


@pytest.mark.parametrize("name", ["mlflow.json", "mlflow_rest.json"])
def test_mlflow(lines, name):
    found = one(DATA / "formats" / name)
    assert found.spans[0].attributes["mlflow.info"]["trace_id"] == f"tr-{TRACE}"
    assert found.spans[1].attributes["mlflow.traceRequestId"] == f"tr-{TRACE}"
    bare = [
        span._replace(attributes={key: item for key, item in span.attributes.items() if not key.startswith("mlflow.")})
        for span in found.spans
    ]
    same_but(found._replace(spans=tuple(bare)), one(lines), "mlflow", dropped=0, scope="", resource={})


def test_mlflow_before_version_3(tmp_path):
    span = {
        "name": "n",
        "context": {"trace_id": f"0x{TRACE}", "span_id": f"0x{ROOT}"},
        "parent_id": None,
        "start_time": 5,
        "end_time": 9,
        "status_code": "ERROR",
        "status_message": "no",
        "attributes": {"mlflow.spanInputs": '{"q": 1}', "plain": "not JSON"},
        "events": [{"name": "e", "timestamp": 7, "attributes": {}}],
    }
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"info": {"request_id": "r"}, "data": {"spans": [span]}}))
    (found,) = one(path).spans
    assert (found.trace_id, found.span_id, found.start, found.end, found.error) == (TRACE, ROOT, 5, 9, "no")
    assert found.attributes["mlflow.spanInputs"] == {"q": 1}
    assert found.attributes["plain"] == "not JSON"
    assert found.events[0].time == 7


def test_langfuse(lines):
    found = one(DATA / "formats" / "langfuse.json")
    root, plan, _ = found.spans
    assert root.attributes["langfuse.trace.input"] == {"q": "Grüße"}
    assert [entry["name"] for entry in root.attributes["langfuse.scores"]] == ["helpful", "tone"]
    assert plan.attributes["langfuse.observation.type"] == "GENERATION"
    assert plan.attributes["langfuse.observation.usage"] == {"input": 3, "output": 4, "total": 7}
    bare = [
        span._replace(
            attributes={key: item for key, item in span.attributes.items() if not key.startswith("langfuse.")}
        )
        for span in found.spans
    ]
    same_but(found._replace(spans=tuple(bare)), one(lines), "langfuse", dropped=0, links=(), events=())


def test_langfuse_observations_by_themselves(tmp_path):
    observations = json.loads((DATA / "formats" / "langfuse.json").read_text())["observations"]
    (tmp_path / "page.json").write_text(json.dumps({"data": observations, "meta": {"page": 1}}))
    found = one(tmp_path / "page.json")
    assert [span.name for span in found.spans] == ["desk", "plan", "join"]
    assert one(observations) == found


def test_a_trace_over_lines_files_and_directories_is_put_together(tmp_path, lines):
    spans = sample.sdk_spans()
    folder = tmp_path / "split"
    (folder / "inner").mkdir(parents=True)
    json_file(folder / "a.jsonl", spans[:1])
    (folder / "inner" / "b.pb").write_bytes(sample.proto(spans[1:2]).SerializeToString())
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(json_file(tmp_path / "c", spans[2:]).read_bytes()))
    (folder / "notes.txt").write_text("not read")
    assert one(folder) == one(lines)
    assert one([folder / "c.jsonl.gz", str(folder / "inner"), folder / "a.jsonl"]) == one(lines)


def test_traces_come_in_the_order_in_which_they_end_and_none_waits_longer(tmp_path):
    spans = sample.sdk_spans(4)
    # The first trace's root comes last of all.
    path = json_file(tmp_path / "many.jsonl", [*spans[:2], *spans[3:], spans[2]], 1)
    found = list(read(path, report=refuse))
    assert [int(trace.id, 16) & 0xF for trace in found] == [2, 3, 4, 1]
    assert [len(trace.spans) for trace in found] == [3, 3, 3, 3]


def test_lines_are_read_one_at_a_time(tmp_path):
    reader: Any = read(json_file(tmp_path / "many.jsonl", sample.sdk_spans(3), 3), report=refuse)
    first = next(reader)
    assert len(first.spans) == 3
    reader.close()


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no file .*nothing\.jsonl"):
        list(read(tmp_path / "nothing.jsonl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file of spans"):
        list(read(tmp_path / "empty"))
    assert list(read([])) == []


@pytest.mark.parametrize("name", ["openinference", "traceloop", "genai", "langsmith_otel"])
def test_what_real_instrumentations_wrote_is_read_whole(name):
    found = list(read(DATA / f"{name}.jsonl", report=refuse))
    # A span a line, because they were exported as they ended.
    lines = len((DATA / f"{name}.jsonl").read_text().splitlines())
    assert sum(len(trace.spans) for trace in found) == lines
    assert all(trace.problems == () for trace in found)


def test_phoenix_spans_in_the_form_of_otlp_that_are_odd(tmp_path):
    page = json.loads((DATA / "formats" / "phoenix_otlp.json").read_text())
    lost, big, sent = page["data"]
    lost["span_id"] = "no id"
    big["attributes"] = [{"key": "metadata.big", "value": {"int_value": "9" * 30}}]
    # Of a list with numbers in it Phoenix makes one of texts.
    parts = [{"string_value": part} for part in ("__pregel_push", "1", "False")]
    sent["attributes"] = [{"key": "metadata.langgraph_path", "value": {"array_value": {"values": parts}}}]
    path = tmp_path / "page.json"
    path.write_text(json.dumps(page))
    (found,) = read(path, report=refuse)
    assert [span.name for span in found.spans] == ["plan", "join"]
    # A number that JSON's usual readers cannot hold is left where it is.
    assert found.spans[0].attributes == {"metadata.big": int("9" * 30)}
    assert found.spans[1].attributes == {"metadata": '{"langgraph_path":["__pregel_push",1,false]}'}
    assert found.problems == (f"{path}, line 1: a span was left out: no span id: 'no id'",)
