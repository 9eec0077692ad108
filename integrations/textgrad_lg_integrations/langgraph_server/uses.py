"""Where an assistant's Parameters were used in a run: in the calls whose messages hold their text, or possibly anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from textgrad_lg.record.evidence import SHORTEST, Facts, confirm
from textgrad_lg.trace import CANDIDATE, CONFIRMED, Edge, Span, Trace
from textgrad_lg.types import SpanKind
from textgrad_lg.variable import Variable
from textgrad_lg_integrations.langgraph_server.plain import entries, items

if TYPE_CHECKING:
    from textgrad_lg.types import JSON
    from textgrad_lg_integrations.langgraph_server.fields import Field


def with_fields(trace: Trace, fields: Sequence[Field], values: Mapping[str, JSON]) -> Trace:
    """The Trace with the fields of the context that the run was given as Parameters.

    A field is linked to the reply of each model call that was sent its text. One that was sent to none may have been
    used in another form: it is a candidate for all replies, or for those in the nodes that are said to read it; where the
    stream shows no model call, for the output.

    Args:
        trace: The run, as its events tell it.
        fields: The assistant's fields.
        values: What the run was given for them.
    """
    calls = [span for span in trace.spans if span.kind is SpanKind.LLM]
    sent = {span.id: Facts(_content(span)) for span in calls}
    replies = {variable.span: variable.id for variable in trace.variables if variable.span in sent}
    sites: dict[str, dict[int, str]] = {}
    edges: list[Edge] = list(trace.edges)
    parameters: list[Variable] = []
    for field in fields:
        text = str(values.get(field.name, field.template.text))
        role = f"field `{field.name}` of the context"
        name = f"context.{field.name}"
        parameters.append(Variable(name, text, role, site=field.site))
        pieces = _pieces(text, field.template.slots)
        users = [span for span in calls if pieces and all(confirm(piece, sent[span.id]) for piece in pieces)]
        for span in users:
            if span.id in replies:
                edges.append(Edge(name, replies[span.id], span.id, CONFIRMED, "text"))
            for at, message in enumerate(_messages(span)):
                if all(confirm(piece, Facts(message.get("content"))) for piece in pieces):
                    sites.setdefault(span.id, {})[at] = str(field.site)
        if not users:
            near = [span for span in calls if set(span.path) & set(field.nodes)] or calls
            targets = [(replies[span.id], span.id) for span in near if span.id in replies]
            targets = targets or [(made, trace.spans[0].id) for made in dict.fromkeys(trace.outputs.values())]
            edges += [Edge(name, made, span, CANDIDATE, "channel") for made, span in targets]
    # The messages are no Parameters of their own: a deployed graph takes a new text by its context and by nothing else.
    variables = (*parameters, *(replace(variable, site=None) for variable in trace.variables))
    order = {variable.id: at for at, variable in enumerate(variables)}
    edges.sort(key=lambda edge: (order[edge.target], order[edge.source]))
    spans = tuple(_marked(span, sites.get(span.id, {})) for span in trace.spans)
    return replace(trace, spans=spans, variables=variables, edges=tuple(edges))


def _pieces(text: str, slots: Sequence[str]) -> list[Facts]:
    """What is to be found again of a text: what stands between its slots."""
    if not slots:
        return [Facts(text)] if text.strip() else []
    parts = re.split(r"\{(?:" + "|".join(map(re.escape, slots)) + r")\}", text)
    return [Facts(part.strip()) for part in parts if len(part.strip()) >= SHORTEST]


def _messages(span: Span) -> list[dict[str, JSON]]:
    return [entries(message) for message in items(span.attributes.get("messages"))]


def _content(span: Span) -> list[JSON]:
    return [message.get("content") for message in _messages(span)]


def _marked(span: Span, sites: Mapping[int, str]) -> Span:
    """A call's Span with the Sites of its messages: those of the fields they hold, and no others."""
    if span.kind is not SpanKind.LLM:
        return span
    messages: list[JSON] = []
    for at, message in enumerate(_messages(span)):
        plain = {key: value for key, value in message.items() if key != "site"}
        messages.append({**plain, "site": sites[at]} if at in sites else plain)
    return replace(span, attributes={**span.attributes, "messages": messages})
