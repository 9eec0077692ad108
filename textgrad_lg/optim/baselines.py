"""Baselines: optimizers that look at no Gradient and no score. What another one gains over them is what its feedback is worth."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.descriptions import is_description
from textgrad_lg.llm import ask
from textgrad_lg.optim import words
from textgrad_lg.optim.rewrite import Alternatives
from textgrad_lg.optim.screen import draw, limits_for
from textgrad_lg.optim.words import LONGEST
from textgrad_lg.templates import fill

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import Proposals, StepContext
    from textgrad_lg.optim.checks import Check
    from textgrad_lg.optim.edit import EditLimits
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site
    from textgrad_lg.update import Update

_ALTERNATIVES = 4


@dataclass(frozen=True, slots=True)
class _Blind:
    """Asks for new versions of a text, and tells the model nothing of what became of it.

    Attributes:
        name: The name of its request's template, and of the proposer.
        alternatives: How many versions to ask for.
        constraints: What every version must meet, in the user's words.
        limits: States the length limit in the request.
    """

    name: str
    alternatives: int
    constraints: tuple[str, ...]
    limits: EditLimits

    async def propose(
        self, site: Site, template: Template, gradients: tuple[Gradient, ...], context: StepContext
    ) -> tuple[Update, ...]:
        """Propose what the model writes; nothing where there is no model."""
        if context.model is None:
            return ()
        words.whole(site, template, LONGEST, to="rewritten")
        reply = await ask(context.model, self.request(site, template, context), Alternatives)
        return tuple(
            words.update(site, template, new.text, why=new.why, proposer=self.name)
            for new in reply.value.alternatives[: self.alternatives]
        )

    def request(self, site: Site, template: Template, context: StepContext) -> list[BaseMessage]:
        """The request, as it is sent."""
        return fill(
            self.name,
            **words.common(site, template, context, self.limits),
            constraints=words.ruled(self.constraints, self.limits),
            count=words.counted(self.alternatives, _OF[self.name]),
        )


_OF = {"paraphrase": "alternative paraphrase", "just_rewrite": "alternative version"}


class _Baseline:
    """Draws Parameters with equal chances, and asks about each of them without a word on how it did.

    Args:
        proposals: Updates at most in one step.
        parameters: Parameters at most that are changed in one step; drawn from all that may change.
        constraints: What every new text must meet, in the user's words; told to the model.
        limits: What code refuses; `EditLimits()` if None.
        frozen: Regular expressions; what they match must stay; see `EditLimits`.
        checks: Rules that code checks; see `EditLimits`.

    Raises:
        ValueError: A number is too small, or one of `frozen` is not a regular expression.
        TypeError: A list of texts is one text.
    """

    _template: str

    def __init__(
        self,
        *,
        proposals: int = 8,
        parameters: int = 2,
        constraints: Sequence[str] = (),
        limits: EditLimits | None = None,
        frozen: Sequence[str] = (),
        checks: Sequence[Check] = (),
    ) -> None:
        if min(proposals, parameters) < 1:
            raise ValueError("proposals and parameters must be at least 1")
        self.proposals, self._parameters = proposals, parameters
        self._limits = limits_for(limits, frozen=frozen, checks=checks, constraints=constraints)
        few = min(_ALTERNATIVES, proposals)
        self._proposer = _Blind(self._template, few, tuple(constraints), self._limits)

    async def propose(self, context: StepContext) -> Proposals:
        """Propose Updates for Parameters that chance picks, without duplicates. The Gradients are not looked at.

        Raises:
            BudgetExhausted: A model call was not admitted.
        """
        texts = {site: text for site, text in context.parameters.items() if site not in context.domains}
        chosen = picked(texts, self._parameters, f"{context.seed}:{context.step}:{self._template}")
        return await draw(
            [(site, self._proposer) for site in chosen],
            context,
            self._limits,
            proposals=self.proposals,
            memory=0,
        )


class Paraphrase(_Baseline):
    """The baseline of chance: the same in other words. What it gains is what luck and more candidates gain."""

    _template = "paraphrase"


class JustRewrite(_Baseline):
    """The baseline without data: "make this better". What it gains, the model knew without looking at a single result."""

    _template = "just_rewrite"


def picked(parameters: Mapping[Site, Template], count: int, seed: str) -> tuple[Site, ...]:
    """Up to `count` of the Parameters, drawn with equal chances; prompts before descriptions of tools and schemas."""
    rng = random.Random(seed)  # noqa: S311  a draw, not a secret
    sites = sorted(parameters, key=str)  # so that the draw does not depend on how they were found
    keys = {site: (is_description(site), rng.random()) for site in sites}
    return tuple(sorted(sites, key=lambda site: keys[site])[:count])
