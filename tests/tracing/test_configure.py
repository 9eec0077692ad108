"""configure writes to a file of OTLP JSON lines, or posts to an OTLP endpoint."""

from __future__ import annotations

import http.server
import json
import sys
import threading

import pytest
from opentelemetry import trace as api
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from textgrad_lg.errors import TextgradError
from textgrad_lg_tracing import Detail, configure

from .support import a_run, written


def read_back(path):
    """Spans of an OTLP JSON file: name, name of the parent, names of those linked to; and the resource's attributes."""
    spans, resources = [], []
    for line in path.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            resources.append({a["key"]: a["value"] for a in resource["resource"]["attributes"]})
            spans += [span for scope in resource["scopeSpans"] for span in scope["spans"]]
    names = {span["spanId"]: span["name"] for span in spans}
    rows = [
        (span["name"], names.get(span.get("parentSpanId")), [names[link["spanId"]] for link in span.get("links", [])])
        for span in spans
    ]
    return rows, resources, spans


def test_a_file_holds_the_whole_tree(tmp_path):
    path = tmp_path / "traces" / "run.jsonl"
    with configure(path) as configured:
        for event in a_run():
            configured.callback(event)
    rows, resources, spans = read_back(path)
    expected = written(a_run())
    names = {span.context.span_id: span.name for span in expected}
    assert sorted(rows, key=str) == sorted(
        (
            (
                span.name,
                names[span.parent.span_id] if span.parent else None,
                [names[link.context.span_id] for link in span.links],
            )
            for span in expected
        ),
        key=str,
    )
    assert resources[0]["service.name"] == {"stringValue": "textgrad_lg"}
    assert len({span["traceId"] for span in spans}) == len([span for span in expected if not span.parent])
    step = next(span for span in spans if span["name"] == "textgrad step 1")
    assert {"key": "textgrad.step", "value": {"intValue": "1"}} in step["attributes"]


def test_a_second_run_is_appended(tmp_path):
    path = tmp_path / "run.jsonl"
    for _ in range(2):
        with configure(
            str(path), content=True, detail=Detail.SUMMARY, limit=100, redactor=lambda _, v: v
        ) as configured:
            for event in a_run("word " * 100):
                configured.callback(event)
    rows, _, _ = read_back(path)
    assert [name for name, _, _ in rows].count("textgrad run") == 2
    assert "characters cut]" in path.read_text()


def test_shutting_down_writes_what_is_left_and_may_be_done_twice(tmp_path):
    path = tmp_path / "run.jsonl"
    configured = configure(path)
    for event in list(a_run())[:6]:
        configured.callback(event)
    configured.shutdown()
    configured.shutdown()
    assert ("forward", "textgrad example", []) in read_back(path)[0]


def test_the_provider_of_the_process_is_left_alone(tmp_path):
    configure(tmp_path / "run.jsonl").shutdown()
    assert api._TRACER_PROVIDER is None


@pytest.fixture
def collector():
    """An OTLP endpoint on this machine: its address, and the requests it got as pairs of path and message."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("", "/v1/traces"),
        ("/", "/v1/traces"),
        ("/v1/traces", "/v1/traces"),
        ("/otel?project=a", "/otel/v1/traces?project=a"),
    ],
)
def test_a_url_is_posted_to(collector, given, path):
    address, got = collector
    with configure(address + given) as configured:
        for event in a_run():
            configured.callback(event)
    assert {where for where, _ in got} == {path}
    names = [
        span.name
        for _, request in got
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert sorted(names) == sorted(span.name for span in written(a_run()))


@pytest.mark.parametrize("otlp", ["localhost:4318/token", "run.json", "", "ftp://x"])
def test_neither_a_file_nor_a_url_is_refused_without_quoting_it(otlp):
    with pytest.raises(TextgradError, match=r"http://localhost:4318.*\.jsonl") as caught:
        configure(otlp)
    assert "token" not in str(caught.value)


@pytest.mark.parametrize(
    ("otlp", "module"),
    [
        ("http://localhost:4318", "opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        ("run.jsonl", "opentelemetry.exporter.otlp.json.file"),
    ],
)
def test_a_missing_extra_says_how_to_install_it(otlp, module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TextgradError, match=r'pip install "textgrad-lg\[otlp\]"'):
        configure(otlp)
    assert not list(tmp_path.glob("*.jsonl"))
