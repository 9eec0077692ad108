"""Rollouts as spans: what the graph did (forward) and how it was judged (loss)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from textgrad_lg.types import SpanKind
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.attributes import Kind
from textgrad_lg_tracing.content import messages
from textgrad_lg_tracing.draft import Draft

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from textgrad_lg.events import ExampleScored
    from textgrad_lg.example import Score
    from textgrad_lg.trace import Span, Trace
    from textgrad_lg.types import JSON
    from textgrad_lg_tracing.content import Content

_KINDS = {
    SpanKind.LLM: Kind.LLM,
    SpanKind.TOOL: Kind.TOOL,
    SpanKind.RETRIEVER: Kind.RETRIEVER,
    SpanKind.EVAL: Kind.EVALUATOR,
}


@dataclass(frozen=True)
class Forward:
    """A rollout's `forward` span, and where each recorded Span of it went."""

    draft: Draft
    spans: Mapping[str, Draft] = field(default_factory=dict[str, Draft])
    losses: Mapping[str, Draft] = field(default_factory=dict[str, Draft])


def rollout(root: Draft, event: ExampleScored, content: Content, *, nodes: bool) -> Forward:
    """Put a rollout under `root`: `forward` with all that ran in it, and one `loss` for each Score.

    Args:
        root: The span of its example.
        event: The rollout.
        content: What of the content may be shown.
        nodes: Whether what ran inside the graph is shown too.
    """
    trace = event.trace
    start, end = times(event)
    about: dict[str, AttributeValue] = {at.CANDIDATE: event.candidate, at.CACHED: event.cached}
    outer = outermost(trace)
    draft = root.add(Draft("forward", start, end, error=(outer and outer.error) or event.error))
    draft.attributes = partial(_graph, trace, outer, about, content)
    spans: dict[str, Draft] = {}
    if trace and outer:
        spans[outer.id] = draft
        # A journalled rollout is drawn where it was used, not when it ran: that may be hours before the rest.
        offset = start - outer.start
        for span in trace.spans if nodes else ():
            if span.kind is not SpanKind.EVAL and span is not outer:
                parent = spans.get(span.parent or outer.id, draft)
                spans[span.id] = parent.add(_recorded(trace, span, offset, about, content))
    losses = {
        score.key: root.add(
            Draft(
                f"loss {score.key}",
                end,
                max(end, event.time),
                partial(_loss, score, about, content),
                Kind.EVALUATOR,
                error=score.error,
                differentiates=draft,
                events=[(at.GEN_AI_EVALUATION_EVENT, _evaluation(score, content))],
            )
        )
        for score in event.scores
    }
    return Forward(draft, spans, losses)


def times(event: ExampleScored) -> tuple[float, float]:
    """When a rollout began and ended, in Unix seconds; a cached one ended when it was found."""
    if event.trace is None or not event.trace.spans:
        return event.time, event.time
    spans = [span for span in event.trace.spans if span.kind is not SpanKind.EVAL]
    first = min((span.start for span in spans), default=0.0)
    last = max((span.end for span in spans), default=0.0)
    start = event.time - (last - first) if event.cached else event.trace.started + first
    return start, start + (last - first)


def _graph(
    trace: Trace | None, outer: Span | None, about: Mapping[str, AttributeValue], content: Content
) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {at.PHASE: "forward", **about}
    if trace is None or outer is None:
        return found
    inputs: JSON = {name: trace.variable_by_id[variable].value for name, variable in trace.inputs.items()}
    shown = content.fields({at.INPUT: inputs, at.OUTPUT: trace.output() if trace.outputs else None})
    return {**shown, **found, at.GRAPH: trace.name, at.TRACE: trace.id, at.SPAN: outer.id}


def _recorded(trace: Trace, span: Span, offset: float, about: Mapping[str, AttributeValue], content: Content) -> Draft:
    model = span.attributes.get("model")
    return Draft(
        f"chat {model if isinstance(model, str) and model else span.name}" if span.kind is SpanKind.LLM else span.name,
        offset + span.start,
        offset + span.end,
        partial(_forward, trace, span, about, content),
        _KINDS.get(span.kind, Kind.CHAIN),
        span.kind is SpanKind.LLM,
        span.error,
    )


