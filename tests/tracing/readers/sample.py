"""A small trace with everything in it that a span can carry, as the OpenTelemetry SDK holds it, and as the encoders write it."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

T0 = 1_790_000_000_000_000_000
MS = 1_000_000
SCOPE = "openinference.instrumentation.langchain"
METADATA = {"langgraph_node": "plan", "langgraph_step": 1, "langgraph_triggers": ["branch:to:plan"], "tenant": "acme"}


class Counting(IdGenerator):
    """Ids that are the same each time, and have letters and zeros in front among their digits."""

    def __init__(self, first: int = 0):
        self._trace, self._span = 0x00AB << 112 | first, 0x0CDE << 48 | first << 16

    def generate_trace_id(self):
        self._trace += 1
        return self._trace

    def generate_span_id(self):
        self._span += 1
        return self._span


def sdk_spans(traces: int = 1, first: int = 0) -> list[ReadableSpan]:
    """The spans of some traces, children first."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(
        resource=Resource({"service.name": "desk", "host.cores": 2}),
        id_generator=Counting(first),
        span_limits=SpanLimits(max_span_attributes=12),
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer(SCOPE)
    for number in range(traces):
        start = T0 + number * MS
        root = tracer.start_span("desk", start_time=start, attributes={"session.id": "s-1", "input.value": "Grüße"})
        around = api.set_span_in_context(root)
        elsewhere = api.SpanContext(7, 9, is_remote=True)
        plan = tracer.start_span(
            "plan",
            around,
            start_time=start + MS // 2,
            links=[api.Link(elsewhere, {"textgrad.link.type": "differentiates"})],
            attributes={
                "metadata": json.dumps(METADATA),
                "count": 3,
                "share": 0.25,
                "sure": True,
                "empty": "",
                "names": ["a", "b"],
                "sizes": [1, 2],
                "openinference.span.kind": "LLM",
            },
        )
        plan.add_event("exception", {"exception.type": "ValueError", "exception.message": "no plan"}, start + 5_000)
        plan.set_status(api.StatusCode.ERROR, "ValueError: no plan")
        plan.end(start + 2 * MS)
        much = {f"key{at}": at for at in range(15)}
        tracer.start_span("join", around, start_time=start + 3 * MS, attributes=much).end(start + 4 * MS)
        root.set_status(api.StatusCode.OK)
        root.end(start + 5 * MS)
    return list(exporter.get_finished_spans())


def proto(spans: list[ReadableSpan] | None = None) -> Any:
    """The spans as the SDK's encoder writes them: a message that is `TracesData` too."""
    return encode_spans(spans or sdk_spans())
