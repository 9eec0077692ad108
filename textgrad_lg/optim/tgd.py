"""TGD: textual gradient descent over the Parameters that the Gradients blame most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from textgrad_lg.optim.base import Proposals, Proposer, StepContext
from textgrad_lg.optim.demos import Demos
from textgrad_lg.optim.edit import EditLimits
from textgrad_lg.optim.insert import Insert
from textgrad_lg.optim.patch import Patch
from textgrad_lg.optim.rewrite import Rewrite
from textgrad_lg.optim.screen import draw, limits_for
from textgrad_lg.optim.tune import texts_of, tuners

if TYPE_CHECKING:
    from textgrad_lg.gradient import Gradients
    from textgrad_lg.optim.checks import Check
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site

LONG = 2_000
"""Characters: what `EditLimits` lets any text have is short enough to be written anew."""
_ALTERNATIVES = 4


class TGD:
    """Takes the most blamed Parameters, lets every proposer propose for each, and lets code refuse what must not run.

    It keeps no state: what was tried before comes with the `StepContext`, so the same context gives the same Proposals.

    Args:
        proposals: Updates at most in one step.
        parameters: Parameters at most that are changed in one step, the most blamed first; and as many settings.
        constraints: What every new text must meet, in the user's words; told to the model.
        in_context_examples: Examples of good texts, in the user's words; shown to the model.
        memory: How many of the latest edits of a Parameter its proposers are told of, with what became of each.
        proposers: Who proposes, in this order; `Rewrite`, `Insert` and `Demos` if None, with `Patch` in the place of
            `Rewrite` for long texts. Settings have `Tune`, and a model's `Value` where these are the default.
        limits: What code refuses; `EditLimits()` if None.
        frozen: Regular expressions; what they match must stay; see `EditLimits`. Proposers of your own are not told.
        checks: Rules that code checks; see `EditLimits`.
        long: From how many characters on a text is edited in part, by `Patch`, and not written anew.

    Raises:
        ValueError: A number is too small; or `constraints` or `in_context_examples` are given together with `proposers`,
            where they would reach nobody.
        TypeError: `constraints` or `in_context_examples` is one text instead of a list of texts.
    """

    def __init__(
        self,
        *,
        proposals: int = 8,
        parameters: int = 2,
        constraints: Sequence[str] = (),
        in_context_examples: Sequence[str] = (),
        memory: int = 8,
        proposers: Sequence[Proposer] | None = None,
        limits: EditLimits | None = None,
        frozen: Sequence[str] = (),
        checks: Sequence[Check] = (),
        long: int = LONG,
    ) -> None:
        if proposals < 1 or parameters < 1 or memory < 0:
            raise ValueError("proposals and parameters must be at least 1, and memory at least 0")
        self._limits = limits_for(
            limits, frozen=frozen, checks=checks, constraints=constraints, in_context_examples=in_context_examples
        )
        if proposers is not None and (constraints or in_context_examples):
            raise ValueError(
                "constraints and in_context_examples are told to the default proposers only; with proposers of your "
                "own, give them to those, as in Rewrite(constraints=...)"
            )
        self.proposals, self._parameters, self._memory, self._long = proposals, parameters, memory, long
        few = min(_ALTERNATIVES, proposals)
        rewrite = Rewrite(few, tuple(constraints), tuple(in_context_examples), self._limits)
        patch = Patch(few, tuple(constraints), tuple(in_context_examples), self._limits)
        others = (Insert(frozen=self._limits.frozen), Demos())
        # With proposers of the user's own, no model is asked behind their back.
        self._rewrite = rewrite if proposers is None else None
        self._short = tuple(proposers) if proposers is not None else (rewrite, *others)
        self._for_long = tuple(proposers) if proposers is not None else (patch, *others)

    async def propose(self, context: StepContext) -> Proposals:
        """Propose Updates for the Parameters that the Gradients blame, best guess first, without duplicates.

        Raises:
            BudgetExhausted: A proposer's model call was not admitted.
        """
        ranked = rank(context.gradients, context.parameters)
        chosen = texts_of(ranked, context)[: self._parameters]
        asks = tuners(ranked, context, self._parameters, self._rewrite)
        asks += [(site, proposer) for site in chosen for proposer in self._proposers(context.parameters[site])]
        return await draw(asks, context, self._limits, proposals=self.proposals, memory=self._memory)

    def _proposers(self, template: Template) -> tuple[Proposer, ...]:
        return self._for_long if len(template.text) >= self._long else self._short


def rank(gradients: Gradients, parameters: Mapping[Site, Template]) -> tuple[Site, ...]:
    """The Parameters that the Gradients blame, the most blamed first.

    Blame is the sum of `weight * (1 - score)` over the Gradients on a Parameter, where no score counts as 0. Among equals
    the one mentioned first comes first: the reverse pass starts at the scored output, so that is the nearest to it.

    Args:
        gradients: The Gradients of a minibatch.
        parameters: The Parameters that may change; blame on others is left out, and so are Parameters without blame.
    """
    blame = {
        # fsum, so that the order of the examples cannot decide a tie by a rounding error.
        site: math.fsum(g.weight * max(0.0, 1.0 - (g.score or 0.0)) for g in found)
        for site, found in gradients.parameters().items()
        if site in parameters
    }
    return tuple(sorted((site for site in blame if blame[site] > 0), key=lambda site: -blame[site]))
