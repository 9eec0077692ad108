"""From production spans to a backward trace that points at them: what was imported is never written again."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from tests.run.production import quoted_critic, short
from tests.run.worlds import review_model, three_nodes
from textgrad_lg import TGD, MemoryRegistry, Settings, Strategy, learn
from textgrad_lg.events import Origin
from textgrad_lg_tracing import OTelCallback
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers import read_traces

from .support import by_name, scored, trace_of, went_back, written

openinference = pytest.importorskip(
    "openinference.instrumentation.langchain", reason="needs openinference-instrumentation-langchain"
)
COUNT = 24
RUN_ID = "8f1c-7d31-b6a5-1f0c2d3e4b5a"
TRACE_ID = "5b8efff798038103d269b633813fc60c"


def graph():
    return three_nodes(review_model())


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    """Runs of the graph as OpenInference has written them, and what each span is called, by its ids."""
    file = tmp_path_factory.mktemp("production") / "spans.jsonl"
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(FileSpanExporter(file)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = openinference.LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    with warnings.catch_warnings():
        # OpenInference calls what langchain_core has made a property.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            app = graph()
            for number in range(COUNT):
                app.invoke({"review": f"{'good' if number % 2 else 'bad'} film number {number}"})
        finally:
            instrumentor.uninstrument()
            provider.shutdown()
    spans: Any = exporter.get_finished_spans()
    return file, {(span.context.trace_id, span.context.span_id): span for span in spans}


def learnt(app, file, folder, **options: Any):
    """What `learn` writes, and the ids of the imported Traces."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = list(read_traces(file, graph=graph()))
    assert len(traces) == COUNT
    result = learn(
        app,
        traces,
        short,
        model=quoted_critic(),
        registry=MemoryRegistry(),
        optimizer=TGD(),
        settings=Settings(strategy=Strategy.CHAIN, steps=1, batch=4),
        run_dir=folder,
        callbacks=[OTelCallback(provider, content=True)],
        **options,
    )
    assert result.texts
    spans: Any = exporter.get_finished_spans()
    return spans, {found.trace.id for found in traces}


def points_to(span, known):
    """The production span that a span links to; its ids stand in the attributes as well."""
    (link,) = span.links
    own = link.context.trace_id, link.context.span_id
    assert span.attributes[at.FORWARD_TRACE] == format_trace_id(own[0])
    assert span.attributes[at.FORWARD_SPAN] == format_span_id(own[1])
    return known[own]


@pytest.mark.parametrize("with_graph", [True, False])
def test_the_backward_trace_links_to_the_production_spans_and_writes_none_of_them_again(
    with_graph, production, tmp_path
):
    file, known = production
    options = {} if with_graph else {"answers": review_model()}
    spans, imported = learnt(graph() if with_graph else None, file, tmp_path, **options)
    assert not {span.context.trace_id for span in spans} & {trace for trace, _ in known}
    # Rollouts that were made here are shown; those of production are not.
    forwards = [span for span in spans if span.name == "forward"]
    assert bool(forwards) == with_graph
    assert not {span.attributes[at.TRACE] for span in forwards} & imported
    assert not [span for span in spans if span.attributes.get(at.CACHED) and span.attributes[at.PHASE] == "forward"]
    passes = [span for span in spans if span.name == "backward"]
    assert len(passes) == 4
    for found in passes:
        assert found.attributes[at.TRACE] in imported
        assert points_to(found, known).name == "pages"
        assert (found.attributes[at.SOURCE], found.attributes[at.SOURCE_BACKEND]) == ("imported", "otlp")
    assert len({found.context.trace_id for found in passes}) == 4
    # Each Span that was differentiated points to the very span that it was read from: the judge's model call.
    critics = [span for span in spans if span.name == "backward judge" and span.links]
    assert critics
    for found in critics:
        assert found.attributes[at.SOURCE] == "imported"
        shown = points_to(found, known)
        node = json.loads(shown.attributes["metadata"])["langgraph_node"]
        assert (node, shown.name in {"judge", "SimulatedChatModel"}) == ("judge", True)
        assert found.attributes[at.FORWARD_TRACE] == format_trace_id(shown.context.trace_id)
    # Its model call says so too, and what was made here does not.
    calls = [span for span in spans if span.name == "chat critic" and span.attributes[at.PHASE] == "backward"]
    assert calls
    assert {span.attributes[at.SOURCE] for span in calls} == {"imported"}
    assert {span.attributes[at.SOURCE] for span in forwards} <= {"live"}
    assert by_name(spans, "textgrad step 1").attributes[at.SOURCE] == "live"
    examples = {span.context.trace_id: span for span in spans if span.name == "textgrad example"}
    again = {span.context.trace_id for span in forwards}
    for found in passes:
        # With the graph, the same example was run again with the proposed text, in the same trace.
        wanted = "live" if found.context.trace_id in again else "imported"
        assert examples[found.context.trace_id].attributes[at.SOURCE] == wanted


@pytest.mark.parametrize(
    ("origin", "attributes", "linked"),
    [
        # LangSmith's own ids, which are none of OpenTelemetry's.
        (
            Origin("langsmith", "langsmith", f"0199{'0' * 4}-{RUN_ID}", {"s2": f"0199{'1' * 4}-{RUN_ID}"}),
            {at.FORWARD_TRACE: f"0199{'0' * 4}-{RUN_ID}", at.FORWARD_SPAN: f"0199{'1' * 4}-{RUN_ID}"},
            None,
        ),
        # A span that LangSmith was sent by OpenTelemetry.
        (
            Origin("langsmith", "langsmith-otel", TRACE_ID, {"s2": "00000000-0000-0000-faeb-90f2119870ca"}),
            {at.FORWARD_TRACE: TRACE_ID, at.FORWARD_SPAN: "faeb90f2119870ca"},
            (int(TRACE_ID, 16), 0xFAEB90F2119870CA),
        ),
        # A Span that was put together from several.
        (Origin("otlp", "openinference", TRACE_ID, {}), {at.FORWARD_TRACE: TRACE_ID}, None),
        (
            Origin("otlp", "x", "?" * 32, {"s2": "?" * 16}),
            {at.FORWARD_TRACE: "?" * 32, at.FORWARD_SPAN: "?" * 16},
            None,
        ),
        (Origin(), {}, None),
    ],
)
def test_ids_stand_as_the_backend_writes_them_and_are_linked_to_where_they_are_opentelemetrys(
    origin, attributes, linked
):
    trace = trace_of("e1")
    found = scored(trace, cached=True, origin=origin)
    spans = written([found, replace(went_back(trace, found.scores), origin=origin)])
    assert "forward" not in {span.name for span in spans}
    shown = next(span for span in spans if span.attributes.get(at.SPAN) == "s2" and span.name == "backward plan")
    assert {key: shown.attributes[key] for key in (at.FORWARD_TRACE, at.FORWARD_SPAN) if key in shown.attributes} == (
        attributes
    )
    assert [(link.context.trace_id, link.context.span_id) for link in shown.links] == ([linked] if linked else [])
    assert shown.attributes.get(at.SOURCE_BACKEND) == (origin.backend or None)
    assert by_name(spans, "textgrad example").attributes[at.EXAMPLE] == "e1"
