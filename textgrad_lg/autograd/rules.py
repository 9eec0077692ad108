"""The rules of the reverse pass: how feedback on what a Span made becomes feedback on what it used. One table, by kind."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textgrad_lg.autograd import choices, request
from textgrad_lg.autograd.evidence import likeliest
from textgrad_lg.autograd.images import with_images
from textgrad_lg.autograd.reduce import reduce
from textgrad_lg.gradient import Gradient, GradientCall
from textgrad_lg.templates import clip, fence, fill, named
from textgrad_lg.types import SpanKind
from textgrad_lg.variable import is_image, readable, text_of

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
        return clip(named(("/".join(span.path) if span.kind is SpanKind.LLM else "") or span.name), request.NAME)

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


_FORMS = {
    "tools": "tools it could call",
    **dict.fromkeys(("response_format", "output_config", "response_json_schema"), "the form that its reply must have"),
}
"""Attributes of a model call that say what it was given beside its messages, in words."""

_DECIDED = (
    "The reply also decided what ran next. If another choice would have served better, say of the call's prompts in which case "
    "to choose what. If the choice was right, what went wrong after it is no fault of this call."
)

_TELLING = 20
"""Characters from which a text that stands in another one is taken for a part of it: a short one stands there by chance."""

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
    parameters = [item for item in wanted if item[0].startswith("P")]
    values = {
        **_common(hop, critic, wanted),
        "prompts": f"{request.listing(parameters, critic.excerpt or request.PROMPTS)}\n\n{request.explained(parameters)}".strip(),
        "inputs": request.listing([w for w in wanted if w[0].startswith("V")], critic.excerpt or request.INPUTS),
        "others": _others(hop, wanted),
        "reply": fence("reply of the call", text_of(hop.target.value), tokens=request.RESULT),
        "decided": choices.part(
            _DECIDED, "what the reply decided", choices.lines(hop.pruned, choices.chosen_by(hop.pruned, hop.target.id))
        ),
        "wanted": ", ".join(name for name, _ in wanted),
    }
    return await _asked(hop, critic, fill("backward_llm", **values), request.CallFeedback, wanted)


async def tool(hop: Hop, critic: request.Critic) -> Outcome:
    """One request for what made the arguments or the query, and for the description that the caller chose it by."""
    wanted = _wanted(hop)
    span = hop.span
    assert span is not None
    about = request.lines(
        {key: span.attributes[key] for key in ("description", "arguments") if key in span.attributes}, request.OTHERS
    )
    values = {
        **_common(hop, critic, wanted),
        **_shown(hop, critic, wanted, about),
        "kind": span.kind.value,
        "tool": fence(f"{span.kind} {span.name}", about, tokens=request.OTHERS) if about else "",
        "result": fence("its result", span.error or text_of(hop.target.value), tokens=request.RESULT),
    }
    return await _asked(hop, critic, fill("backward_tool", **values), request.Feedback, wanted)


async def function(hop: Hop, critic: request.Critic) -> Outcome:
    """One request, from the function's stated purpose, its inputs and its output."""
    wanted = _wanted(hop)
    values = {
        **_common(hop, critic, wanted),
        **_shown(hop, critic, wanted),
        "purpose": fence("purpose of the function", _purpose(hop), tokens=request.OTHERS),
        "result": fence("its output", text_of(hop.target.value), tokens=request.RESULT),
    }
    return await _asked(hop, critic, fill("backward_function", **values), request.Feedback, wanted)


async def evaluation(hop: Hop, critic: request.Critic) -> Outcome:
    """One request, from what the evaluation is for, what it was given and what it said: what would have made it better."""
    wanted = _wanted(hop)
    common = _common(hop, critic, wanted)
    values = {
        **{key: common[key] for key in ("input", "name", "tried")},
        **_shown(hop, critic, wanted),
        "purpose": fence("what the evaluation is for", _purpose(hop), tokens=request.OTHERS),
        "result": fence("what the evaluation said", text_of(hop.target.value), tokens=request.RESULT),
    }
    return await _asked(hop, critic, fill("backward_eval", **values), request.Feedback, wanted)


RULES: Mapping[SpanKind, Rule] = {
    SpanKind.LLM: llm,
    SpanKind.TOOL: tool,
    SpanKind.RETRIEVER: tool,
    SpanKind.FUNCTION: function,
    SpanKind.EVAL: evaluation,
}


def rule_of(hop: Hop) -> Rule | None:
    """The rule that needs a model; None where the hop is structural."""
    span = hop.span
    if span is None or (span.kind in {SpanKind.FUNCTION, SpanKind.EVAL} and not _purpose(hop)):
        return None
    # A tool that hands over to another step made nothing of its own: its caller's choice is what there is to criticise.
    return None if choices.hands_over(hop.target.value) and span.kind is SpanKind.TOOL else RULES.get(span.kind)


def site_of(pruned: Pruned, variable: str) -> Site | None:
    """The Site of a trainable Parameter, else None."""
    found = pruned.trace.variable_by_id[variable]
    return found.site if found.requires_grad else None


