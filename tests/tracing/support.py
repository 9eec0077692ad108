"""A plausible run as its events, and what is written for it as text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from textgrad_lg import events
from textgrad_lg.autograd.graph import seed
from textgrad_lg.example import Score
from textgrad_lg.gradient import Gradient, GradientCall, Gradients
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.trace import Span
from textgrad_lg.types import Phase, SpanKind
from textgrad_lg.update import Update
from textgrad_lg_tracing import OTelCallback

RUN = "run-1"
T0 = 1_700_000_000.0
SECRET = "§SECRET§"
"""Stands in every text of the run, so that a text that gets out is noticed."""


class CountingIds(IdGenerator):
    """Ids that count, so that a run gives the same ones each time."""

    def __init__(self):
        self._trace = self._span = 0

    def generate_trace_id(self):
        self._trace += 1
        return self._trace

    def generate_span_id(self):
        self._span += 1
        return self._span


def memory(**options: Any) -> tuple[OTelCallback, Any]:
    """A callback and the exporter that its spans end up in."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(id_generator=CountingIds(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OTelCallback(provider, **options), exporter


def written(run, **options: Any) -> Any:  # the SDK calls all of a span optional
    """The spans that are written for the events of `run`."""
    callback, exporter = memory(**options)
    for event in run:
        callback(event)
    callback.close()
    return exporter.get_finished_spans()


def tree(spans, *keys):
    """Spans as an indented tree, in the order they were started; `keys` are attributes to show."""
    children = {}
    for span in sorted(spans, key=lambda span: span.context.span_id):
        children.setdefault(span.parent.span_id if span.parent else None, []).append(span)
    names = {span.context.span_id: span.name for span in spans}
    lines = []
    waiting = [(span, 0) for span in reversed(children.get(None, []))]
    while waiting:
        span, depth = waiting.pop()
        shown = {key.rpartition("textgrad.")[2]: span.attributes[key] for key in keys if key in span.attributes}
        links = [f"-> {names.get(link.context.span_id, '?')}" for link in span.links]
        about = [span.attributes["openinference.span.kind"], *(f"{k}={v}" for k, v in shown.items()), *links]
        status = [] if span.status.is_ok else [f"{span.status.status_code.name}: {span.status.description}"]
        lines.append("  " * depth + " | ".join([span.name, *about, *status]))
        waiting.extend((child, depth + 1) for child in reversed(children.get(span.context.span_id, [])))
    return "\n".join(lines)


def by_name(spans, name) -> Any:
    found = [span for span in spans if span.name == name]
    assert found, f"no span {name!r} in {sorted({span.name for span in spans})}"
    return found[0]


def trace_of(example, *, number=1, text=SECRET, started=T0 + 10):
    """A question is planned, searched for and answered; one second each."""
    build = TraceBuilder("desk", id=f"{number:032x}", example=example)
    question = build.input("question", f"{text} question")
    plan = build.llm("plan", reads=[question], prompts={"plan/system": f"{text} plan it"}, reply=f"{text} the plan")
    found = build.tool("search", reads=[plan], result=f"{text} a page")
    answer = build.llm(
        "answer", reads=[plan, found], prompts={"answer/system": f"{text} answer it"}, reply=f"{text} the answer"
    )
    trace = build.finish({"answer": answer})
    spans = [timed(span, len(trace.spans)) for span in trace.spans]
    return replace(trace, spans=tuple(spans), started=started)


def timed(span: Span, total: int) -> Span:
    number = int(span.id[1:])
    start, end = (0.0, float(total - 1)) if number == 0 else (number - 1.0, float(number))
    known = dict(span.attributes)
    if span.kind is SpanKind.LLM:
        known |= {"model": "gpt-small", "provider": "openai", "input_tokens": 100, "output_tokens": 10}
    if span.kind is SpanKind.NODE:
        end += 1.0  # its model call comes next, inside it
        known |= {"task": f"{span.name}:0000", "step": number, "triggers": ["start"]}
    return replace(span, start=start, end=end, attributes=known)


def scored(trace, value: float | None = 0.0, *, phase=Phase.ROLLOUT, step=1, candidate="c0", text=SECRET, **more):
    score = Score("right", value, f"{text} not quite", ("answer",), {"answer": f"{text} wanted"})
    time = more.pop("time", trace.started + 7)
    return events.ExampleScored(
        run=RUN,
        time=time,
        step=step,
        phase=phase,
        candidate=candidate,
        example=trace.example,
        trace=trace,
        scores=(score,),
        **more,
    )


