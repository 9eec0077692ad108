"""Spans, live and imported runs of one graph, and ways to compare them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from tests.tracing.readers import desk
from tests.tracing.support import memory
from textgrad_lg import events
from textgrad_lg.record import record
from textgrad_lg.trace import Trace
from textgrad_lg.types import Phase
from textgrad_lg.variable import without_ids
from textgrad_lg_tracing.readers import SourceSpan, SourceTrace, read
from textgrad_lg_tracing.readers.build import Built, build
from textgrad_lg_tracing.readers.parts import parts

DATA = Path(__file__).parent / "data"
FILES = {
    "langsmith": "langsmith_runs.json",
    "langsmith-otel": "langsmith_otel.jsonl",
    "openinference": "openinference.jsonl",
    "traceloop": "traceloop.jsonl",
    "gen_ai": "genai.jsonl",
}
NANO = 1_000_000_000


def source(producer: str) -> SourceTrace:
    """The spans of the graph's run under one producer."""
    return max(read(DATA / FILES[producer]), key=lambda trace: len(trace.spans))


def build_one(found: SourceTrace) -> Built | None:
    """What is made of a trace that holds one run; None of one that holds none."""
    runs = list(parts(found))
    assert len(runs) < 2
    return build(runs[0]) if runs else None


def live() -> Trace:
    """The same graph, recorded."""
    with record(example="example-7") as recording:
        desk.build().invoke(desk.inputs(), desk.config())
    return recording.trace


def exported(trace: Trace, **options: Any) -> bytes:
    """A rollout as our own callback exports it: OTLP as protobuf."""
    callback, exporter = memory(**{"content": True, **options})
    run: dict[str, Any] = {"run": "run-1", "time": trace.started + 60}
    callback(events.RunStarted(**run, graph="desk", settings={}))
    rollout: dict[str, Any] = {"step": 1, "phase": Phase.ROLLOUT, "candidate": "c0", "example": trace.example}
    callback(events.ExampleScored(**run, **rollout, trace=trace, scores=()))
    callback(events.StepFinished(**run, step=1, started=trace.started, score=None, accepted=False))
    callback(events.RunFinished(**run, summary="", started=trace.started, improved=False))
    callback.close()
    return encode_spans(exporter.get_finished_spans()).SerializeToString()


def shape(trace: Trace) -> list[tuple[Any, ...]]:
    return [(s.id, s.kind.value, s.name, s.parent, s.path, s.visit, s.error) for s in trace.spans]


def edges(trace: Trace) -> set[tuple[Any, ...]]:
    return {(edge.source, edge.target, edge.span, edge.weight) for edge in trace.edges}


def values(trace: Trace) -> dict[str, tuple[Any, ...]]:
    """Variables without the ids of messages, which are new in each run."""
    return {v.id: (v.role, str(v.site), v.span, json.dumps(without_ids(v.value))) for v in trace.variables}


_COUNT = itertools.count(1)


def span(name: str, attributes: dict[str, Any] | None = None, **more: Any) -> SourceSpan:
    """A span; ids count, and each starts a second after the one made before."""
    number = next(_COUNT)
    fields: dict[str, Any] = {
        "trace_id": "a" * 32,
        "span_id": f"{number:016x}",
        "parent_id": None,
        "name": name,
        "start": number * NANO,
        "end": number * NANO + NANO // 2,
        "attributes": attributes or {},
        "events": (),
        "links": (),
        "error": None,
        "dropped": 0,
        "scope": "",
        "resource": {},
        "backend": "otlp",
    }
    return SourceSpan(**{**fields, **more})


def langsmith(name: str, kind: str = "chain", parent: SourceSpan | None = None, **about: Any) -> SourceSpan:
    """A LangSmith run; `task` is its namespace, `step` its number, the rest as `error` and `dropped` go to the span."""
    metadata = about.pop("metadata", {})
    if "task" in about:
        task = about.pop("task")
        node = task.rpartition("|")[2].partition(":")[0]
        metadata |= {"langgraph_checkpoint_ns": task, "langgraph_node": node, "langgraph_step": about.pop("step", 1)}
    told = {"langsmith.run_type": kind, "langsmith.extra": {"metadata": metadata, **about.pop("extra", {})}}
    for key in ("inputs", "outputs", "serialized", "tags", "feedback_stats", "reference_example_id"):
        if key in about:
            told[f"langsmith.{key}"] = about.pop(key)
    return span(name, told, parent_id=parent.span_id if parent else about.pop("parent_id", None), **about)


def call(parent: SourceSpan | None, sent: list[Any], reply: Any, **about: Any) -> SourceSpan:
    """A model call as LangSmith has it; `sent` are pairs of role and text, or whole messages."""
    messages = [
        item if isinstance(item, dict) else {"type": item[0], "content": item[1], "additional_kwargs": {}}
        for item in sent
    ]
    made = reply if isinstance(reply, dict) else {"type": "ai", "content": reply, "additional_kwargs": {}}
    outputs = {"generations": [[{"text": "", "message": made}]]} if reply is not None else None
    return langsmith("Model", "llm", parent, inputs={"messages": [messages]}, outputs=outputs, **about)


def trace_of(*spans: SourceSpan, problems: tuple[str, ...] = ()) -> SourceTrace:
    return SourceTrace("a" * 32, tuple(spans), problems)


def inside(node: SourceSpan) -> dict[str, Any]:
    """The metadata of what runs in a task, to be given to `langsmith` or `call`."""
    extra: Any = node.attributes["langsmith.extra"]
    return {"metadata": dict(extra["metadata"])}
