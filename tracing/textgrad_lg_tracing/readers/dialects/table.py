"""Which producer wrote a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgrad_lg_tracing.readers.dialects.genai import GenAI
from textgrad_lg_tracing.readers.dialects.langfuse import Langfuse
from textgrad_lg_tracing.readers.dialects.langsmith import LangSmithRuns
from textgrad_lg_tracing.readers.dialects.langsmith_otel import LangSmithOTel
from textgrad_lg_tracing.readers.dialects.openinference import OpenInference
from textgrad_lg_tracing.readers.dialects.traceloop import Traceloop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textgrad_lg_tracing.readers.dialects.told import Dialect
    from textgrad_lg_tracing.readers.span import SourceSpan

DIALECTS: tuple[Dialect, ...] = (LangSmithRuns(), LangSmithOTel(), OpenInference(), Traceloop(), Langfuse(), GenAI())
"""Those that say most of a run first: where a process had two instrumentations, each run was written twice."""


def dialect_of(spans: Iterable[SourceSpan]) -> Dialect | None:
    """The producer whose spans are read: the first of `DIALECTS` that wrote any; None where none did."""
    spans = tuple(spans)
    return next((dialect for dialect in DIALECTS if any(map(dialect.speaks, spans))), None)