def went_back(trace, scores, *, step=1, text=SECRET, calls=True):
    """The reverse pass over `trace`: from the verdict to the answer, the search and the plan."""
    seeded = seed(trace, scores)
    name, example = trace.id, trace.example
    verdict = next(span.id for span in seeded.spans if span.kind is SpanKind.EVAL)
    items = (
        Gradient("s5.out", f"{text} say more", verdict, name, example, 0.0),
        Gradient("s5.in0", f"{text} ask for detail", "s5", name, example, 0.0, Site.parse("answer/system")),
        Gradient("s3.out", f"{text} find a better page", "s5", name, example, 0.0),
        Gradient("s2.out", f"{text} plan for a better page", "s3", name, example, 0.0),
        Gradient("s2.in0", f"{text} plan more", "s2", name, example, 0.0, Site.parse("plan/system"), 0.1),
    )
    start = trace.started + 8
    made = (
        GradientCall("s5", "critic", 500, 50, start, start + 1),
        GradientCall("s2", "critic", 400, 40, start + 1, start + 2, f"RateLimitError: {text}"),
    )
    gradients = Gradients(items, (f"{text} failed",) if calls else (), made if calls else ())
    return events.BackwardFinished(
        run=RUN, time=start + 2, step=step, trace=seeded, gradients=gradients, started=start, ended=start + 2
    )


def calls_made():
    """A call of the graph, one of the critic and one of the proposer, whose model does not say what it took."""
    return (
        events.MadeCall(Phase.ROLLOUT, "openai", "gpt-small", 100, 10, T0 + 10, T0 + 11),
        events.MadeCall(Phase.GRADIENT, "openai", "critic", 500, 50, T0 + 18, T0 + 19),
        events.MadeCall(Phase.PROPOSAL, "", "writer", 700, None, T0 + 20, T0 + 21),
    )


def a_run(text=SECRET):
    """One step with one example that failed and one that passed; one Update accepted, one refused by code."""
    bad, good = trace_of("e1", number=1, text=text), trace_of("e2", number=2, text=text, started=T0 + 12)
    first = scored(bad, 0.0, text=text)
    back = went_back(bad, first.scores, text=text)
    wanted = tuple(gradient.id for gradient in back.gradients if str(gradient.site) == "answer/system")
    old = Template(f"{text} answer it")
    better = Update(
        Site.parse("answer/system"), old, Template(f"{text} answer in detail"), f"{text} why", "rewrite", wanted
    )
    worse = Update(Site.parse("plan/system"), old, Template(f"{text} worse"), f"{text} why", "insert")
    known = {"run": RUN, "step": 1}
    yield events.RunStarted(run=RUN, time=T0, graph="desk", settings={"goal": f"{text} goal"})
    yield events.Discovered(
        run=RUN, time=T0 + 1, parameters={better.site: old, worse.site: old}, trainable=(better.site,)
    )
    base = trace_of("v1", number=3, text=text, started=T0 + 2)
    yield scored(base, 0.5, phase=Phase.VALIDATION, step=0, text=text)
    yield first
    yield scored(good, 1.0, text=text)
    yield back
    yield events.Proposed(**known, time=T0 + 21, update=better)
    yield events.Gated(**known, time=T0 + 21, update=worse, gate="edit", accepted=False, reason=f"{text} loses a slot")
    yield events.Gated(
        **known,
        time=T0 + 30,
        update=better,
        gate="minibatch",
        accepted=True,
        reason=f"{text} better",
        before=0.5,
        after=1.0,
        n=2,
    )
    for at, value in enumerate((1.0, 0.0)):
        tried = trace_of(f"v{at}", number=10 + at, text=text, started=T0 + 31 + at)
        yield scored(tried, value, phase=Phase.VALIDATION, candidate="c1", text=text)
    yield events.Gated(
        **known,
        time=T0 + 40,
        update=better,
        gate="validation",
        accepted=True,
        reason=f"{text} better",
        before=0.25,
        after=0.5,
        n=2,
        p_value=0.04,
        alpha=0.05,
    )
    yield events.Committed(
        **known, time=T0 + 41, update=better, name="answer/system", version=2, label="candidate", before=1
    )
    yield events.Warned(**known, time=T0 + 41, message=f"{text} careful")
    yield events.ModelsCalled(**known, time=T0 + 42, calls=calls_made())
    yield events.StepFinished(**known, time=T0 + 42, started=T0 + 9, score=0.5, accepted=True)
    final = trace_of("t1", number=20, text=text, started=T0 + 43)
    yield scored(final, 1.0, phase=Phase.TEST, step=0, candidate="c1", text=text)
    yield events.RunFinished(run=RUN, time=T0 + 60, summary=f"{text} test 0.5 -> 1.0", started=T0, improved=True)


def everything(spans):
    """All text of the spans: names, attributes, events, links, status."""
    parts = []
    for span in spans:
        parts += [span.name, span.status.description or "", json.dumps(dict(span.attributes), ensure_ascii=False)]
        parts += [event.name + json.dumps(dict(event.attributes or {}), ensure_ascii=False) for event in span.events]
        parts += [json.dumps(dict(link.attributes or {}), ensure_ascii=False) for link in span.links]
    return "\n".join(parts)
