"""What requests for proposals have in common: the words for a Parameter, its limits, its feedback and its past."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from textgrad_lg.autograd.reduce import reduce
from textgrad_lg.autograd.request import ITEM
from textgrad_lg.descriptions import is_description, purpose, title
from textgrad_lg.errors import TemplateError
from textgrad_lg.optim.checks import asked
from textgrad_lg.optim.edit import frozen_spans, keep_margins
from textgrad_lg.templates import clip, fence, named, tokens_in
from textgrad_lg.update import Update

if TYPE_CHECKING:
    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import Attempt, StepContext
    from textgrad_lg.optim.edit import EditLimits
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site

LONGEST = 60_000
"""Characters: the longest text that is sent to be edited. A model that has not seen the middle of a text cannot keep it."""
_FEEDBACK, _ATTEMPT, _EXAMPLES, _FROZEN = 1_200, 150, 2_000, 1_000
"""Hard caps in tokens: all feedback on one Parameter, one earlier edit, all in-context examples, all frozen passages."""


class Asks(Protocol):
    """A proposer that asks a model for new versions of one text."""

    @property
    def alternatives(self) -> int:
        """How many versions to ask for."""
        ...

    @property
    def constraints(self) -> Sequence[str]:
        """What every version must meet, in the user's words."""
        ...

    @property
    def in_context_examples(self) -> Sequence[str]:
        """Examples of good texts, in the user's words."""
        ...

    @property
    def limits(self) -> EditLimits:
        """What code refuses, as far as the request says so."""
        ...


def describe(site: Site) -> str:
    """What the Parameter is, in words a model can use: "system prompt of `planner`"."""
    if site.is_setting:
        return f"setting {site.role} of `{'/'.join(site.node)}`"
    if site.context_field:
        return f"field {site.context_field} of the context"
    if is_description(site):
        return f"{title(site)}, which a model reads to decide {purpose(site)}"
    of = named("/".join(site.path))
    agent = f" of the agent `{named(site.agent)}`" if site.agent else ""
    which = f" number {site.index + 1}" if site.index else ""
    return f"{site.role} prompt{which} of `{of}`{agent}" if of else f"{site.role} prompt{which}{agent}"


def whole(site: Site, template: Template, longest: int, *, to: str, cure: str = "") -> None:
    """Check that the text may be sent whole.

    Raises:
        TemplateError: It is longer than `longest` characters.
    """
    if len(template.text) > longest:
        raise TemplateError(
            f"the text of {site} has {len(template.text)} characters, and at most {longest} are sent to be {to}; "
            f"split the prompt{f', or raise {cure}' if cure else ''}"
        )


def purposed(goal: str) -> str:
    """The goal, introduced; empty where there is none."""
    return f"What the application is for: {goal}" if goal else ""


def quoted(label: str, text: str) -> str:
    """A Parameter's text, whole and as data."""
    return fence(label, text, tokens=tokens_in(text), exact=True)


def kept(template: Template, limits: EditLimits) -> str:
    """What a new text must keep: its slots, and what the user's patterns freeze in it. What is marked shows itself."""
    slots = listed("Slots, which the application fills in; keep each of them", [f"{{{s}}}" for s in template.slots])
    spans = (
        [template.text[start:end] for start, end in frozen_spans(template.text, limits.frozen)] if limits.frozen else []
    )
    passages = "\n".join(dict.fromkeys(spans))
    if not passages:
        return slots
    told = f"Passages that must stay exactly as they are:\n{fence('frozen', passages, tokens=_FROZEN, exact=True)}"
    return "\n\n".join(part for part in (slots, told) if part)


def blamed(gradients: Sequence[Gradient], tokens: int = _FEEDBACK) -> str:
    """The feedback, merged and as data; empty where there is none."""
    feedback = reduce(gradients, tokens=tokens, each=ITEM)
    return fence("feedback, the most pressing first", feedback, tokens=tokens) if feedback else ""


def tried(attempts: Iterable[Attempt]) -> str:
    """Earlier edits, what came of each, and the lines that each changed."""
    return "\n".join(map(_told, attempts))


def ruled(constraints: Sequence[str], limits: EditLimits) -> str:
    """What the user asks of every new text, the rules that code checks included."""
    return listed("Constraints", [*constraints, *asked(limits.checks)])


def exemplified(examples: Sequence[str]) -> str:
    """Examples of good texts, bounded."""
    return clip(listed("Examples of good texts", examples), _EXAMPLES)


def listed(heading: str, items: Sequence[str]) -> str:
    """The items under a heading; empty where there are none."""
    return "\n".join([f"{heading}:", *(f"- {item}" for item in items)]) if items else ""


def counted(alternatives: int, of: str = "alternative version") -> str:
    """How many are wanted: "4 alternative versions"."""
    return f"one {of.replace('alternative', 'new')}" if alternatives == 1 else f"{alternatives} {of}s"


def update(
    site: Site, template: Template, text: str, *, why: str, proposer: str, gradients: Iterable[Gradient] = ()
) -> Update:
    """An Update to `text`, with the margins of the old text."""
    new = replace(template, text=keep_margins(template.text, text))
    return Update(site, template, new, why, proposer, tuple(dict.fromkeys(gradient.id for gradient in gradients)))


def common(site: Site, template: Template, context: StepContext, limits: EditLimits) -> dict[str, str]:
    """The values that every request on one text has."""
    return {
        "role": describe(site),
        "goal": purposed(context.goal),
        "text": quoted("the text now", template.text),
        "slots": kept(template, limits),
        "longest": str(limits.at(site).longest(template, context.own_text(site))),
    }


def revision(
    asks: Asks,
    site: Site,
    template: Template,
    gradients: Sequence[Gradient],
    context: StepContext,
    *,
    attempts: Iterable[Attempt] | None = None,
    of: str = "alternative version",
) -> dict[str, str]:
    """The values that every request for new versions of one text has.

    Args:
        asks: Who asks.
        site: The Parameter.
        template: Its text in force.
        gradients: The feedback on it.
        context: The step.
        attempts: The earlier edits to tell of; default: all of the context's on this Parameter.
        of: What is wanted, one of it.
    """
    told = [attempt for attempt in context.attempts if attempt.update.site == site] if attempts is None else attempts
    return {
        **common(site, template, context, asks.limits),
        "feedback": blamed(gradients),
        "tried": tried(told),
        "constraints": ruled(asks.constraints, asks.limits),
        "examples": exemplified(asks.in_context_examples),
        "count": counted(asks.alternatives, of),
    }


def _told(attempt: Attempt) -> str:
    """One earlier edit: what came of it, and the lines that it changed, as data."""
    old, new = attempt.update.old, attempt.update.new
    diff = list(difflib.unified_diff(old.text.splitlines(), new.text.splitlines(), lineterm="", n=0))
    lines = [line for line in diff[2:] if not line.startswith("@@")]  # the first two name the files
    if old.demos != new.demos:
        lines.append(f"({len(new.demos)} demonstrations in place of {len(old.demos)})")
    verdict = "accepted" if attempt.accepted else "rejected"
    # The reason may quote a refused text, so it stands inside the fence too.
    said = "\n".join([f"reason: {attempt.reason}", *lines])
    return f"An edit tried before {changed(attempt)}; it was {verdict}.\n{fence('that edit', said, tokens=_ATTEMPT)}"


def changed(attempt: Attempt) -> str:
    """What an edit did to the score, in words."""
    return "was not run" if attempt.change is None else f"changed the mean score by {attempt.change:+.3f}"
