"""OpenInference's own spans of the graph beside ours, on one provider: both trees are whole, and neither is in the other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.run import worlds
from textgrad_lg import Evals, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg_tracing import OTelCallback

openinference = pytest.importorskip(
    "openinference.instrumentation.langchain", reason="needs openinference-instrumentation-langchain"
)


# OpenInference calls what langchain_core has made a property.
@pytest.mark.filterwarnings("ignore:Calling .text:DeprecationWarning")
def test_both_trees_are_whole_and_no_provider_is_set(tmp_path):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = openinference.LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    try:
        optimize(
            worlds.three_nodes(worlds.review_model()),
            Evals(worlds.reviews(30), [worlds.right_page], goal="Publish the label of a review."),
            model=worlds.critic("I think this is", worlds.WANTED),
            registry=MemoryRegistry(),
            run_dir=tmp_path,
            callbacks=[OTelCallback(provider)],
            settings=Settings(steps=1, batch=2, strategy=Strategy.STRUCTURAL),
        )
    finally:
        instrumentor.uninstrument()
    assert api._TRACER_PROVIDER is None
    spans: Any = exporter.get_finished_spans()
    ours = [span for span in spans if "textgrad.run.id" in span.attributes]
    theirs = [span for span in spans if span not in ours]
    nodes = [s for s in theirs if json.loads(s.attributes.get("metadata", "{}")).get("langgraph_node") == s.name]
    assert nodes
    for tree in (ours, theirs):
        ids = {span.context.span_id for span in tree}
        assert all(span.parent is None or span.parent.span_id in ids for span in tree)
    assert not {span.context.trace_id for span in ours} & {span.context.trace_id for span in theirs}
    # A recorded node is drawn once by each.
    assert {span.name for span in nodes} <= {span.name for span in ours}
