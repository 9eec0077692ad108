"""Screen: what every optimizer does alike with proposals: draw them side by side, refuse what must not run, take turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from typing import TYPE_CHECKING

from textgrad_lg.errors import ModelError, TemplateError
from textgrad_lg.optim.base import Proposals
from textgrad_lg.optim.borrowed import Borrowed
from textgrad_lg.optim.copied import Copied
from textgrad_lg.optim.edit import EditLimits, check
from textgrad_lg.optim.leakage import Leakage, texts_in
from textgrad_lg.optim.planted import Kind
from textgrad_lg.optim.provenance import traced
from textgrad_lg.optim.sources import SOURCE

if TYPE_CHECKING:
    from textgrad_lg.optim.base import Proposer, StepContext
    from textgrad_lg.optim.checks import Check
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site
    from textgrad_lg.update import Update


CHANCES = 2
"""Minibatches on which the same edit may be run, if it was not worse on the first."""


@dataclass
class Screen:
    """What may be run of one step's proposals; it remembers what it has seen, and what it refused.

    Attributes:
        limits: What code refuses.
        context: The step.
        rejected: What was refused so far, each with the reason.
    """

    limits: EditLimits
    context: StepContext
    rejected: list[tuple[Update, str]] = field(init=False, default_factory=list["tuple[Update, str]"])

    def __post_init__(self) -> None:
        self.limits = replace(self.limits, trusted=(*self.limits.trusted, self.context.goal, *self.context.said))
        attempts = self.context.attempts
        closed = {(attempt.update.site, attempt.update.new) for attempt in attempts if not attempt.open}
        # One step has one minibatch, however many candidates hold the edit.
        steps = {(attempt.update.site, attempt.update.new, attempt.step) for attempt in attempts}
        chances = Counter((site, new) for site, new, _ in steps)
        self._tried = closed | {edit for edit, times in chances.items() if times >= CHANCES}
        self._seen: set[frozenset[tuple[Site, Template]]] = set()
        self._leakage = Leakage(
            self.context.examples, self.context.gradients, quoted=self.limits.quoted, answer=self.limits.answer
        )
        texts = [template.text for template in self.context.parameters.values()]
        self._texts = texts
        traces = () if Kind.BORROWED in self.limits.allow else self.context.traces
        self._borrowed = Borrowed(traces, tools=self.context.sources is None)
        self._copied = Copied(self.context.traces, self.context.sources or {}, self.limits.copied, texts)

    def admits(self, candidate: Sequence[Update]) -> bool:
        """Whether the Updates may be run together: they are new, and code refuses none of them.

        A candidate of several Updates is not new if each of them was tried before, alone or together with others. An edit
        that is still open after a minibatch has another chance on the next: that a few examples showed no gain says little.
        """
        parts = [(update.site, update.new) for update in candidate]
        if frozenset(parts) in self._seen or self._tried.issuperset(parts):
            return False
        self._seen.add(frozenset(parts))
        for update in candidate:
            reason = self._reason(update)
            if reason is not None:
                self.rejected.append((update, reason))
                return False
        return True

    def permitted(self, column: Iterable[Update]) -> Iterator[Update]:
        """Of the Updates, those that may be run each by itself."""
        return (update for update in column if self.admits([update]))

    def _reason(self, update: Update) -> str | None:
        if update.site not in self.context.parameters:  # proposers are other people's code as well
            return f"{update.site} is not a Parameter that may change"
        if update.old != self.context.parameters[update.site]:
            return f"it was made for another text than the one in force at {update.site}"
        own = self.context.own_text(update.site)
        reason = check(
            update.old,
            update.new,
            limits=self.limits.at(update.site),
            own=own,
            leakage=self._leakage,
            copied=self._copied,
            domain=self.context.domains.get(update.site),
        )
        # A setting's value and a demonstration are no sentences.
        if reason is not None or update.site in self.context.domains or update.new.text == update.old.text:
            return reason
        examples = (example for example in self.context.examples if SOURCE not in example.metadata)
        said = (text for at in examples for value in (at.inputs, at.reference_outputs) for text in texts_in(value))
        known = (*self._texts, own.text, *self.limits.trusted, *said)
        return self._borrowed.found(update.new.text, known)


async def draw(
    asks: Sequence[tuple[Site, Proposer]],
    context: StepContext,
    limits: EditLimits,
    *,
    proposals: int,
    memory: int,
) -> Proposals:
    """Ask the proposers side by side, and take what may be run from them in turns.

    Args:
        asks: Which proposer to ask about which Parameter, in the order in which they take turns.
        context: The step.
        limits: What code refuses.
        proposals: Updates at most.
        memory: How many of the latest edits of a Parameter its proposers are told of.

    Raises:
        BudgetExhausted: A proposer's model call was not admitted.
    """
    on = context.gradients.parameters()

    def ask(site: Site, proposer: Proposer) -> Awaitable[tuple[Update, ...] | Proposals]:
        # The graph's own text may be known from an edit that is forgotten here.
        own = {**context.own, site: context.own_text(site)}
        # A search remembers all that it has tried.
        latest = len(context.attempts) if site in context.domains else memory
        known = replace(context, attempts=context.tried(site, latest), own=own)
        return proposer.propose(site, context.parameters[site], on.get(site, ()), known)

    results = await asyncio.gather(
        *(said(f"{proposer.name} for {site}", lambda s=site, p=proposer: ask(s, p)) for site, proposer in asks),
        # Everyone is waited for, so that no call is left running, and what is raised does not depend on timing.
        return_exceptions=True,
    )
    found: list[Proposals] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    screen = Screen(limits, context)
    # What is refused costs its proposer no turn: each column moves on to its next Update that may be run.
    turns = zip_longest(*(screen.permitted(column.updates) for column in found))
    updates = tuple(islice((update for turn in turns for update in turn if update is not None), proposals))
    failures = tuple(line for column in found for line in column.failures)
    return traced(Proposals(updates, tuple(screen.rejected), failures), context.gradients)


async def said(name: str, ask: Callable[[], Awaitable[tuple[Update, ...] | Proposals]]) -> Proposals:
    """What was proposed, with each failure in words that begin with `name`."""
    try:
        found = await ask()
    except (ModelError, TemplateError) as error:
        return Proposals(failures=(f"{name}: {error}",))
    if not isinstance(found, Proposals):
        return Proposals(tuple(found))
    return replace(found, failures=tuple(f"{name}: {failure}" for failure in found.failures))


def limits_for(
    limits: EditLimits | None,
    *,
    frozen: Sequence[str] = (),
    checks: Sequence[Check] = (),
    constraints: Sequence[str] = (),
    in_context_examples: Sequence[str] = (),
) -> EditLimits:
    """The limits, with what an optimizer's own arguments add to them; the user's words may stand in any text.

    Raises:
        TypeError: A list of texts is one text.
        ValueError: One of `frozen` is not a regular expression.
    """
    lists = {"frozen": frozen, "constraints": constraints, "in_context_examples": in_context_examples}
    for name, texts in lists.items():
        if isinstance(texts, str):
            raise TypeError(f"{name} is a list of texts; put the one text into a list")
    limits = limits or EditLimits()
    return replace(
        limits,
        frozen=(*limits.frozen, *frozen),
        checks=(*limits.checks, *checks),
        trusted=(*limits.trusted, *constraints, *in_context_examples),
    )
