"""Rewrite: new versions of the text, written by a model in one structured call."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from textgrad_lg.autograd.reduce import reduce
from textgrad_lg.errors import TemplateError
from textgrad_lg.llm import ask
from textgrad_lg.optim.edit import EditLimits, keep_margins
from textgrad_lg.templates import clip, fence, fill, tokens_in
from textgrad_lg.update import Update

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import Attempt, StepContext
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site

_FEEDBACK, _ATTEMPT, _EXAMPLES = 1_200, 150, 2_000
"""Hard caps in tokens: all feedback, one earlier edit, all in-context examples."""


class Alternative(BaseModel):
    """One new version of the text."""

    why: str = Field(description="Why this version answers the feedback, in one or two sentences.")
    text: str = Field(description="The whole new text.")


class Alternatives(BaseModel):
    """New versions of the text, the most promising one first."""

    alternatives: list[Alternative]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Asks the model for several new versions at once, in one call for each Parameter.

    What comes back is not checked here: the optimizer refuses what `edit.check` refuses, and says so.

    Attributes:
        alternatives: How many versions to ask for.
        constraints: What every version must meet, in the user's words.
        in_context_examples: Examples of good texts, in the user's words.
        limits: States the length limit in the request.
        longest: The longest text that is sent to be rewritten, in characters. A text is sent whole or not at all: a model
            that has not seen the middle of a text cannot keep it.
    """

    alternatives: int = 4
    constraints: Sequence[str] = ()
    in_context_examples: Sequence[str] = ()
    limits: EditLimits = field(default_factory=EditLimits)
    longest: int = 60_000

    @property
    def name(self) -> str:
        """The name that the journal and the report give it."""
        return "rewrite"

    async def propose(
        self, site: Site, template: Template, gradients: tuple[Gradient, ...], context: StepContext
    ) -> tuple[Update, ...]:
        """Propose what the model writes; nothing where there is no model.

        Raises:
            ModelError: The call failed for good.
            TemplateError: The text is longer than `longest`.
            BudgetExhausted: The call was not admitted.
        """
        if context.model is None:
            return ()
        if len(template.text) > self.longest:
            raise TemplateError(
                f"the text of {site} has {len(template.text)} characters, and at most {self.longest} are sent to be "
                "rewritten; split the prompt, or raise Rewrite(longest=...)"
            )
        reply = await ask(context.model, self.request(site, template, gradients, context), Alternatives)
        asked = tuple(dict.fromkeys(gradient.id for gradient in gradients))
        return tuple(
            Update(
                site, template, replace(template, text=keep_margins(template.text, new.text)), new.why, self.name, asked
            )
            for new in reply.value.alternatives[: self.alternatives]
        )

    def request(
        self, site: Site, template: Template, gradients: Sequence[Gradient], context: StepContext
    ) -> list[BaseMessage]:
        """The request, as it is sent."""
        feedback = reduce(gradients, tokens=_FEEDBACK)
        return fill(
            "rewrite",
            role=describe(site),
            goal=f"What the application is for: {context.goal}" if context.goal else "",
            text=fence("the text now", template.text, tokens=tokens_in(template.text)),
            slots=_titled(
                "Slots, which the application fills in; keep each of them", [f"{{{s}}}" for s in template.slots]
            ),
            feedback=fence("feedback, the most pressing first", feedback, tokens=_FEEDBACK) if feedback else "",
            tried="\n".join(_told(attempt) for attempt in context.attempts if attempt.update.site == site),
            constraints=_titled("Constraints", self.constraints),
            examples=clip(_titled("Examples of good texts", self.in_context_examples), _EXAMPLES),
            count="one new version" if self.alternatives == 1 else f"{self.alternatives} alternative versions",
            longest=str(self.limits.longest(template)),
        )


def describe(site: Site) -> str:
    """What the Parameter is, in words a model can use: "system prompt of `planner`"."""
    of = "/".join(site.path)
    agent = f" of the agent `{site.agent}`" if site.agent else ""
    which = f" number {site.index + 1}" if site.index else ""
    return f"{site.role} prompt{which} of `{of}`{agent}" if of else f"{site.role} prompt{which}{agent}"


def _titled(title: str, items: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"- {item}" for item in items)]) if items else ""


def _told(attempt: Attempt) -> str:
    """One earlier edit: what came of it, and the lines that it changed, as data."""
    old, new = attempt.update.old, attempt.update.new
    diff = list(difflib.unified_diff(old.text.splitlines(), new.text.splitlines(), lineterm="", n=0))
    lines = [line for line in diff[2:] if not line.startswith("@@")]  # the first two name the files
    if old.demos != new.demos:
        lines.append(f"({len(new.demos)} demonstrations in place of {len(old.demos)})")
    change = "was not run" if attempt.change is None else f"changed the mean score by {attempt.change:+.3f}"
    verdict = "accepted" if attempt.accepted else "rejected"
    # The reason may quote a refused text, so it stands inside the fence too.
    said = "\n".join([f"reason: {attempt.reason}", *lines])
    return f"An edit tried before {change}; it was {verdict}.\n{fence('that edit', said, tokens=_ATTEMPT)}"
