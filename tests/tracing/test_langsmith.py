"""LangSmith's own SDK beside our spans, in each of its modes, against a server that records what it is sent."""

from __future__ import annotations

from collections import Counter

import pytest
from langchain_core.tracers.langchain import wait_for_all_tracers
from langsmith import Client, tracing_context
from opentelemetry import trace as api
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from tests.run import worlds
from textgrad_lg import Evals, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg_tracing import OTelCallback, configure, default_callback

from .recorder import ONE_BATCH, check, recording
from .support import a_run, written

pytestmark = pytest.mark.loopback
KEY = "lsv2_pt_0123456789abcdef0123456789abcdef_0123456789"


@pytest.fixture
def server():
    with recording() as recorder:
        yield recorder


@pytest.fixture
def globals_apart(monkeypatch):
    """The provider of the process as it was before, whatever is set in between."""
    monkeypatch.setattr(api, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(api, "_TRACER_PROVIDER_SET_ONCE", Once())


@pytest.fixture
def provider(globals_apart):
    """A user's provider, set for the process, with an exporter in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    api.set_tracer_provider(provider)
    return provider, exporter


def optimized(client, callbacks, folder):
    """A small run while LangSmith traces."""
    with tracing_context(enabled=True, client=client, project_name="project"):
        result = optimize(
            worlds.three_nodes(worlds.review_model()),
            Evals(worlds.reviews(30), [worlds.right_page], goal="Publish the label of a review."),
            model=worlds.critic("I think this is", worlds.WANTED),
            registry=MemoryRegistry(),
            run_dir=folder,
            callbacks=callbacks,
            settings=Settings(steps=1, batch=2, strategy=Strategy.STRUCTURAL),
        )
    wait_for_all_tracers()
    client.flush()
    return result


def client_of(server, mode):
    return Client(api_url=server.url, api_key=KEY, tracing_mode=mode, auto_batch_tracing=True, info=ONE_BATCH)


def runs_of(server):
    """The runs that were posted, by id, with what was told of each in parts put together."""
    runs = {}
    for request in server.to("/runs/multipart"):
        for name, value in request.parts().items():
            kind, run, *place = name.split(".")
            assert kind in {"post", "patch"}
            told = runs.setdefault(run, {})
            told.update({place[0]: value} if place else value)
    return runs


def ours(spans):
    return [span for span in spans if "textgrad.run.id" in span.attributes]


def whole(spans):
    """Each trace has one root, and each parent is there."""
    ids = {span.context.span_id for span in spans}
    roots = Counter(span.context.trace_id for span in spans if span.parent is None)
    assert all(span.parent is None or span.parent.span_id in ids for span in spans)
    assert set(roots) == {span.context.trace_id for span in spans}
    assert set(roots.values()) == {1}


@pytest.mark.parametrize("mode", ["langsmith", "otel", "hybrid"])
def test_what_is_sent_is_whole_in_each_mode_and_the_users_provider_stays_the_only_one(mode, server, provider, tmp_path):
    given, exporter = provider
    client = client_of(server, mode)
    callback = OTelCallback()
    with given.get_tracer("app").start_as_current_span("request"):
        optimized(client, [callback], tmp_path)
    client.cleanup()
    assert api.get_tracer_provider() is given
    spans = exporter.get_finished_spans()
    mine = ours(spans)
    whole(mine)
    theirs = [
        span for span in spans if any(key.startswith("langsmith.") for key in span.attributes) and span not in mine
    ]
    assert bool(theirs) == (mode != "langsmith")
    assert bool(server.to("/runs/multipart")) == (mode != "otel")
    # LangSmith's spans are under the forward spans of ours, and else, as for validation, under those of the request.
    request = next(span for span in spans if span.name == "request")
    assert request.context.trace_id not in {span.context.trace_id for span in mine}
    whole(spans)
    if theirs:
        assert {span.context.trace_id for span in mine} & {span.context.trace_id for span in theirs}
        by_id = {span.context.span_id: span for span in theirs}
        nodes = [span for span in theirs if span.attributes.get("langsmith.metadata.langgraph_node") == span.name]
        assert nodes
        assert all(span.parent.span_id in by_id for span in nodes)
    runs = runs_of(server)
    for run in runs.values():
        # The SDK also sends a null for what it does not know, which the description leaves open.
        check("langsmith", "runs.Run", {key: value for key, value in run.items() if value is not None})
        assert run.get("parent_run_id") is None or run["parent_run_id"] in runs
    # What we drew says which of LangSmith's runs it is.
    named = {
        span.attributes["textgrad.langchain.run_id"] for span in mine if "textgrad.langchain.run_id" in span.attributes
    }
    assert named
    if mode != "otel":
        assert named & set(runs)


def test_where_langsmith_sets_up_opentelemetry_our_spans_go_to_its_endpoint_too(
    server, globals_apart, tmp_path, monkeypatch
):
    assert default_callback() is None
    monkeypatch.setenv("LANGSMITH_API_KEY", KEY)
    monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
    monkeypatch.setenv("LANGSMITH_PROJECT", "project")
    client = client_of(server, "otel")
    set_up = api.get_tracer_provider()
    assert isinstance(set_up, TracerProvider)
    callback = default_callback()
    assert callback is not None
    for event in a_run():
        callback(event)
    set_up.force_flush()
    assert api.get_tracer_provider() is set_up
    set_up.shutdown()
    client.cleanup()
    check_otlp(server, [span.name for span in written(a_run())])


def test_otlp_goes_to_langsmiths_path_with_the_headers_of_the_environment(server, monkeypatch, globals_apart):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-api-key={KEY},langsmith-project=project")
    with configure(f"{server.url}/otel") as configured:
        for event in a_run():
            configured.callback(event)
    check_otlp(server, [span.name for span in written(a_run())])
    assert api._TRACER_PROVIDER is None


def check_otlp(server, names):
    requests = server.to("/otel/v1/traces")
    spans = []
    for request in requests:
        assert request.headers["content-type"] == "application/x-protobuf"
        assert (request.headers["x-api-key"], request.headers["langsmith-project"].lower()) == (KEY, "project")
        assert KEY.encode() not in request.body
        message = ExportTraceServiceRequest.FromString(request.body)
        spans += [s for resource in message.resource_spans for scope in resource.scope_spans for s in scope.spans]
    assert sorted(span.name for span in spans) == sorted(names)
    for span in spans:
        known = {pair.key: pair.value for pair in span.attributes}
        # The kinds of runs that LangSmith documents, and what it groups by.
        kinds = {"llm", "chain", "tool", "retriever", "embedding", "prompt", "parser"}
        assert known["langsmith.span.kind"].string_value in kinds
        assert known["langsmith.metadata.session_id"].string_value
        # It would make a prompt of a model call.
        assert "llm.prompt_template.variables" not in known
