"""A small run of `optimize`, sent to a backend as OTLP, and what was sent."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from tests.run import worlds
from textgrad_lg import Evals, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg.events import BackwardFinished, Event
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import TGD
from textgrad_lg.testing import Rule, SimulatedChatModel
from textgrad_lg.trace import Trace
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing import configure

UNREADABLE = "unreadable"
"""A review that the graph's model refuses."""


@dataclass(frozen=True)
class Sent:
    """A run that was written to a backend.

    Attributes:
        run: Its id, which is the session of its spans.
        spans: The spans of the traces that ours are in, as the exporter was given them.
        traces: The Traces of its reverse passes, by id: as recorded, with their Parameters.
        gradients: What those passes found, by the id of the Trace.
        backward_span: Tells which span shows how a Span was criticised.
    """

    run: str
    spans: Sequence[ReadableSpan]
    traces: dict[str, Trace]
    gradients: dict[str, Gradients]
    backward_span: Callable[[str, str], SpanContext | None]


def send(
    url: str,
    folder: Path,
    headers: str = "",
    beside: Callable[[TracerProvider], AbstractContextManager[Any]] = nullcontext,
    **options: Any,
) -> Sent:
    """Optimise, and send the spans to `url`.

    Args:
        url: Where OTLP is posted to.
        folder: For the run's journal.
        headers: As in `OTEL_EXPORTER_OTLP_HEADERS`.
        beside: What else traces the graph meanwhile, on the same provider.
        **options: For `configure`.
    """
    graph = worlds.three_nodes(_model())
    critic = worlds.critic("I think this is", worlds.WANTED)
    events: list[Event] = []
    memory = InMemorySpanExporter()
    with patch.dict(os.environ, {"OTEL_EXPORTER_OTLP_HEADERS": headers}), configure(url, **options) as configured:
        configured.provider.add_span_processor(SimpleSpanProcessor(memory))
        with beside(configured.provider):
            result = optimize(
                graph,
                Evals(_reviews(), [worlds.right_page], goal="Publish the label of a review."),
                model=critic,
                optimizer=TGD(),
                registry=MemoryRegistry(),
                run_dir=folder,
                callbacks=[configured.callback, events.append],
                settings=Settings(steps=1, batch=6, strategy=Strategy.CHAIN),
            )
    spans = memory.get_finished_spans()
    traces = {span.context.trace_id for span in spans if at.RUN in (span.attributes or ())}
    passes = [event for event in events if isinstance(event, BackwardFinished)]
    return Sent(
        result.run,
        [span for span in spans if span.context.trace_id in traces],
        {event.trace.id: event.trace for event in passes},
        {event.trace.id: event.gradients for event in passes},
        configured.callback.backward_span,
    )


def _reviews() -> list[dict[str, Any]]:
    """Every fourth one cannot be read; some of those are in any minibatch of six out of so few."""
    rows = worlds.reviews(30)
    for row in rows[::4]:
        row["inputs"]["review"] = UNREADABLE
    return rows


def _model() -> Any:
    usual = worlds.review_model()

    def answer(messages: Any) -> Any:
        if messages[-1].text == UNREADABLE:
            raise ValueError("the review cannot be read")
        return usual.answer(messages)

    def alone(reply: str, _: Any) -> str:
        found = re.search(r"I think this is (\w+)", reply)
        return found[1] if found else reply

    return SimulatedChatModel(answer=answer, rules=[Rule(worlds.WANTED, alone)])