def _wanted(hop: Hop) -> list[tuple[str, Variable]]:
    """What to give feedback on: Parameters as P1, P2, ...; other Variables as V1, V2, ..."""
    sources = [hop.pruned.trace.variable_by_id[source] for source in hop.edges]
    parameters = [variable for variable in sources if variable.requires_grad]
    others = [variable for variable in sources if not variable.requires_grad]
    verdicts = [hop.pruned.seeds[at].text for at in hop.pruned.seen_by[hop.target.id]]
    said = "\n".join([*(gradient.text for gradient in hop.feedback), *verdicts])
    made = text_of(hop.target.value)
    return [
        (f"{letter}{at}", variable)
        for letter, found in (("P", parameters), ("V", others))
        for at, variable in enumerate(likeliest(found, said, made, most=request.MOST), 1)
    ]


def _common(hop: Hop, critic: request.Critic, wanted: list[tuple[str, Variable]]) -> dict[str, str]:
    sites = [v.site for _, v in wanted if v.site is not None and v.requires_grad]
    feedback = reduce(hop.feedback, tokens=request.FEEDBACK)
    return {
        **critic.common(hop.pruned, hop.pruned.seen_by[hop.target.id], sites),
        "input": request.run_input(
            hop.pruned.trace, {edge.source for edge in hop.pruned.trace.incoming[hop.target.id]}
        ),
        "name": hop.name,
        "feedback": fence("feedback on it", feedback, tokens=request.FEEDBACK),
    }


def _shown(hop: Hop, critic: request.Critic, wanted: list[tuple[str, Variable]], about: str = "") -> dict[str, str]:
    """What a request about a Span that is no model call shows of what the Span was given, and asks for."""
    return {
        "inputs": request.listing(wanted, critic.excerpt or request.INPUTS),
        "others": _others(hop, wanted, about),
        "wanted": ", ".join(name for name, _ in wanted),
    }


def _others(hop: Hop, wanted: list[tuple[str, Variable]], about: str = "") -> str:
    """The siblings: what the Span was given besides the texts that feedback is wanted on, and what is told `about` it."""
    trace = hop.pruned.trace
    span = hop.span
    attributes = span.attributes if span else {}
    messages = attributes.get("messages")
    forms = [(words, attributes[key]) for key, words in _FORMS.items() if attributes.get(key)]
    given = [
        (str(message.get("role", "message")), text_of(message).strip())
        for message in (messages if isinstance(messages, list) else [])
        if isinstance(message, dict) and "content" in message
    ]
    sources = [trace.variable_by_id[edge.source] for edge in trace.incoming[hop.target.id]]
    given += [(variable.role, text_of(variable.value).strip()) for variable in sources if not is_image(variable.value)]
    given = [(role, readable(text)) for role, text in given]
    shown = [about, *(text_of(variable.value) for _, variable in wanted)]
    lines: list[str] = []
    # What a model was given stands in its messages. Of other Spans nothing says that a short text is part of a longer one.
    least = 0 if messages else _TELLING
    for role, text in given:
        if not any(text == other or (len(text) >= least and text in other) for other in shown):
            shown.append(text)
            lines.append(f"{role}: {text}")
    lines += [f"{words}: {json.dumps(form, ensure_ascii=False, sort_keys=True)}" for words, form in forms]
    rest = request.joined(lines, request.OTHERS)
    return fence("the rest of what it was given", rest, tokens=request.OTHERS) if rest else ""


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
    sources = (hop.pruned.trace.variable_by_id[edge.source] for edge in hop.pruned.trace.incoming[hop.target.id])
    messages = with_images(messages, [(source.role, source.value) for source in sources])
    said, call = await critic.ask(span.id, messages, schema)
    if said is None:
        passed = structural(hop).gradients
        return Outcome(passed, call, (f"{where}: {call.error} Its feedback was passed on unchanged.",))
    names = {variable.id: name for name, variable in wanted}
    texts, unknown = _sorted(said, tuple(names.values()))
    misplaced = [name for name in unknown if name in names.values()]
    unknown = [name for name in unknown if name not in misplaced]
    gradients = tuple(
        hop.gradient(edge, texts[names[source]])
        for source, edge in hop.edges.items()
        if source in names and names[source] in texts
    )
    failures = [f"{where}: the model gave feedback on {', '.join(unknown)}, which it was not shown"] if unknown else []
    if misplaced:
        failures.append(
            f"{where}: the model put feedback on {', '.join(misplaced)} under the wrong heading: it is not clear whether the "
            "prompts or the inputs are meant, and it was left out"
        )
    if left := len(hop.edges) - len(wanted):
        failures.append(f"{where}: {left} of its inputs were too many to ask about and got no feedback")
    return Outcome(gradients, call, tuple(failures))


def _sorted(said: request.CallFeedback | request.Feedback, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The feedback by id, and the ids that have no place where they stand: a prompt's among the inputs, or not shown at all.

    What is about the prompts stays with them, and only what is about the inputs goes upstream. Feedback whose heading and
    id contradict each other is used for neither, so that no prompt is blamed for what its call was given.
    """
    if isinstance(said, request.Feedback):
        return request.by_id(said.feedback, names)
    this, strange = request.by_id(said.about_this, [name for name in names if name.startswith("P")])
    given, stranger = request.by_id(said.about_inputs, [name for name in names if name.startswith("V")])
    return {**this, **given}, [*strange, *stranger]


def _purpose(hop: Hop) -> str:
    return str(hop.span.attributes.get("purpose") or "") if hop.span else ""
