"""Processes of their own that optimise while somebody else traces the graph, and tell of the spans that came of it.

    python -m tests.tracing.nested URL FOLDER (langsmith | otel | hybrid | openinference)-(user | none) ...

"user": somebody has set a tracer provider for the process before; "none": nobody has, and LangSmith's SDK may. Each is a
fork of a process that has imported everything, which takes longer than the run, and has set nothing. It puts what it has
to tell into FOLDER, as JSON.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import scipy.stats  # noqa: F401  the run imports it, which takes longest
from langchain_core.tracers.langchain import wait_for_all_tracers
from langsmith import Client, tracing_context
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry import trace as api
from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.run import worlds
from tests.tracing.recorder import ONE_BATCH
from textgrad_lg import Evals, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg_tracing import OTelCallback

KEY = "lsv2_pt_0123456789abcdef0123456789abcdef_0123456789"


class Said(logging.Handler):
    """Keeps what is logged: a second provider is refused with no more than a warning."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@contextmanager
def langsmith(mode, url):
    client = Client(api_url=url, api_key=KEY, tracing_mode=mode, auto_batch_tracing=True, info=ONE_BATCH)
    try:
        with tracing_context(enabled=True, client=client, project_name="project"):
            yield
        wait_for_all_tracers()
        client.flush()
    finally:
        client.cleanup()


@contextmanager
def openinference(provider):
    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    try:
        yield
    finally:
        instrumentor.uninstrument()


def a_run(callback, folder, **options: Any):
    """A small run: one step on two of thirty examples."""
    return optimize(
        worlds.three_nodes(worlds.review_model()),
        Evals(worlds.reviews(30), [worlds.right_page], goal="Publish the label of a review."),
        model=worlds.critic("I think this is", worlds.WANTED),
        registry=MemoryRegistry(),
        run_dir=f"{folder}/run",
        callbacks=[callback],
        settings=Settings(steps=1, batch=2, strategy=Strategy.STRUCTURAL),
        **options,
    )


def told(span):
    attributes = dict(span.attributes)
    metadata = json.loads(attributes.get("metadata", "{}"))
    return {
        "name": span.name,
        "trace": span.context.trace_id,
        "id": span.context.span_id,
        "parent": span.parent.span_id if span.parent else None,
        "ours": "textgrad.run.id" in attributes,
        "node": metadata.get("langgraph_node", attributes.get("langsmith.metadata.langgraph_node")),
        "times": [span.start_time, span.end_time],
    }


def run(url, folder, kind, whose):
    """One such process."""
    said = Said()
    logging.getLogger().addHandler(said)
    # OpenInference calls what langchain_core has made a property.
    warnings.simplefilter("ignore")
    exporter, given = InMemorySpanExporter(), None
    if whose == "user":
        given = TracerProvider(shutdown_on_exit=False)
        api.set_tracer_provider(given)
    with ExitStack() as stack:
        stack.enter_context(openinference(given) if kind == "openinference" else langsmith(kind, url))
        provider: Any = api.get_tracer_provider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.add_span_processor(SimpleSpanProcessor(FileSpanExporter(folder / "spans.jsonl")))
        with api.get_tracer("app").start_as_current_span("request"):
            a_run(OTelCallback(content=True), folder)
    same = api.get_tracer_provider() is provider and given in (None, provider)
    provider.shutdown()
    spans = [told(span) for span in exporter.get_finished_spans()]
    found = {"spans": spans, "same": same, "said": said.lines}
    (folder / "told.json").write_text(json.dumps(found))


def main(url, folder, *which):
    # Where LangSmith's SDK makes a provider of its own, it goes by these.
    os.environ |= {"LANGSMITH_ENDPOINT": url, "LANGSMITH_API_KEY": KEY, "LANGSMITH_PROJECT": "project"}
    for each in which:
        own = Path(folder, each)
        own.mkdir()
        child = multiprocessing.get_context("fork").Process(target=run, args=(url, own, *each.split("-")))
        child.start()
        child.join(100)
        assert child.exitcode == 0, each


if __name__ == "__main__":
    main(*sys.argv[1:])
