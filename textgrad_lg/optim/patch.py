"""Patch: edits on parts of a long text, written by a model and applied by code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from textgrad_lg.optim import words
from textgrad_lg.optim.base import Proposals
from textgrad_lg.optim.edit import EditLimits, frozen_spans
from textgrad_lg.optim.mend import placed
from textgrad_lg.optim.sections import Edit, apply, sections
from textgrad_lg.optim.words import LONGEST
from textgrad_lg.templates import fence, fill

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import StepContext
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site
    from textgrad_lg.update import Update

_LISTED = 4_000
"""Hard cap in tokens of the list of sections."""
_BEGINNING = 60
"""Characters of each section that the list shows."""


class Patched(BaseModel):
    """One way to answer the feedback."""

    why: str = Field(description="Why these edits answer the feedback, in one or two sentences.")
    edits: list[Edit] = Field(description="The edits; no two may touch the same words.")


class Patches(BaseModel):
    """Alternative ways to answer the feedback, the most promising one first."""

    alternatives: list[Patched]


@dataclass(frozen=True, slots=True)
class Patch:
    """Asks the model for edits on named sections or exact quotes; what no edit names stays byte for byte.

    An edit whose place is not found exactly once is sent back with the reason, once; an alternative that still has one is
    left out, and told of as a failure.

    Attributes:
        alternatives: How many sets of edits to ask for, each a text of its own.
        constraints: What every new text must meet, in the user's words.
        in_context_examples: Examples of good texts, in the user's words.
        limits: States the length limit in the request, and what is frozen.
        longest: The longest text that is sent to be edited, in characters.
    """

    alternatives: int = 4
    constraints: Sequence[str] = ()
    in_context_examples: Sequence[str] = ()
    limits: EditLimits = field(default_factory=EditLimits)
    longest: int = LONGEST

    @property
    def name(self) -> str:
        """The name that the journal and the report give it."""
        return "patch"

    async def propose(
        self, site: Site, template: Template, gradients: tuple[Gradient, ...], context: StepContext
    ) -> Proposals:
        """Propose the text with each set of edits made; nothing where there is no model.

        Raises:
            ModelError: The call failed for good.
            TemplateError: The text is longer than `longest`.
            BudgetExhausted: The call was not admitted.
        """
        if context.model is None:
            return Proposals()
        words.whole(site, template, self.longest, to="edited", cure="Patch(longest=...)")
        frozen = frozen_spans(template.text, self.limits.frozen)

        def place(patched: Patched) -> Update:
            text = apply(template.text, patched.edits, frozen)
            return words.update(site, template, text, why=patched.why, proposer=self.name, gradients=gradients)

        updates, failures = await placed(
            context.model,
            self.request(site, template, gradients, context),
            Patches,
            parts=lambda reply: reply.alternatives[: self.alternatives],
            place=place,
        )
        return Proposals(updates, failures=tuple(f"an alternative was left out: {failure}" for failure in failures))

    def request(
        self, site: Site, template: Template, gradients: Sequence[Gradient], context: StepContext
    ) -> list[BaseMessage]:
        """The request, as it is sent."""
        said = words.revision(self, site, template, gradients, context, of="alternative set")
        said["count"] += " of edits"
        return fill("patch", **said, sections=outline(template.text, self.limits))


def outline(text: str, limits: EditLimits) -> str:
    """The names of the text's sections, and how each begins."""
    lines = [
        f"{part.name} ({part.kind}): {text[part.start : min(part.end, part.start + _BEGINNING)].splitlines()[0]}"
        for part in sections(text, frozen_spans(text, limits.frozen))
    ]
    return fence("its sections, and how each begins", "\n".join(lines), tokens=_LISTED, exact=True) if lines else ""
