"""SourceSpan: one span as any backend has kept it, in one form.

What the producer wrote stands under the producer's own keys. What a backend keeps outside attributes gets these keys:

    langsmith.run_type, .inputs, .outputs, .extra, .serialized, .tags, .feedback_stats, .reference_example_id,
        .session_name, .thread_id, .inputs_preview, .outputs_preview, .dotted_order
        (not decoded further: inputs and outputs are mappings as the SDK sent them, extra holds "metadata")
    langfuse.observation.type, .input, .output, .metadata, .model, .usage, .level; on the root langfuse.trace.input,
        .output, .metadata, .tags, langfuse.session.id, langfuse.scores
    phoenix: `metadata` is put together again into the JSON text that was sent; annotations as `phoenix.annotations`
    mlflow.info (on the root): the trace's own record, with its tags, metadata and assessments
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from textgrad_lg.types import JSON

Attributes = Mapping[str, JSON]
"""Keys and decoded values; a value that the producer wrote as JSON text is still text."""


class SourceEvent(NamedTuple):
    """Something that happened in a span.

    Attributes:
        name: As in "exception".
        time: Unix time in nanoseconds.
        attributes: What it carries.
    """

    name: str
    time: int
    attributes: Attributes


class SourceLink(NamedTuple):
    """A span of this or another trace that a span points to.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        attributes: What the link says of itself.
    """

    trace_id: str
    span_id: str
    attributes: Attributes


class SourceSpan(NamedTuple):
    """A span. A tuple and no data class, because a million of them are made at a time.

    Attributes:
        trace_id: 32 hexadecimal digits in lower case; of LangSmith and Langfuse the id as they write it.
        span_id: 16 hexadecimal digits in lower case; of LangSmith and Langfuse the id as they write it.
        parent_id: The span that it is a part of, which the trace need not hold; None for a root.
        name: As the producer named it.
        start: Unix time in nanoseconds.
        end: Unix time in nanoseconds; as `start` where the span was not ended.
        attributes: What it carries.
        events: In the order in which the backend keeps them.
        links: In the order in which the backend keeps them.
        error: The status's description or the exception's type and message; None where it did not fail. A failure that
            says nothing of itself is "error".
        dropped: How many attributes, events and links the SDK says it left out, and how many were left out here.
        scope: The instrumentation scope's name, as in "openinference.instrumentation.langchain"; empty if not known.
        resource: What carries the process or service.
        backend: "otlp", "jaeger", "phoenix", "mlflow", "langfuse" or "langsmith".
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start: int
    end: int
    attributes: Attributes
    events: tuple[SourceEvent, ...]
    links: tuple[SourceLink, ...]
    error: str | None
    dropped: int
    scope: str
    resource: Attributes
    backend: str


class SourceTrace(NamedTuple):
    """The spans of one trace, from all the places where they stood.

    Attributes:
        id: The trace's id.
        spans: By start, then by id; ids are distinct, and following `parent_id` ends.
        problems: What was wrong with it, each a sentence that names file and line; the spans are what is good of it.
    """

    id: str
    spans: tuple[SourceSpan, ...]
    problems: tuple[str, ...] = ()
