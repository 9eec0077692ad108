"""Reverse passes as spans: what was differentiated, with which model calls, and which forward span each belongs to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textgrad_lg.types import SpanKind
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing import production
from textgrad_lg_tracing.attributes import Kind
from textgrad_lg_tracing.draft import Draft
from textgrad_lg_tracing.rollouts import label, llm, outermost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue

    from textgrad_lg.events import BackwardFinished
    from textgrad_lg.gradient import Gradient, GradientCall
    from textgrad_lg.trace import Span, Trace
    from textgrad_lg.types import JSON
    from textgrad_lg_tracing.content import Content
    from textgrad_lg_tracing.rollouts import Forward

MAX_IDS = 32
"""How many ids of Gradients one attribute holds."""


def backward(
    root: Draft, event: BackwardFinished, forward: Forward | None, content: Content, *, nodes: bool
) -> dict[str, Draft]:
    """Put a reverse pass under `root`: `backward`, under it one span for each Span differentiated, with its model calls.

    Args:
        root: The span of its example.
        event: The reverse pass.
        forward: The rollout it went back over; None where that was not run here but imported.
        content: What of the content may be shown.
        nodes: Whether the single Spans are shown.

    Returns:
        What shows the criticism of each Span, by its id; "" stands for the whole pass.
    """
    trace, gradients = event.trace, event.gradients
    source = production.source(event) if forward is None else {}
    top = root.add(Draft("backward", event.started, max(event.started, event.ended)))
    top.attributes = lambda: {
        at.PHASE: "backward",
        **source,
        **(production.named(event, outer.id if outer else "") if forward is None else {}),
        at.TRACE: trace.id,
        at.GRADIENT_COUNT: len(gradients),
        at.GRADIENT_FAILURES: len(gradients.failures),
        **content.fields({at.OUTPUT: [_shown(g) for g in gradients if g.site is not None]}),
    }
    outer = outermost(trace)
    top.differentiates = forward.draft if forward else production.context(event, outer.id if outer else "")
    drawn = {"": top}
    by_span: dict[str, tuple[list[Gradient], list[GradientCall]]] = {}
    for gradient in gradients:
        by_span.setdefault(gradient.span, ([], []))[0].append(gradient)
    for call in gradients.calls:
        by_span.setdefault(call.span, ([], []))[1].append(call)
    # Calls made before the pass began were found in a journal: they are drawn where they were used.
    first = min((call.start for call in gradients.calls), default=event.started)
    last = max((call.end for call in gradients.calls), default=event.started)
    offset = event.ended - last if first < event.started else 0.0
    now = event.started
    for name, (found, calls) in by_span.items() if nodes else ():
        span = trace.span_by_id.get(name)
        # A Span differentiated without a model call took no time worth showing: it is drawn after what came before it.
        start = min((offset + call.start for call in calls), default=now)
        end = max((offset + call.end for call in calls), default=start)
        now = max(now, end)
        draft = top.add(Draft(f"backward {label(span, name)}", start, end))
        own = source if forward else {**source, **production.named(event, name)}
        draft.attributes = partial(_differentiated, trace, span, found, gradients.items, content, source=own)
        draft.events = [(at.GRADIENT_EVENT, _event(gradient, content)) for gradient in found[:MAX_IDS]]
        drawn[name] = draft
        draft.error = next((call.error for call in calls if call.error is not None), None)
        if forward is None:
            draft.differentiates = production.context(event, name)
        elif span is not None and span.kind is SpanKind.EVAL:
            draft.differentiates = forward.losses.get(span.name, forward.draft)
        else:
            draft.differentiates = forward.spans.get(name, forward.draft)
        for call in calls:
            about = partial(_call, call, source, cached=bool(offset))
            start, end = offset + call.start, offset + call.end
            draft.add(Draft(f"chat {call.model}", start, end, about, Kind.LLM, remote=True, error=call.error))
    top.cover()
    return drawn


def _differentiated(
    trace: Trace,
    span: Span | None,
    found: list[Gradient],
    every: tuple[Gradient, ...],
    content: Content,
    *,
    source: Mapping[str, AttributeValue],
) -> dict[str, AttributeValue]:
    made = {variable.id for variable in trace.variables if span is not None and variable.span == span.id}
    downstream: list[JSON] = [_shown(gradient) for gradient in every if gradient.variable in made]
    about: dict[str, AttributeValue] = {at.PHASE: "backward", **source, at.GRADIENT_COUNT: len(found)}
    about[at.GRADIENT_IDS] = tuple(gradient.id for gradient in found[:MAX_IDS])
    sites = tuple(dict.fromkeys(str(gradient.site) for gradient in found if gradient.site is not None))
    if sites:
        about[at.PARAMETERS] = sites
    if span is not None:
        about |= {at.SPAN: span.id, at.VISIT: span.visit, at.NODE: label(span, span.name)}
    shown = content.fields({at.INPUT: downstream or None, at.OUTPUT: [_shown(gradient) for gradient in found] or None})
    return {**shown, **about}


def _call(call: GradientCall, source: Mapping[str, AttributeValue], *, cached: bool) -> dict[str, AttributeValue]:
    return {
        at.PHASE: "backward",
        **source,
        at.CACHED: cached,
        **llm("", call.model, call.input_tokens, call.output_tokens),
    }


def _event(gradient: Gradient, content: Content) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {at.GRADIENT_ID: gradient.id, at.GRADIENT_VARIABLE: gradient.variable}
    found[at.GRADIENT_WEIGHT] = float(gradient.weight)
    if gradient.site is not None:
        found[at.PARAMETER] = str(gradient.site)
    if gradient.score is not None:
        found[at.SCORE] = float(gradient.score)
    return {**content.fields({at.GRADIENT_TEXT: gradient.text}), **found}


def _shown(gradient: Gradient) -> JSON:
    about = {"id": gradient.id, "variable": gradient.variable, "score": gradient.score, "weight": gradient.weight}
    return {**about, "site": str(gradient.site) if gradient.site else None, "text": gradient.text}
