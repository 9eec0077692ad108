"""Rewrite: new versions of the text, written by a model in one structured call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from textgrad_lg.llm import ask
from textgrad_lg.optim import words
from textgrad_lg.optim.edit import EditLimits
from textgrad_lg.optim.words import LONGEST, describe
from textgrad_lg.templates import fill

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import StepContext
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site
    from textgrad_lg.update import Update

__all__ = ["Alternative", "Alternatives", "Rewrite", "describe"]


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
    longest: int = LONGEST

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
        words.whole(site, template, self.longest, to="rewritten", cure=f"{type(self).__name__}(longest=...)")
        reply = await ask(context.model, self.request(site, template, gradients, context), Alternatives)
        return tuple(
            words.update(site, template, new.text, why=new.why, proposer=self.name, gradients=gradients)
            for new in reply.value.alternatives[: self.alternatives]
        )

    def request(
        self, site: Site, template: Template, gradients: Sequence[Gradient], context: StepContext
    ) -> list[BaseMessage]:
        """The request, as it is sent."""
        return fill("rewrite", **words.revision(self, site, template, gradients, context))
