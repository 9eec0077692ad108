"""Steps as spans: the Updates that were proposed with what each gate said, and the rollouts that no one looks into."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.backward import MAX_IDS
from textgrad_lg_tracing.draft import Draft
from textgrad_lg_tracing.rollouts import times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue

    from textgrad_lg.events import Committed, ExampleScored, Gated
    from textgrad_lg.prompt import Template
    from textgrad_lg.types import JSON
    from textgrad_lg.update import Update
    from textgrad_lg_tracing.content import Content


@dataclass
class Edit:
    """An Update and what became of it.

    Attributes:
        update: The Update.
        start: Unix time in seconds at which it was first heard of.
        gates: What was said of it, in order.
        committed: Its commit, if it came to that.
    """

    update: Update
    start: float
    gates: list[Gated] = field(default_factory=list["Gated"])
    committed: Committed | None = None


@dataclass
class Group:
    """Rollouts of one candidate for one purpose, each as one span: the Traces are not kept.

    Attributes:
        phase: "validate" or "test".
        candidate: The hash of the texts they were run with.
        rollouts: The rollouts, without their Traces, and when each began and ended.
    """

    phase: str
    candidate: str
    rollouts: list[tuple[ExampleScored, float, float]] = field(
        default_factory=list["tuple[ExampleScored, float, float]"]
    )

    def add(self, event: ExampleScored) -> None:
        """Add a rollout."""
        self.rollouts.append((replace(event, trace=None), *times(event)))

    def draft(self) -> Draft:
        """The group as a span, with one below it for each rollout."""
        group = Draft(self.phase, self.rollouts[0][1], self.rollouts[0][2])
        for event, start, end in self.rollouts:
            group.add(Draft("rollout", start, end, partial(self._rollout, event), error=event.error))
        group.cover()
        group.attributes = self._attributes
        return group

    def _attributes(self) -> dict[str, AttributeValue]:
        means = [mean for event, _, _ in self.rollouts if (mean := _mean(event)) is not None]
        return {**self._about(), at.EXAMPLE_COUNT: len(self.rollouts), **_score(_average(means))}

    def _rollout(self, event: ExampleScored) -> dict[str, AttributeValue]:
        scores = json.dumps({score.key: score.value for score in event.scores}, ensure_ascii=False)
        about = {at.EXAMPLE: event.example, at.CACHED: event.cached, at.SCORES: scores}
        return {**self._about(), **about, **_score(_mean(event))}

    def _about(self) -> dict[str, AttributeValue]:
        return {at.PHASE: self.phase, at.CANDIDATE: self.candidate}


def key(update: Update) -> tuple[str, str, str, str]:
    """What tells Updates apart."""
    return str(update.site), update.old.hash, update.new.hash, update.proposer


def edit(found: Edit, gradients: Mapping[str, str], content: Content) -> Draft:
    """The Update as a span, with one below it for each gate it came to.

    Args:
        found: The Update and what became of it.
        gradients: The texts of the step's Gradients by their ids.
        content: What of the content may be shown.
    """
    draft = Draft(f"update {found.update.site}", found.start, found.start)
    draft.attributes = partial(_edit, found, gradients, content)
    start = found.start
    for gated in found.gates:
        draft.add(Draft(f"gate {gated.gate}", start, gated.time, partial(_gate, gated, found.update, content)))
        start = gated.time
    if found.committed is not None:
        about = partial(_commit, found.committed)
        draft.add(Draft(f"commit {found.committed.name}", start, max(start, found.committed.time), about))
    draft.cover()
    return draft


def _edit(found: Edit, gradients: Mapping[str, str], content: Content) -> dict[str, AttributeValue]:
    update = found.update
    about: dict[str, AttributeValue] = {
        at.PHASE: "optimize",
        at.PARAMETER: str(update.site),
        at.HASH_BEFORE: update.old.hash,
        at.HASH_AFTER: update.new.hash,
        at.PROPOSER: update.proposer,
        at.GRADIENT_COUNT: len(update.gradients),
        at.GRADIENT_IDS: update.gradients[:MAX_IDS],
        at.GEN_AI_PROMPT: str(update.site),
        at.DECISION: _decision(found),
    }
    if update.traces:
        about[at.GRADIENT_TRACES] = update.traces[:MAX_IDS]
    if found.gates:
        about |= _gate(found.gates[-1], update, content)
    if found.committed is not None:
        about |= _commit(found.committed)
    asked: list[JSON] = [gradients[name] for name in update.gradients if name in gradients]
    old: JSON = {**_template(update.old), "gradients": asked}
    return {**content.fields({at.INPUT: old, at.OUTPUT: {**_template(update.new), "why": update.why}}), **about}


def _decision(found: Edit) -> str:
    if found.committed is not None:
        return "committed"
    if not found.gates:
        return "untested"
    last = found.gates[-1]
    # An Update that passed the minibatch, and no other gate, was overtaken by a better one or by the end of the run.
    return "rejected" if not last.accepted else "accepted" if last.gate == "validation" else "undecided"


def _commit(committed: Committed) -> dict[str, AttributeValue]:
    version = str(committed.version)
    found: dict[str, AttributeValue] = {
        at.PHASE: "optimize",
        at.PARAMETER: str(committed.update.site),
        at.HASH_BEFORE: committed.update.old.hash,
        at.HASH_AFTER: committed.update.new.hash,
        at.VERSION: version,
        at.LABEL: committed.label,
        at.GEN_AI_PROMPT: committed.name,
        at.GEN_AI_PROMPT_VERSION: version,
        at.PROMPT_TEMPLATE_VERSION: version,
    }
    return found if committed.before is None else {**found, at.VERSION_BEFORE: str(committed.before)}


def _gate(gated: Gated, update: Update, content: Content) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {at.PHASE: "optimize", at.GATE: gated.gate, at.ACCEPTED: gated.accepted}
    found[at.GATE_N] = gated.n
    means = ((at.GATE_BEFORE, gated.before), (at.GATE_AFTER, gated.after))
    for name, value in (*means, (at.GATE_P, gated.p_value), (at.GATE_ALPHA, gated.alpha)):
        if value is not None:
            found[name] = float(value)
    others = tuple(str(other.site) for other in (gated.update, *gated.together) if key(other) != key(update))
    if others:
        found[at.TOGETHER] = others
    if not gated.accepted:
        # The reason in words may quote the text that was refused; without content, the gate's name stands for it.
        found |= {at.REJECT_REASON: gated.gate, **content.fields({at.REJECT_REASON: gated.reason})}
    return found


def _template(template: Template) -> dict[str, JSON]:
    demos: list[JSON] = [{"inputs": dict(demo.inputs), "output": demo.output} for demo in template.demos]
    return {"text": template.text, **({"demos": demos} if demos else {})}


def _mean(event: ExampleScored) -> float | None:
    return _average([score.value for score in event.scores if score.value is not None])


def _average(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _score(mean: float | None) -> dict[str, AttributeValue]:
    return {} if mean is None else {at.SCORE: float(mean)}
