"""Limits of what a reader takes in: what it reads was written by strangers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What goes over a limit is left out, and said; the rest is read.

    Attributes:
        record_bytes: The longest line or protobuf message; also the largest file that is one JSON document on several
            lines.
        file_bytes: The most that is read of one file, after decompression.
        depth: How many lists and mappings may lie within each other.
        attributes: The most attributes that a span, an event, a link or a resource keeps.
        entries: The most events, and the most links, that a span keeps.
        trace_spans: The most spans that a trace keeps.
        waiting_spans: How many spans may wait for the rest of their traces at once. A trace whose spans lie too far apart
            for it is given out in parts, the later of which are left out.
        problems: How many problems are told of one file, or of one trace; the rest is counted.
    """

    record_bytes: int = 64 << 20
    file_bytes: int = 16 << 30
    depth: int = 64
    attributes: int = 1_024
    entries: int = 1_024
    trace_spans: int = 20_000
    waiting_spans: int = 100_000
    problems: int = 20
