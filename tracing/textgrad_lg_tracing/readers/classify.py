"""Completeness: how much of a run its spans hold, and why it is not all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from textgrad_lg.redact import WITHHELD
from textgrad_lg.types import SpanKind
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers.dialects.told import ABSENT, REDACTED

if TYPE_CHECKING:
    from textgrad_lg.types import JSON
    from textgrad_lg_tracing.readers.build import Built
    from textgrad_lg_tracing.readers.span import SourceSpan, SourceTrace

_CUT = ("… [", "[truncated]", "<truncated>")
"""How our own exporter, and those of others, mark what they cut."""


_OPEN = ("{", "[")


class Completeness(StrEnum):
    """What of a run a trace holds."""

    FULL = "full"
    """Nodes, state and messages: it can be differentiated as if it had been recorded here."""
    MESSAGES = "messages only"
    """What models and tools were sent and gave, and not the state between them: edges rest on texts and ids."""
    STRUCTURE = "structure only"
    """What ran, in which order, and what failed; there is no text to learn from."""


def classify(source: SourceTrace, built: Built) -> tuple[Completeness, tuple[str, ...]]:
    """How complete a trace is.

    Args:
        source: Its spans.
        built: What was made of them.

    Returns:
        What of the run it holds, and what is missing, each with its likely reason.
    """
    spans = {span.id: span for span in built.trace.spans}
    calls = [span for span in spans.values() if span.kind is SpanKind.LLM]
    silent = [span for span in calls if not span.attributes.get("messages")]
    nodes = [span for span in spans.values() if span.kind is SpanKind.NODE]
    variables = built.trace.variables
    replied = {variable.span for variable in variables if variable.span in {span.id for span in calls}}
    mute = [span for span in calls if span.id not in replied and span.error is None]
    written = {variable.span for variable in variables if variable.value is not None}
    state = [node for node in nodes if node.id in written]
    reasons = [*_missing(source, built)]
    if calls and len(silent) == len(calls):
        found = Completeness.STRUCTURE
        reasons.insert(0, "no message of any model call is in the spans: content was not captured")
    elif not calls and not state:
        found = Completeness.STRUCTURE
        reasons.insert(0, "there are neither model calls nor any state in the spans")
    elif not state:
        found = Completeness.MESSAGES
        why = "its nodes wrote no state that is in them" if nodes else f"{built.producer} spans do not show nodes"
        reasons.insert(0, f"the state between the calls is not in the spans: {why}")
    else:
        found = Completeness.FULL
        if silent:
            reasons.append(f"{len(silent)} of {len(calls)} model calls are without their messages")
    if mute and found is not Completeness.STRUCTURE:
        reasons.append(f"{len(mute)} of {len(calls)} model calls are without their reply")
    lossy = found is Completeness.FULL and any(reason.startswith(_SERIOUS) for reason in reasons)
    return (Completeness.MESSAGES if lossy else found), tuple(reasons)


_LOST_PARENTS, _LOST_ROOT = "spans: the parent is not in the trace", "the root of the run is not in the trace"
_SERIOUS = (_LOST_ROOT,)


def _missing(source: SourceTrace, built: Built) -> Iterator[str]:
    """What the spans themselves say, or show, that they lost."""
    spans = source.spans
    ids = {span.span_id for span in spans}
    roots = [span for span in spans if span.parent_id is None]
    orphans = sum(span.parent_id is not None and span.parent_id not in ids for span in spans)
    inside = built.tree is not None and built.tree.root.id == ""
    if not roots and inside:
        yield f"{_LOST_ROOT}: it was sampled away, not exported yet, or kept elsewhere"
    if orphans and (inside or roots):
        yield f"{orphans} of {len(spans)} {_LOST_PARENTS}: it was sampled away, or dropped"
    dropped = sum(span.dropped for span in spans)
    if dropped:
        yield f"the SDK dropped {dropped} attributes, events or links; of more than 128 it drops the first that were set"
    texts = [text for span in spans for text in _texts(span)]
    # All of them in one first: most traces have none of these marks, and this is asked of each text of each.
    every = "\n".join(texts)
    cut = _marked(texts, _CUT, every)
    broken = sum(_is_cut(text) for text in texts if text[:1] in _OPEN)
    if cut or broken or any(span.attributes.get(at.CONTENT_TRUNCATED) for span in spans):
        yield f"values that were truncated: {max(1, cut + broken)}"
    hidden = _marked(texts, (*REDACTED, WITHHELD), every)
    if hidden or any(span.attributes.get(at.CONTENT_REDACTED) for span in spans):
        yield f"values that were redacted: {max(1, hidden)}; what was hidden is no evidence of anything"
    kept = next((span.attributes[at.DROPPED_SPANS] for span in spans if at.DROPPED_SPANS in span.attributes), None)
    if kept:
        yield f"the exporter left out {kept} spans of a large trace"
    if built.tree is not None:
        blank = sum(node.told.outputs is ABSENT and node.is_task for node in built.tree.nodes)
        if blank:
            yield f"nodes without what they wrote: {blank}"
    yield from source.problems


def _marked(texts: Sequence[str], marks: Sequence[str], every: str) -> int:
    """How many texts have one of the marks in them."""
    met = [mark for mark in marks if mark in every]
    return sum(any(mark in text for mark in met) for text in texts) if met else 0


def _texts(span: SourceSpan) -> Iterator[str]:
    values = span.attributes.values()
    yield from (value for value in values if isinstance(value, str))
    todo: list[JSON] = [value for value in values if isinstance(value, list | dict)]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list | dict):
            todo += item if isinstance(item, list) else item.values()


def _is_cut(text: str) -> bool:
    """Whether a text begins as JSON and does not end as such: an SDK with a limit on values cuts in the middle."""
    if text[:2] not in ('{"', "[{") or text.rstrip()[-1:] in "}]":
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return True
    return False
