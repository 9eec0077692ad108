"""Session: one optimisation run from its first rollout to its result."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgrad_lg.errors import (
    BudgetExhausted,
    BudgetTooSmall,
    DiscoveryError,
    JournalError,
    NoPromptFound,
    VersionConflict,
)
from textgrad_lg.events import (
    Committed,
    Discovered,
    ModelsCalled,
    RunFinished,
    RunStarted,
    StepFinished,
    Warned,
)
from textgrad_lg.optim import PoolOptimizer
from textgrad_lg.optim.pareto import front
from textgrad_lg.record import Discovery
from textgrad_lg.record.lost import SIGN
from textgrad_lg.run import race
from textgrad_lg.run.ahead import Ahead
from textgrad_lg.run.asked import Asked
from textgrad_lg.run.batches import minibatches
from textgrad_lg.run.decisions import Decisions
from textgrad_lg.run.deploy import CANDIDATE
from textgrad_lg.run.ending import finish
from textgrad_lg.run.gate import Verdict, validation_gate
from textgrad_lg.run.held_out import HeldOut
from textgrad_lg.run.learn import gradients_on, judged, proposals_for
from textgrad_lg.run.outlook import choose_optimizer, predict_again
from textgrad_lg.run.people import People
from textgrad_lg.run.pool import Pool
from textgrad_lg.run.publication import Publication
from textgrad_lg.run.reserve import Reserve
from textgrad_lg.run.rollout import Candidate, Rollout
from textgrad_lg.run.rollouts import Rollouts
from textgrad_lg.run.select import select
from textgrad_lg.run.trial import Trial, merged, to_commit, trials
from textgrad_lg.run.warned import Warnings
from textgrad_lg.site import Site
from textgrad_lg.types import Phase, Usage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.evals import Evals, Splits
    from textgrad_lg.example import Example
    from textgrad_lg.optim import Optimizer
    from textgrad_lg.overlay import Texts
    from textgrad_lg.prompt import Template
    from textgrad_lg.registry import PromptRegistry
    from textgrad_lg.run.result import OptimizeResult
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.run.spend import Spend
    from textgrad_lg.trace import Trace
    from textgrad_lg.update import Update

_REPEATED = (Phase.VALIDATION, Phase.TEST)
"""The phases that decide by a paired test, of which each example may be run several times."""


@dataclass(kw_only=True)
class Session:
    """One optimisation run. What it was given comes first; the rest is what it has found so far.

    Where it learns from traces that strangers made, `sources` says whose each is, and `batches` gives the minibatches of its
    steps, the first of which was run already: its rollouts are in the journal.
    """

    start: Texts
    name: str
    evals: Evals
    splits: Splits
    settings: Settings
    optimizer: Optimizer | None
    only: Sequence[str] | None
    registry: PromptRegistry
    rollouts: Rollouts
    folder: Path
    people: People = field(default_factory=People)
    predicted: Spend | None = None
    sources: Mapping[str, str] | None = None
    batches: Iterator[list[Example]] | None = None
    forecast: Spend | None = field(init=False, default=None)

    discovery: Discovery = field(init=False)
    parameters: dict[Site, Template] = field(init=False, default_factory=dict["Site", "Template"])
    pool: Pool = field(init=False)
    decisions: Decisions = field(init=False)
    chosen: str = field(init=False, default="")
    raised: dict[str, str] = field(init=False, default_factory=dict[str, str])
    unjudged: dict[str, str] = field(init=False, default_factory=dict[str, str])
    warnings: Warnings = field(init=False)
    publication: Publication = field(init=False)
    reserve: Reserve = field(init=False)
    asked: Asked = field(init=False)
    ahead: Ahead = field(init=False)
    shown: dict[str, Trace] = field(init=False, default_factory=dict[str, "Trace"])
    _first: list[Example] = field(init=False, default_factory=list["Example"])
    _passing: set[str] = field(init=False, default_factory=set[str])

    def __post_init__(self) -> None:
        rollouts = self.rollouts
        self.pool = Pool(rollouts.metering.prices)
        self.decisions = Decisions(rollouts.emit, rollouts.run)
        self.warnings = Warnings(lambda message: rollouts.emit(Warned, message=message))
        settings = self.settings
        self.reserve = Reserve(
            self.splits,
            settings.batch,
            rollouts.metering,
            rollouts.journal,
            makes_do=True,
            seed=settings.seed,
            repeats=settings.repeats,
        )
        # Where strangers wrote what is learnt from, it is shown as quoted JSON.
        self.asked = Asked(rollouts, self.model, settings.seed, quote=self.sources is not None)
        rollouts.held_out = HeldOut(self.splits.test, rollouts.journal)

    @property
    def accepted(self) -> Candidate:
        """The texts in force: those of the start, and the edits accepted so far."""
        return self.pool.entries[self.pool.current].texts if self.pool.entries else self.start

    @property
    def gate(self) -> race.Gate:
        """The validation gate, as this run has it."""
        return partial(validation_gate, alpha=self.settings.alpha, seed=self.settings.seed)

    async def run(self) -> OptimizeResult[Any]:
        """Run to the end of the steps, of the budget, or of what can be improved."""
        started = time.time()
        emit = self.rollouts.emit
        try:
            emit(RunStarted, graph=self.name, settings=self.settings.to_json())
            reason = await self._steps()
            result = await finish(self, reason)
        except BaseException as error:
            self._stop(error)
            self.tell_calls()
            emit(RunFinished, summary="", started=started, error=type(error).__name__)
            raise
        self.tell_calls()
        emit(RunFinished, summary=result.summary(), started=started, improved=result.improved)
        return result

    # The steps

    async def _steps(self) -> str:
        """Take step after step; returns why it stopped."""
        settings = self.settings
        self.reserve.check(Usage(1, rollouts=1))
        batches = self.batches or minibatches(self.splits.train, settings.batch, settings.seed)
        self._first = next(batches)
        try:
            await self._meet(self._first)
            first = await self.evaluate(self._first, Phase.ROLLOUT)
            self.reserve.measure(await self._runs())
            self.splits = self.reserve.splits
            validation = await self.evaluate(self.splits.validation, Phase.VALIDATION)
            self.reserve.follow(validation)
        except BudgetExhausted as error:
            raise BudgetTooSmall(
                f"the budget does not pay for one evaluation of the graph as it is: {error}"
            ) from error
        if self.reserve.left_out:
            self.warnings.add(self.reserve.left_out)
        useless = self._discover(*((first, validation) if self.batches is None else (validation, first)))
        if useless is not None:
            return useless
        self.pool.add(self.start, validation, self.texts(self.start).values())
        hopeless = self._closed()
        if hopeless is not None:
            return f"stopped before the first step: {hopeless}"
        choose_optimizer(self, [*first, *validation])
        predict_again(self, len(first) + len(validation))
        self.ahead = Ahead(self, batches, [self._first])
        for step in range(1, settings.steps + 1):
            self.rollouts.emit.step = step
            number = self.pool.current
            try:
                await self._step(step, self.ahead.now(step))
                if len(self._passing) == len(self.splits.train) and self.settled():
                    return f"stopped after step {step}: all {len(self._passing)} train examples pass"
                if number != self.pool.current and (enough := self._closed()) is not None:
                    return f"stopped after step {step}: {enough}"
            except BudgetExhausted as error:
                return f"stopped in step {step}: {error}"
            finally:
                self.rollouts.keep_spend()
                self.rollouts.emit.step = 0
        return f"took {settings.steps} {'step' if settings.steps == 1 else 'steps'}"

    async def _runs(self) -> int:
        """How many runs show what one costs: those of the first minibatch, if they were made here, else some others."""
        if self.batches is None:
            return len(self._first)
        some = self.splits.validation[: self.settings.batch]
        await self.evaluate(some, Phase.VALIDATION)
        return len(some) * self.settings.repeats

    async def _meet(self, examples: Sequence[Example]) -> None:
        """Learn which model the graph calls, where no other was given, before runs side by side need it as a judge."""
        own = self.rollouts.own_model
        for example in examples:
            if own.model is not None or own.wanted is not None:
                return
            await self.evaluate([example], Phase.ROLLOUT)

    def _closed(self) -> str | None:
        """Why no edit could be accepted any more, whatever it did; None where one could."""
        return race.closed(self.gate, self.pool.entries[self.pool.current].scores, self.splits.validation)

    async def _step(self, step: int, coming: Sequence[Sequence[Example]]) -> None:
        """Take a step on the first minibatch of `coming`; the others are run ahead."""
        started = time.time()
        number = self.parent(step)
        base = self.pool.entries[number].texts
        examples = coming[0]
        every = {example.id: example for batch in coming for example in batch}
        rollouts = await self.evaluate(list(every.values()), Phase.ROLLOUT, base)
        before = rollouts[: len(examples)]
        scores = [rollout.score for rollout in before if rollout.score is not None]
        mean = sum(scores) / len(scores) if scores else None
        known, wrong = judged(self, before, base)
        candidates = self._merges()
        if wrong:
            gradients = await gradients_on(self, wrong)
            proposals = await proposals_for(self, gradients, known, wrong, base)
            candidates += trials(proposals, base, self.parameters, number)
        accepted = await select(self, candidates, before) if candidates else False
        self.tell_calls()
        self.rollouts.emit(StepFinished, started=started, score=mean, accepted=accepted)
        self.ahead.step_over(failed=bool(wrong))
        if accepted:
            self._passing.clear()
        elif number == self.pool.current:
            self._passing |= {rollout.example.id for rollout in before}
            self._passing -= {rollout.example.id for rollout in wrong}

    def settled(self) -> bool:
        """Whether the coming steps start from the texts in force: always without a pool, and if its front is only these."""
        return not isinstance(self.optimizer, PoolOptimizer) or list(front(self.pool.members)) == [self.pool.current]

    def parent(self, step: int) -> int:
        """The number of the candidate that a step starts from."""
        if not isinstance(self.optimizer, PoolOptimizer):
            return self.pool.current
        chance = random.Random(f"{self.settings.seed}/{step}")  # noqa: S311  a draw of parents, not a secret
        return self.optimizer.parent(self.pool.members, chance)

    def _merges(self) -> tuple[Trial, ...]:
        if not isinstance(self.optimizer, PoolOptimizer):
            return ()
        found = self.optimizer.merges(self.pool.members)
        return tuple(merged(merge, self.accepted, self.parameters, self._tried) for merge in found)

    @property
    def _tried(self) -> tuple[Update, ...]:
        return tuple(attempt.update for attempt in self.decisions.attempts)

    # What the steps need

    async def evaluate(
        self,
        examples: Sequence[Example],
        phase: Phase,
        candidate: Candidate | None = None,
        *,
        one_by_one: bool = False,
    ) -> list[Rollout]:
        """Run and judge `examples` under `candidate`, or under the texts accepted so far; see `Rollouts.evaluate`."""
        candidate = self.accepted if candidate is None else candidate
        repeats = self.settings.repeats if phase in _REPEATED else 1
        found = await self.rollouts.evaluate(examples, candidate, phase, one_by_one=one_by_one, repeats=repeats)
        return self._noted(found)

    async def evaluate_all(self, pairs: Sequence[tuple[Example, Candidate]], phase: Phase) -> list[Rollout]:
        """Run and judge each example under its own texts, side by side; see `Rollouts.evaluate_all`."""
        return self._noted(await self.rollouts.evaluate_all(pairs, phase))

    def _noted(self, rollouts: list[Rollout]) -> list[Rollout]:
        """Take note of what went wrong."""
        for rollout in rollouts:
            name = rollout.example.id
            if rollout.raised is not None:
                self.raised.setdefault(name, rollout.raised)
            for lost in (warning for warning in (rollout.trace.warnings if rollout.trace else ()) if SIGN in warning):
                self.warnings.add(lost, SIGN)
            for score in rollout.scores:
                if score.error is not None:
                    self.unjudged.setdefault(name, f"example {name}, {score.key}: {score.error}")
        return rollouts

    async def model(self) -> BaseChatModel | None:
        """The model that criticises and proposes; None where there is none."""
        own = self.rollouts.own_model
        if own.model is None and own.wanted is not None:
            await self.rollouts.find_model(self._first, self.start)
        return own.model

    def _discover(self, first: Sequence[Rollout], others: Sequence[Rollout]) -> str | None:
        """Find the Parameters; returns why nothing can be learnt, where that is so.

        Where `others` were run elsewhere, they may have had other texts: what this graph sends now says which Parameters it
        has, and they add those of places that only they have reached.
        """
        rollouts = [*first, *others] if self.batches is None else first
        traces = [rollout.trace for rollout in rollouts if rollout.trace is not None]
        seen = len(self.raised) < len(rollouts) or any(trace.parameters for trace in traces)
        hopeless = (
            None
            if seen
            else f"the graph raised on every example before a prompt was seen, first: {_first(self.raised)}"
        )
        try:
            self.discovery = self.rollouts.target.discover(traces, self.only)
        except DiscoveryError as error:
            if hopeless is not None and isinstance(error, NoPromptFound):
                return hopeless
            if self.raised:
                error.add_note(
                    f"textgrad_lg: the graph raised on {len(self.raised)} of the {len(rollouts)} examples it was run "
                    f"on, first: {_first(self.raised)}"
                )
            raise
        # The runs showed the texts that were in force; the graph's own are known for those that were replaced.
        own = {site: replacement.old for site, replacement in self.start.items()}
        self.parameters = {**self.discovery.parameters, **own}
        self.publication = Publication(self.registry, self.name, self.rollouts.run, self.parameters, self.start)
        for warning in self.discovery.warnings:
            self.warnings.add(warning)
        self.rollouts.emit(Discovered, parameters=self.parameters, trainable=self.discovery.trainable)
        if self.batches is not None:
            self._discover_more(others)
        if all(rollout.score is None for rollout in rollouts):
            return f"no example could be judged, first {_first(self.unjudged)}"
        return hopeless

    def _discover_more(self, rollouts: Sequence[Rollout]) -> None:
        """Take in the prompts of branches that no run had reached before the edit that was just accepted."""
        traces = [rollout.trace for rollout in rollouts if rollout.trace is not None]
        found = self.rollouts.target.extend(self.discovery, traces, self.only)
        if len(found.parameters) > len(self.discovery.parameters):
            self.discovery = found
            self.parameters.update(
                {site: found.parameters[site] for site in found.parameters if site not in self.parameters}
            )
            self.rollouts.emit(Discovered, parameters=self.parameters, trainable=found.trainable)

    def texts(self, base: Candidate) -> dict[Site, Template]:
        """The text of every Parameter under a candidate."""
        return self.parameters | {site: change.new for site, change in base.items()}

    # Decisions

    def take(self, trial: Trial, number: int, verdict: Verdict, rollouts: Sequence[Rollout]) -> None:
        """Put a trial in force that the gates have accepted.

        Args:
            trial: The trial.
            number: Its number in the pool.
            verdict: That of the validation gate.
            rollouts: Its runs of the validation set.
        """
        updates = to_commit(trial, self.accepted, self.parameters, self._tried)
        self.pool.current = number
        try:
            versions = self.publication.commit(updates, verdict.after)
        except VersionConflict as error:
            self.warnings.add(
                f"the edit of {', '.join(str(update.site) for update in updates)} was accepted, and not written to the "
                f"registry, because another writer was faster ({error}); it is kept in the result and in {self.folder}"
            )
        else:
            for update, version in zip(updates, versions, strict=True):
                self.rollouts.emit(
                    Committed,
                    update=update,
                    name=version.name,
                    version=version.version,
                    label=CANDIDATE,
                    before=version.parent,
                )
        self.reserve.follow(rollouts)
        self._discover_more(rollouts)

    def tell_calls(self) -> None:
        """Tell the model calls that have ended since this was told last."""
        calls = self.rollouts.metering.made()
        if calls:
            self.rollouts.emit(ModelsCalled, calls=calls)

    def _stop(self, error: BaseException) -> None:
        """Leave everything so that the run can go on later, and say how."""
        self.rollouts.metering.stop()
        # What went wrong may be the journal itself; then its own error says so.
        with suppress(JournalError):
            self.rollouts.keep_spend()
        accepted = sum(self.start.get(site) != text for site, text in self.accepted.items())
        kept = f"{accepted} accepted edit{'' if accepted == 1 else 's'}, labelled {CANDIDATE!r} in the registry"
        error.add_note(
            f"textgrad_lg: the run was stopped; kept are its journal and {kept}. To go on, without paying for anything "
            f"twice, call optimize with the same arguments and run_dir={str(self.folder)!r}"
        )


def _first(found: Mapping[str, str]) -> str:
    return next(iter(found.values()))
