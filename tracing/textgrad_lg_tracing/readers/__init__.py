"""Production traces as Traces: files and backends, read as if the runs had been recorded here."""

from textgrad_lg_tracing.readers.classify import Completeness
from textgrad_lg_tracing.readers.imported import ImportedTrace, Provenance, aligned, read_traces
from textgrad_lg_tracing.readers.limits import Limits
from textgrad_lg_tracing.readers.match import Match
from textgrad_lg_tracing.readers.read import read
from textgrad_lg_tracing.readers.span import SourceSpan, SourceTrace

__all__ = [
    "Completeness",
    "ImportedTrace",
    "Limits",
    "Match",
    "Provenance",
    "SourceSpan",
    "SourceTrace",
    "aligned",
    "read",
    "read_traces",
]
