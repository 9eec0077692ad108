"""Gather: the spans of each trace put together, and made what a SourceTrace promises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from textgrad_lg_tracing.readers.limits import Limits
from textgrad_lg_tracing.readers.place import Problems
from textgrad_lg_tracing.readers.span import SourceSpan, SourceTrace


class Gathering:
    """Spans that wait for the rest of their traces, at most as many as `limits` allow."""

    def __init__(self, limits: Limits, problems: Problems) -> None:
        self._limits = limits
        self._problems = problems
        self._waiting: dict[str, list[SourceSpan]] = {}
        self._count = 0
        self._over: dict[str, int] = {}
        self._gone: set[str] = set()

    def add(self, spans: Iterable[SourceSpan]) -> None:
        """Take in spans."""
        for span in spans:
            trace = span.trace_id
            found = self._waiting.get(trace)
            if found is None:
                if trace in self._gone:
                    continue
                found = self._waiting[trace] = []
            if len(found) >= self._limits.trace_spans:
                self._over[trace] = self._over.get(trace, 0) + 1
                continue
            found.append(span)
            self._count += 1

    def surplus(self) -> Iterator[SourceTrace]:
        """The traces that have waited longest, where too many spans wait; what still comes of them is left out."""
        while self._count > self._limits.waiting_spans and len(self._waiting) > 1:
            oldest = next(iter(self._waiting))
            self._gone.add(oldest)
            self._problems.add(
                "its spans lie so far apart that not all could be kept in mind; later ones are missing", oldest
            )
            yield from self.take(oldest)

    def take(self, trace_id: str) -> Iterator[SourceTrace]:
        """The trace, if spans of it wait."""
        found = self._waiting.pop(trace_id, None)
        if found is None:
            return
        self._count -= len(found)
        over = self._over.pop(trace_id, 0)
        if over:
            self._problems.add(f"it has {over + len(found)} spans; {over} were left out (limit {len(found)})", trace_id)
        yield trace(trace_id, found, self._problems.take(trace_id))

    def rest(self) -> Iterator[SourceTrace]:
        """All traces that still wait, the one that began to wait first coming first."""
        for trace_id in list(self._waiting):
            yield from self.take(trace_id)


def trace(trace_id: str, spans: Iterable[SourceSpan], problems: Iterable[str] = ()) -> SourceTrace:
    """One trace of its spans in any order: each once, without cycles, by start and id."""
    said = list(problems)
    distinct: dict[str, SourceSpan] = {}
    for span in spans:
        other = distinct.setdefault(span.span_id, span)
        if other is not span and other != span:
            said.append(f"trace {trace_id}: two different spans have the id {span.span_id}; the fuller one was kept")
            distinct[span.span_id] = max(other, span, key=_fullness)
    for first in _cycles(distinct):
        said.append(f"trace {trace_id}: span {first} is above itself; it was made a root")
        distinct[first] = distinct[first]._replace(parent_id=None)
    ordered = sorted(distinct.values(), key=lambda span: (span.start, span.span_id))
    return SourceTrace(trace_id, tuple(ordered), tuple(dict.fromkeys(said)))


def _fullness(span: SourceSpan) -> tuple[int, int, str]:
    # An exporter may have written a span twice: as it began, and as it ended. The text makes the choice independent of order.
    return len(span.attributes), span.end, repr(span)


def _cycles(spans: dict[str, SourceSpan]) -> list[str]:
    """Of each circle of parents the span that started first."""
    found: list[str] = []
    passed: dict[str, str] = {}  # span -> the start of the walk that first came by it
    for start in spans:
        at: str | None = start
        while at is not None and at in spans and at not in passed:
            passed[at] = start
            at = spans[at].parent_id
        if at is not None and passed.get(at) == start:
            circle = [at]
            while (above := spans[circle[-1]].parent_id) is not None and above != at:
                circle.append(above)
            found.append(min(circle, key=lambda name: (spans[name].start, name)))
    return found
