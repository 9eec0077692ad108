"""TGD: textual gradient descent over the Parameters that the Gradients blame most."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, zip_longest
from typing import TYPE_CHECKING

from textgrad_lg.errors import ModelError, TemplateError
from textgrad_lg.optim.base import Proposals, Proposer, StepContext
from textgrad_lg.optim.demos import Demos
from textgrad_lg.optim.edit import EditLimits, check
from textgrad_lg.optim.insert import Insert
from textgrad_lg.optim.rewrite import Rewrite

if TYPE_CHECKING:
    from textgrad_lg.gradient import Gradient, Gradients
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site
    from textgrad_lg.update import Update

_ALTERNATIVES = 4


class TGD:
    """Takes the most blamed Parameters, lets every proposer propose for each, and lets code refuse what must not run.

    It keeps no state: what was tried before comes with the `StepContext`, so the same context gives the same Proposals.

    Args:
        proposals: Updates at most in one step.
        parameters: Parameters at most that are changed in one step, the most blamed first.
        constraints: What every new text must meet, in the user's words; told to the model.
        in_context_examples: Examples of good texts, in the user's words; shown to the model.
        memory: How many of the latest edits of a Parameter its proposers are told of, with what became of each.
        proposers: Who proposes, in this order; `Rewrite`, `Insert` and `Demos` if None.
        limits: What code refuses; `EditLimits()` if None.

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
    ) -> None:
        if proposals < 1 or parameters < 1 or memory < 0:
            raise ValueError("proposals and parameters must be at least 1, and memory at least 0")
        if isinstance(constraints, str) or isinstance(in_context_examples, str):
            raise TypeError("constraints and in_context_examples are lists of texts; put the one text into a list")
        if proposers is not None and (constraints or in_context_examples):
            raise ValueError(
                "constraints and in_context_examples are told to the default proposers only; with proposers of your "
                "own, give them to those, as in Rewrite(constraints=...)"
            )
        self.proposals, self._parameters, self._memory = proposals, parameters, memory
        limits = limits or EditLimits()
        self._limits = replace(limits, trusted=(*limits.trusted, *constraints, *in_context_examples))
        if proposers is None:
            rewrite = Rewrite(
                alternatives=min(_ALTERNATIVES, proposals),
                constraints=tuple(constraints),
                in_context_examples=tuple(in_context_examples),
                limits=self._limits,
            )
            proposers = (rewrite, Insert(), Demos())
        self._proposers = tuple(proposers)

    async def propose(self, context: StepContext) -> Proposals:
        """Propose Updates for the Parameters that the Gradients blame, best guess first, without duplicates.

        Raises:
            BudgetExhausted: A proposer's model call was not admitted.
        """
        chosen = rank(context.gradients, context.parameters)[: self._parameters]
        on = context.gradients.parameters()
        results = await asyncio.gather(
            *(self._ask(proposer, site, on[site], context) for site in chosen for proposer in self._proposers),
            # Everyone is waited for, so that no call is left running, and what is raised does not depend on timing.
            return_exceptions=True,
        )
        columns: list[tuple[Update, ...]] = []
        failures: list[str] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            columns.append(() if isinstance(result, str) else result)
            failures += [result] if isinstance(result, str) else []
        return self._select(columns, context, tuple(failures))

    async def _ask(
        self, proposer: Proposer, site: Site, gradients: tuple[Gradient, ...], context: StepContext
    ) -> tuple[Update, ...] | str:
        """What the proposer proposes, or its failure in words."""
        tried = [attempt for attempt in context.attempts if attempt.update.site == site]
        known = replace(context, attempts=tuple(tried[max(0, len(tried) - self._memory) :]))
        try:
            return await proposer.propose(site, context.parameters[site], gradients, known)
        except (ModelError, TemplateError) as error:
            return f"{proposer.name} for {site}: {error}"

    def _select(
        self, columns: Sequence[tuple[Update, ...]], context: StepContext, failures: tuple[str, ...]
    ) -> Proposals:
        """The first new and permitted Updates, taken in turns from every Parameter's every proposer."""
        limits = replace(self._limits, trusted=(*self._limits.trusted, context.goal))
        seen = {(attempt.update.site, attempt.update.new) for attempt in context.attempts}
        rejected: list[tuple[Update, str]] = []

        def permitted(column: Iterable[Update]) -> Iterator[Update]:
            for update in column:
                key = (update.site, update.new)
                if key in seen:
                    continue
                seen.add(key)
                reason = _stray(update, context.parameters) or check(update.old, update.new, limits=limits)
                if reason is None:
                    yield update
                else:
                    rejected.append((update, reason))

        # What is refused costs its proposer no turn: each column moves on to its next Update that may be run.
        turns = zip_longest(*map(permitted, columns))
        found = (update for turn in turns for update in turn if update is not None)
        updates = tuple(islice(found, self.proposals))
        return Proposals(updates, tuple(rejected), failures)


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


def _stray(update: Update, parameters: Mapping[Site, Template]) -> str | None:
    """Why the Update is not one of a Parameter that may change; the proposers are other people's code as well."""
    if update.site not in parameters:
        return f"{update.site} is not a Parameter that may change"
    if update.old != parameters[update.site]:
        return f"it was made for another text than the one in force at {update.site}"
    return None
