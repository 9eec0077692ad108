"""Joint: one model call that sees all blamed Parameters, and plans edits of several of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from textgrad_lg.errors import ModelError, TemplateError
from textgrad_lg.optim import words
from textgrad_lg.optim.base import Proposals
from textgrad_lg.optim.demos import Demos
from textgrad_lg.optim.edit import EditLimits, frozen_spans
from textgrad_lg.optim.insert import Insert
from textgrad_lg.optim.mend import placed
from textgrad_lg.optim.provenance import traced
from textgrad_lg.optim.screen import Screen, draw, limits_for
from textgrad_lg.optim.sections import Edit, apply
from textgrad_lg.optim.tgd import rank
from textgrad_lg.optim.tune import texts_of, tuners
from textgrad_lg.optim.words import LONGEST
from textgrad_lg.templates import fill

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

    from textgrad_lg.optim.base import Proposer, StepContext
    from textgrad_lg.optim.checks import Check
    from textgrad_lg.site import Site
    from textgrad_lg.update import Update

_ALL_FEEDBACK, _LEAST = 2_400, 200
"""Hard caps in tokens: the feedback on all Parameters together, which share it evenly; and what each gets at least."""
_SETTINGS = 2
"""Values of settings at most that are tried in one step, beside the plans. No model is asked for them."""


_OTHERS = 2
"""Parameters, the most blamed first, for which what needs no model proposes."""


class JointEdit(BaseModel):
    """One change of one text."""

    parameter: str = Field(description="The text to change, as in P2.")
    quote: str = Field(
        default="",
        description="The words to change, exactly as they stand, and enough of them to occur only once; empty if the "
        "whole text is meant.",
    )
    action: Literal["replace", "insert_after"] = Field(
        default="replace", description="Whether `replacement` takes their place, or is put behind them."
    )
    replacement: str = Field(description="The new words, or the whole new text.")


class JointPlan(BaseModel):
    """Edits of one or more texts that belong together."""

    why: str = Field(description="Why these edits answer the feedback, in one or two sentences.")
    edits: list[JointEdit]


class JointPlans(BaseModel):
    """Alternative plans, the most promising one first."""

    plans: list[JointPlan]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What one step's request shows: its Parameters in order, under the names P1, P2 and so on."""

    sites: tuple[Site, ...]
    context: StepContext
    limits: EditLimits

    def updates(self, plan: JointPlan) -> tuple[Update, ...]:
        """The Updates that a plan asks for, in the order of the Parameters.

        Raises:
            TemplateError: It names no Parameter, or an edit's place is not found exactly once.
        """
        edits: dict[int, list[JointEdit]] = {}
        for edit in plan.edits:
            edits.setdefault(self._index(edit), []).append(edit)
        if not edits:
            raise TemplateError("the plan has no edits")
        on = self.context.gradients.parameters()
        found: list[Update] = []
        for at in sorted(edits):
            site = self.sites[at]
            template = self.context.parameters[site]
            try:
                text = self._text(template.text, edits[at])
            except TemplateError as error:
                raise TemplateError(f"in P{at + 1}, {error}") from error
            found.append(words.update(site, template, text, why=plan.why, proposer="joint", gradients=on.get(site, ())))
        return tuple(found)

    def _index(self, edit: JointEdit) -> int:
        names = [f"P{at}" for at in range(1, len(self.sites) + 1)]
        if edit.parameter.strip() not in names:
            raise TemplateError(f"there is no text {edit.parameter!r}; the request shows {', '.join(names)}")
        return names.index(edit.parameter.strip())

    def _text(self, old: str, edits: Sequence[JointEdit]) -> str:
        if not edits[0].quote and len(edits) == 1 and edits[0].action == "replace":
            return edits[0].replacement
        return apply(
            old,
            [Edit(quote=edit.quote, action=edit.action, replacement=edit.replacement) for edit in edits],
            frozen_spans(old, self.limits.frozen),
        )