def _forward(
    trace: Trace, span: Span, about: Mapping[str, AttributeValue], content: Content
) -> dict[str, AttributeValue]:
    known = span.attributes
    found: dict[str, AttributeValue] = {
        at.PHASE: "forward",
        **about,
        at.SPAN: span.id,
        at.VISIT: span.visit,
        at.NODE: label(span, span.name),
    }
    if span.path:
        found[at.GRAPH_NODE] = "/".join(span.path)
    if len(span.path) > 1:
        found[at.GRAPH_NODE_PARENT] = "/".join(span.path[:-1])
    places = {at.TASK: known.get("task"), at.LANGGRAPH_STEP: known.get("step"), at.RUN_ID: known.get("run_id")}
    found |= {key: value for key, value in places.items() if isinstance(value, str | int)}
    if known.get("replayed"):
        found[at.CACHED] = True
    if span.kind is SpanKind.TOOL:
        found[at.TOOL_NAME] = span.name
    if span.kind is SpanKind.LLM:
        used = (trace.variable_by_id[edge.source].site for edge in trace.edges if edge.span == span.id)
        found[at.PARAMETERS] = tuple(dict.fromkeys(str(site) for site in used if site is not None))
        provider, model = known.get("provider"), known.get("model")
        # An answer from memory was paid for where it was first given: with its tokens a backend would price it again.
        paid = () if known.get("replayed") else ("input_tokens", "output_tokens")
        tokens = [n if isinstance(n, int) else None for n in map(known.get, paid)] or [None, None]
        found |= llm(str(provider or ""), str(model or span.name), *tokens)
    return {**_values(trace, span, content), **found}


def _values(trace: Trace, span: Span, content: Content) -> dict[str, AttributeValue]:
    if not content.enabled:
        return {}
    made: dict[str, JSON] = {variable.id: variable.value for variable in trace.variables if variable.span == span.id}
    if span.kind is SpanKind.LLM:
        sent = span.attributes.get("messages")
        replies: list[JSON] = [message for value in made.values() for message in _list(messages(value, "assistant"))]
        return content.fields({at.GEN_AI_INPUT: messages(sent) if sent else None, at.GEN_AI_OUTPUT: replies or None})
    inside = {span.id}
    for other in trace.spans:
        if other.parent in inside:
            inside.add(other.id)
    used = (trace.variable_by_id[edge.source] for edge in trace.edges if edge.span in inside)
    # A node was given what it and all inside it used and did not make; its prompts are shown on its model calls.
    given: JSON = {v.id: v.value for v in used if v.span not in inside and v.site is None}
    return content.fields({at.INPUT: span.attributes.get("arguments") or given or None, at.OUTPUT: made or None})


def llm(provider: str, model: str, sent: int | None, received: int | None) -> dict[str, AttributeValue]:
    """The attributes of a model call: who was called, and how many tokens went there and came back, where known."""
    found: dict[str, AttributeValue] = {at.GEN_AI_OPERATION: "chat", at.GEN_AI_MODEL: model, at.LLM_MODEL: model}
    if provider:
        found |= {at.GEN_AI_PROVIDER: provider, at.LLM_PROVIDER: provider}
    if sent is not None:
        found |= {at.GEN_AI_INPUT_TOKENS: sent, at.LLM_INPUT_TOKENS: sent}
    if received is not None:
        found |= {at.GEN_AI_OUTPUT_TOKENS: received, at.LLM_OUTPUT_TOKENS: received}
    return found


def _loss(score: Score, about: Mapping[str, AttributeValue], content: Content) -> dict[str, AttributeValue]:
    found = {at.PHASE: "loss", **about, **_evaluation(score, content), at.EVALUATION: score.key}
    if score.value is not None:
        found |= {at.SCORE: float(score.value), at.EVALUATION_SCORE: float(score.value)}
    shown: JSON = {"score": score.value, "comment": score.comment, "expected": score.expected}
    return {**content.fields({at.EVALUATION_EXPLANATION: score.comment, at.OUTPUT: shown}), **found}


def _evaluation(score: Score, content: Content) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {at.GEN_AI_EVALUATION: score.key}
    if score.value is not None:
        found[at.GEN_AI_EVALUATION_SCORE] = float(score.value)
    return {**content.fields({at.GEN_AI_EVALUATION_EXPLANATION: score.comment}), **found}


def label(span: Span | None, name: str) -> str:
    """The node that a Span belongs to, as a person knows it: for a model call its node, not the model."""
    if span is None:
        return name
    return span.path[-1] if span.kind is SpanKind.LLM and span.path else span.name


def outermost(trace: Trace | None) -> Span | None:
    """The Span of the whole run, if there is one."""
    spans = trace.spans if trace else ()
    return next((span for span in spans if span.parent is None and span.kind is not SpanKind.EVAL), None)


def _list(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else [value]
