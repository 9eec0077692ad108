"""The rules of the reverse pass: how feedback on what a Span made becomes feedback on what it used. One table, by kind."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textgrad_lg.autograd import request
from textgrad_lg.autograd.reduce import reduce
from textgrad_lg.gradient import Gradient, GradientCall
from textgrad_lg.templates import clip, fence, fill
from textgrad_lg.types import SpanKind
from textgrad_lg.variable import text_of

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from textgrad_lg.autograd.graph import Pruned
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Edge, Span
    from textgrad_lg.variable import Variable


@dataclass(frozen=True, slots=True)
class Hop:
    """One application of a rule: from the Variable that a Span made to those it used.

    Attributes:
        pruned: The graph.
        target: The Variable that was made.
        feedback: The Gradients on it, from all of its consumers.
    """

    pruned: Pruned
    target: Variable
    feedback: tuple[Gradient, ...]

    @property
    def span(self) -> Span | None:
        """The Span that made the target; None for what entered a subgraph."""
        return self.pruned.trace.span_by_id.get(self.target.span or "")

    @property
    def name(self) -> str:
        """What to call the Span: a model call by where it was made, anything else by its own name."""
        span = self.span
        assert span is not None
        return ("/".join(span.path) if span.kind is SpanKind.LLM else "") or span.name

    @property
    def edges(self) -> dict[str, Edge]:
        """The edges to follow, by source: a source that was used twice by one Span gets its feedback once."""
        found: dict[str, Edge] = {}
        for edge in self.pruned.edges[self.target.id]:
            found.setdefault(edge.source, edge)
        return found

    def gradient(self, edge: Edge, text: str) -> Gradient:
        """A Gradient that this hop's rule has made from all of its feedback."""
        return Gradient(
            variable=edge.source,
            text=clip(text, request.ITEM),
            span=edge.span,
            trace=self.pruned.trace.id,
            example=self.pruned.trace.example,
            score=min((g.score for g in self.feedback if g.score is not None), default=None),
            site=site_of(self.pruned, edge.source),
            weight=max(g.weight for g in self.feedback) * edge.weight,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule made: Gradients in the order of the hop's edges, its model call, and what went wrong in words."""

    gradients: tuple[Gradient, ...] = ()
    call: GradientCall | None = None
    failures: tuple[str, ...] = ()


Rule = Callable[[Hop, request.Critic], Awaitable[Outcome]]


def structural(hop: Hop) -> Outcome:
    """Pass the feedback on unchanged. Every kind of Span without a rule in `RULES` does this, and needs no model."""
    return Outcome(
        tuple(
            replace(
                gradient,
                variable=edge.source,
                span=edge.span,
                site=site_of(hop.pruned, edge.source),
                weight=gradient.weight * edge.weight,
            )
            for edge in hop.edges.values()
            for gradient in hop.feedback
        )
    )


async def llm(hop: Hop, critic: request.Critic) -> Outcome:
    """One request for all of a model call's inputs: what its prompts should ask for, what it should have been given."""
    wanted = _wanted(hop)
    values = {
        **_common(hop, critic),
        "prompts": request.listing([w for w in wanted if w[0].startswith("P")], request.PROMPTS),
        "inputs": request.listing([w for w in wanted if w[0].startswith("V")], request.INPUTS),
        "others": _others(hop, wanted),
        "reply": fence("reply of the call", text_of(hop.target.value), tokens=request.RESULT),
        "wanted": ", ".join(name for name, _ in wanted),
    }
    return await _asked(hop, critic, fill("backward_llm", **values), request.CallFeedback, wanted)


async def tool(hop: Hop, critic: request.Critic) -> Outcome:
    """One request for what made the arguments or the query, and for the description that the caller chose it by."""
    wanted = _wanted(hop)
    span = hop.span
    assert span is not None
    about = {key: span.attributes[key] for key in ("description", "arguments") if key in span.attributes}
    values = {
        **_common(hop, critic),
        "kind": span.kind.value,
        "tool": fence(f"{span.kind} {span.name}", request.lines(about), tokens=request.OTHERS) if about else "",
        "inputs": request.listing(wanted, request.INPUTS),
        "result": fence("its result", span.error or text_of(hop.target.value), tokens=request.RESULT),
        "wanted": ", ".join(name for name, _ in wanted),
    }
    return await _asked(hop, critic, fill("backward_tool", **values), request.Feedback, wanted)


async def function(hop: Hop, critic: request.Critic) -> Outcome:
    """One request, from the function's stated purpose, its inputs and its output."""
    wanted = _wanted(hop)
    values = {
        **_common(hop, critic),
        "purpose": fence("purpose of the function", _purpose(hop), tokens=request.OTHERS),
        "inputs": request.listing(wanted, request.INPUTS),
        "others": _others(hop, wanted),
        "result": fence("its output", text_of(hop.target.value), tokens=request.RESULT),
        "wanted": ", ".join(name for name, _ in wanted),
    }
    return await _asked(hop, critic, fill("backward_function", **values), request.Feedback, wanted)


RULES: Mapping[SpanKind, Rule] = {
    SpanKind.LLM: llm,
    SpanKind.TOOL: tool,
    SpanKind.RETRIEVER: tool,
    SpanKind.FUNCTION: function,
}


def rule_of(hop: Hop) -> Rule | None:
    """The rule that needs a model; None where the hop is structural."""
    span = hop.span
    if span is None or (span.kind is SpanKind.FUNCTION and not _purpose(hop)):
        return None
    return RULES.get(span.kind)


def site_of(pruned: Pruned, variable: str) -> Site | None:
    """The Site of a trainable Parameter, else None."""
    found = pruned.trace.variable_by_id[variable]
    return found.site if found.requires_grad else None


def _wanted(hop: Hop) -> list[tuple[str, Variable]]:
    """What to give feedback on: Parameters as P1, P2, ...; other Variables as V1, V2, ..."""
    sources = [hop.pruned.trace.variable_by_id[source] for source in hop.edges]
    parameters = [variable for variable in sources if variable.requires_grad]
    others = [variable for variable in sources if not variable.requires_grad]
    return [
        (f"{letter}{at}", variable)
        for letter, found in (("P", parameters), ("V", others))
        for at, variable in enumerate(found[-request.MOST :], 1)
    ]


def _common(hop: Hop, critic: request.Critic) -> dict[str, str]:
    sites = [v.site for _, v in _wanted(hop) if v.site is not None and v.requires_grad]
    feedback = reduce(hop.feedback, tokens=request.FEEDBACK)
    return {
        **critic.common(hop.pruned, hop.pruned.seen_by[hop.target.id], sites),
        "input": request.run_input(
            hop.pruned.trace, {edge.source for edge in hop.pruned.trace.incoming[hop.target.id]}
        ),
        "name": hop.name,
        "feedback": fence("feedback on it", feedback, tokens=request.FEEDBACK),
    }


def _others(hop: Hop, wanted: list[tuple[str, Variable]]) -> str:
    """The siblings: what the Span was given besides the texts that feedback is wanted on."""
    trace = hop.pruned.trace
    span = hop.span
    attributes = span.attributes if span else {}
    messages, tools = attributes.get("messages"), attributes.get("tools")
    given = [
        (str(message.get("role", "message")), text_of(message).strip())
        for message in (messages if isinstance(messages, list) else [])
        if isinstance(message, dict) and "content" in message
    ]
    sources = [trace.variable_by_id[edge.source] for edge in trace.incoming[hop.target.id]]
    given += [(variable.role, text_of(variable.value).strip()) for variable in sources]
    shown = [text_of(variable.value) for _, variable in wanted]
    lines: list[str] = []
    for role, text in given:
        if not any(text in other for other in shown):
            shown.append(text)
            lines.append(f"{role}: {text}")
    if tools:
        lines.append(f"tools it could call: {json.dumps(tools, ensure_ascii=False, sort_keys=True)}")
    return fence("the rest of what it was given", "\n".join(lines), tokens=request.OTHERS) if lines else ""


async def _asked(
    hop: Hop,
    critic: request.Critic,
    messages: list[BaseMessage],
    schema: type[request.CallFeedback | request.Feedback],
    wanted: list[tuple[str, Variable]],
) -> Outcome:
    """Ask, and turn the reply into Gradients; where that fails, the feedback is passed on as it is."""
    span = hop.span
    assert span is not None
    where = f"`{hop.name}` ({span.id})"
    said, call = await critic.ask(span.id, messages, schema)
    if said is None:
        passed = structural(hop).gradients
        return Outcome(passed, call, (f"{where}: {call.error} Its feedback was passed on unchanged.",))
    criticisms = [*said.about_this, *said.about_inputs] if isinstance(said, request.CallFeedback) else said.feedback
    texts, unknown = request.by_id(criticisms, [name for name, _ in wanted])
    names = {variable.id: name for name, variable in wanted}
    gradients = tuple(
        hop.gradient(edge, texts[names[source]])
        for source, edge in hop.edges.items()
        if source in names and names[source] in texts
    )
    failures = [f"{where}: the model gave feedback on {', '.join(unknown)}, which it was not shown"] if unknown else []
    if left := len(hop.edges) - len(wanted):
        failures.append(f"{where}: {left} of its inputs were too many to ask about and got no feedback")
    return Outcome(gradients, call, tuple(failures))


def _purpose(hop: Hop) -> str:
    return str(hop.span.attributes.get("purpose") or "") if hop.span else ""
