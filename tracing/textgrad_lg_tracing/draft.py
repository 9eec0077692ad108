"""Draft: a span that is still to be written; a tree of them becomes one OpenTelemetry trace.

Spans are written after the fact, with their own start and end times, and never through the current span: what runs in
the user's process does not become their parent. Those that are its parent were started before; see `live`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, format_span_id, format_trace_id, set_span_in_context

from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.attributes import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span, SpanContext, Tracer
    from opentelemetry.util.types import AttributeValue

    from textgrad_lg_tracing.content import Content

Attributes = Mapping[str, "AttributeValue"]
MAX_SPANS = 300
"""Spans in one trace: beyond about a thousand, the user interfaces of the backends no longer show a trace whole."""
MAX_LINKS = 128
"""Links on one span: the SDK's own limit, at which it throws out the first ones."""


@dataclass(eq=False)
class Draft:
    """A span to be written.

    Attributes:
        name: Its name.
        start: Unix time in seconds.
        end: Unix time in seconds.
        attributes: Makes its own attributes; called only if the span is written.
        kind: What it is.
        remote: Whether it is a call that left the process.
        error: What went wrong, in words.
        differentiates: The forward span that it is the backward span of: one of the same tree, or one written before.
        links: Other spans it belongs to.
        events: Events on it, as names and attributes; they happen at its end.
        live: The span that was started for it already: the root, or one right under the root, without links.
    """

    name: str
    start: float
    end: float
    attributes: Callable[[], Attributes] = dict
    kind: Kind = Kind.CHAIN
    remote: bool = False
    error: str | None = None
    differentiates: Draft | SpanContext | None = None
    links: Sequence[SpanContext] = ()
    events: Sequence[tuple[str, Attributes]] = ()
    live: Span | None = None
    children: list[Draft] = field(default_factory=list["Draft"])
    parent: Draft | None = field(default=None, repr=False)

    def add(self, child: Draft) -> Draft:
        """Put `child` last under this span, and return it."""
        child.parent = self
        self.children.append(child)
        return child

    def cover(self) -> None:
        """Widen its time to that of its children."""
        self.start = min(self.start, *(child.start for child in self.children), self.start)
        self.end = max(self.end, *(child.end for child in self.children), self.end)

    def walk(self) -> Iterator[Draft]:
        """This span and all below it, parents before children."""
        waiting: list[Draft] = [self]
        while waiting:
            draft = waiting.pop()
            yield draft
            waiting.extend(reversed(draft.children))


def write(tracer: Tracer, root: Draft, common: Attributes, content: Content, cap: int = MAX_SPANS) -> dict[Draft, Span]:
    """Write the tree as one trace of its own.

    Args:
        tracer: Makes the spans.
        root: The tree.
        common: Attributes of every span in it; a span's own win.
        content: Says how an error is shown.
        cap: How many spans to write. Those nearest to the root are kept; the root says how many were not.

    Returns:
        The span of each Draft that was written, the root first. They have ended.
    """
    kept, dropped = _kept(root, cap)
    written: dict[Draft, Span] = {}
    for draft in root.walk():
        if draft not in kept:
            continue
        parent = draft.parent and written[draft.parent]
        own: dict[str, AttributeValue] = {**draft.attributes()}
        if dropped and draft is root:
            own[at.DROPPED_SPANS] = dropped
        links = [Link(target, {at.LINK_TYPE: "example"}) for target in draft.links[:MAX_LINKS]]
        if len(draft.links) > MAX_LINKS:
            own[at.DROPPED_LINKS] = len(draft.links) - MAX_LINKS
        if target := _context(draft.differentiates, written):
            ids = {at.FORWARD_TRACE: format_trace_id(target.trace_id), at.FORWARD_SPAN: format_span_id(target.span_id)}
            own.update(ids)
            links.append(Link(target, {at.LINK_TYPE: "differentiates", **ids}))
        exception, description = content.error(draft.error) if draft.error is not None else ({}, None)
        if at.EXCEPTION_TYPE in exception:
            own[at.ERROR_TYPE] = exception[at.EXCEPTION_TYPE]
        about = at.complete({**own, **{key: v for key, v in common.items() if key not in own}}, draft.kind)
        span = _started(tracer, draft, parent, about, links)
        for name, values in draft.events:
            span.add_event(name, values, nanoseconds(draft.end))
        if draft.error is not None:
            span.add_event(at.EXCEPTION_EVENT, exception, nanoseconds(draft.end))
        span.set_status(Status(StatusCode.OK) if draft.error is None else Status(StatusCode.ERROR, description))
        written[draft] = span
    for draft, span in reversed(written.items()):
        span.end(nanoseconds(max(draft.start, draft.end)))
    return written


def _started(tracer: Tracer, draft: Draft, parent: Span | None, about: Attributes, links: Sequence[Link]) -> Span:
    """The span of a Draft: the one that was started for it before, or a new one."""
    if draft.live is not None:
        draft.live.set_attributes({**about})
        return draft.live
    return tracer.start_span(
        draft.name,
        context=set_span_in_context(parent, Context()) if parent else Context(),
        kind=SpanKind.CLIENT if draft.remote else SpanKind.INTERNAL,
        attributes=about,
        links=links,
        start_time=nanoseconds(draft.start),
    )


def _kept(root: Draft, cap: int) -> tuple[set[Draft], int]:
    """The spans to write, and how many are not: level by level from the root, on each level in turn from each branch."""
    every = list(root.walk())
    # What others have put under a live span would lose its parent.
    kept = {root, *(draft for draft in every if draft.live is not None)}
    branches: list[list[Draft]] = [[child] for child in root.children]
    while len(kept) < cap and any(branches):
        turns = (draft for turn in zip_longest(*branches) for draft in turn if draft is not None)
        for draft in turns:
            if len(kept) < cap and draft.parent in kept:
                kept.add(draft)
        branches = [list(chain.from_iterable(draft.children for draft in branch)) for branch in branches]
    return kept, len(every) - len(kept)


def _context(target: Draft | SpanContext | None, written: Mapping[Draft, Span]) -> SpanContext | None:
    """The context of the span meant, or of the nearest one above it that was written."""
    while isinstance(target, Draft):
        if target in written:
            return written[target].get_span_context()
        target = target.parent
    return target


def nanoseconds(seconds: float) -> int:
    """Unix time as OpenTelemetry has it."""
    return round(seconds * 1_000_000_000)