class Joint:
    """Asks once for all blamed Parameters, and takes plans that may change several of them at once.

    One call a step, however many Parameters there are. A plan for one Parameter is an Update like any other. A plan for
    several is a joint candidate, and, as far as there is room, its parts are Updates as well: the gate then finds out
    whether one of them would have done, and a run that knows no joint candidates still learns something. What needs no
    model takes turns with the parts: where the model's plans are of no use, it is what there is.

    Args:
        proposals: Candidates at most in one step, joint ones and parts included.
        parameters: Parameters at most that a request shows, the most blamed first.
        plans: How many plans to ask for.
        constraints: What every new text must meet, in the user's words; told to the model.
        in_context_examples: Examples of good texts, in the user's words; shown to the model.
        memory: How many of the latest edits of each Parameter the model is told of.
        limits: What code refuses; `EditLimits()` if None.
        frozen: Regular expressions; what they match must stay; see `EditLimits`.
        checks: Rules that code checks; see `EditLimits`.
        longest: The most characters of texts that a request shows; each is shown whole or not at all.
        proposers: Who proposes besides, for the most blamed Parameters; `Insert` and `Demos` if None.

    Raises:
        ValueError: A number is too small, or one of `frozen` is not a regular expression.
        TypeError: A list of texts is one text.
    """

    def __init__(
        self,
        *,
        proposals: int = 8,
        parameters: int = 8,
        plans: int = 3,
        constraints: Sequence[str] = (),
        in_context_examples: Sequence[str] = (),
        memory: int = 4,
        limits: EditLimits | None = None,
        frozen: Sequence[str] = (),
        checks: Sequence[Check] = (),
        longest: int = LONGEST,
        proposers: Sequence[Proposer] | None = None,
    ) -> None:
        if min(proposals, parameters, plans) < 1 or memory < 0:
            raise ValueError("proposals, parameters and plans must be at least 1, and memory at least 0")
        self._limits = limits_for(
            limits, frozen=frozen, checks=checks, constraints=constraints, in_context_examples=in_context_examples
        )
        self.proposals, self._parameters, self._plans = proposals, parameters, min(plans, proposals)
        self._constraints, self._examples, self._memory = tuple(constraints), tuple(in_context_examples), memory
        self._longest = longest
        others = (Insert(frozen=self._limits.frozen), Demos()) if proposers is None else proposers
        self._proposers: tuple[Proposer, ...] = tuple(others)

    async def propose(self, context: StepContext) -> Proposals:
        """Propose Updates and joint candidates for the Parameters that the Gradients blame, without duplicates.

        Raises:
            BudgetExhausted: The model call was not admitted.
        """
        ranked = rank(context.gradients, context.parameters)
        sites = texts_of(ranked, context)[: self._parameters]
        few = min(_SETTINGS, self.proposals)
        tuned = await draw(tuners(ranked, context, few), context, self._limits, proposals=few, memory=self._memory)
        placed = [(site, proposer) for site in sites[:_OTHERS] for proposer in self._proposers]
        others = await draw(placed, context, self._limits, proposals=self.proposals, memory=self._memory)
        plans, failures = await self._planned(sites, context)
        screen = Screen(self._limits, context)
        whole = list(filter(screen.admits, plans))[: self.proposals - len(tuned.updates)]
        refused = tuple(screen.rejected)
        # A part alone may be refused for what its plan makes good; that is not worth telling.
        parts = screen.permitted(update for plan in whole if len(plan) > 1 for update in plan)
        updates = [plan[0] for plan in whole if len(plan) == 1]
        room = max(0, self.proposals - len(whole) - len(tuned.updates))
        turns = (update for turn in zip_longest(parts, others.updates) for update in turn if update is not None)
        proposals = Proposals(
            tuple(dict.fromkeys((*updates, *tuned.updates, *islice(turns, room)))),
            (*refused, *tuned.rejected, *others.rejected),
            (*failures, *tuned.failures, *others.failures),
            tuple(plan for plan in whole if len(plan) > 1),
        )
        return traced(proposals, context.gradients)

    async def _planned(
        self, sites: Sequence[Site], context: StepContext
    ) -> tuple[tuple[tuple[Update, ...], ...], tuple[str, ...]]:
        """The model's plans, and what went wrong with them; neither where there is no model."""
        if context.model is None or not sites:
            return (), ()
        try:
            plans, failures = await self._ask(context.model, sites, context)
        except (ModelError, TemplateError) as error:
            return (), (f"joint: {error}",)
        return plans, tuple(f"joint: a plan was left out: {failure}" for failure in failures)

    async def _ask(
        self, model: BaseChatModel, sites: Sequence[Site], context: StepContext
    ) -> tuple[tuple[tuple[Update, ...], ...], tuple[str, ...]]:
        """The plans as Updates, and why others could not be read so."""
        words.whole(sites[0], context.parameters[sites[0]], self._longest, to="edited", cure="Joint(longest=...)")
        shown = _Shown(self._fitting(sites, context), context, self._limits)
        return await placed(
            model,
            self.request(shown.sites, context),
            JointPlans,
            parts=lambda reply: reply.plans[: self._plans],
            place=shown.updates,
        )

    def request(self, sites: Sequence[Site], context: StepContext) -> list[BaseMessage]:
        """The request, as it is sent, about the Parameters at `sites`."""
        share = max(_LEAST, _ALL_FEEDBACK // len(sites))
        return fill(
            "joint",
            goal=words.purposed(context.goal),
            parameters="\n\n".join(self._about(at, site, context, share) for at, site in enumerate(sites, start=1)),
            constraints=words.ruled(self._constraints, self._limits),
            examples=words.exemplified(self._examples),
            count="one plan" if self._plans == 1 else f"{self._plans} alternative plans",
        )

    def _about(self, at: int, site: Site, context: StepContext, share: int) -> str:
        template = context.parameters[site]
        longest = self._limits.at(site).longest(template, context.own_text(site))
        parts = (
            f"P{at} is the {words.describe(site)}. It may become {longest} characters long.",
            words.quoted(f"P{at} now", template.text),
            words.kept(template, self._limits),
            words.blamed(context.gradients.parameters()[site], share),
            words.tried(context.tried(site, self._memory)),
        )
        return "\n\n".join(part for part in parts if part)

    def _fitting(self, sites: Sequence[Site], context: StepContext) -> tuple[Site, ...]:
        """Of the Parameters, most blamed first, those whose whole texts fit into one request."""
        found: list[Site] = []
        room = self._longest
        for site in sites:
            size = len(context.parameters[site].text)
            if size <= room:
                found.append(site)
                room -= size
        return tuple(found)
