"""Session: one optimisation run from its first rollout to its result."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgrad_lg.autograd import backward, seed
from textgrad_lg.errors import (
    BudgetExhausted,
    BudgetTooSmall,
    DiscoveryError,
    JournalError,
    NoPromptFound,
    VersionConflict,
)
from textgrad_lg.events import (
    BackwardFinished,
    Committed,
    Discovered,
    Gated,
    Proposed,
    RunFinished,
    RunStarted,
    StepFinished,
    Warned,
)
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import Attempt, Proposals, StepContext
from textgrad_lg.overlay import Replacement
from textgrad_lg.record import Discovery
from textgrad_lg.record.lost import SIGN
from textgrad_lg.run.asked import Asked, content_key
from textgrad_lg.run.batches import minibatches
from textgrad_lg.run.demonstrations import demonstrations
from textgrad_lg.run.deploy import CANDIDATE
from textgrad_lg.run.ending import finish
from textgrad_lg.run.gate import Verdict, minibatch_gate, validation_gate
from textgrad_lg.run.publication import Publication
from textgrad_lg.run.reserve import Reserve
from textgrad_lg.run.rollout import Candidate, Rollout, Rollouts, failing, scores_by_id
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
    from textgrad_lg.trace import Trace
    from textgrad_lg.update import Update


@dataclass(kw_only=True)
class Session:
    """One optimisation run. What it was given comes first; the rest is what it has found so far."""

    start: Texts
    name: str
    evals: Evals
    splits: Splits
    settings: Settings
    optimizer: Optimizer
    only: Sequence[str] | None
    registry: PromptRegistry
    rollouts: Rollouts
    folder: Path

    discovery: Discovery = field(init=False)
    parameters: dict[Site, Template] = field(init=False, default_factory=dict["Site", "Template"])
    accepted: dict[Site, Replacement] = field(init=False, default_factory=dict["Site", "Replacement"])
    attempts: list[Attempt] = field(init=False, default_factory=list["Attempt"])
    decisions: list[Gated] = field(init=False, default_factory=list["Gated"])
    raised: dict[str, str] = field(init=False, default_factory=dict[str, str])
    unjudged: dict[str, str] = field(init=False, default_factory=dict[str, str])
    warnings: Warnings = field(init=False)
    baseline: dict[str, float | None] = field(init=False, default_factory=dict[str, "float | None"])
    in_force: dict[str, float | None] = field(init=False, default_factory=dict[str, "float | None"])
    publication: Publication = field(init=False)
    reserve: Reserve = field(init=False)
    asked: Asked = field(init=False)
    _first: list[Example] = field(init=False, default_factory=list["Example"])

    def __post_init__(self) -> None:
        self.accepted = dict(self.start)
        rollouts = self.rollouts
        self.warnings = Warnings(lambda message: rollouts.emit(Warned, message=message))
        self.reserve = Reserve(self.splits, self.settings.batch, rollouts.metering, rollouts.journal)
        self.asked = Asked(rollouts, self._model)

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
            emit(RunFinished, summary="", started=started, error=type(error).__name__)
            raise
        emit(RunFinished, summary=result.summary(), started=started, improved=result.improved)
        return result

    # The steps

    async def _steps(self) -> str:
        """Take step after step; returns why it stopped."""
        settings = self.settings
        self.reserve.check(Usage(1))
        batches = minibatches(self.splits.train, settings.batch, settings.seed)
        self._first = next(batches)
        try:
            await self._meet(self._first)
            first = await self.evaluate(self._first, Phase.ROLLOUT)
            self.reserve.measure(len(first))
            validation = await self.evaluate(self.splits.validation, Phase.VALIDATION)
            self.reserve.follow(validation)
        except BudgetExhausted as error:
            raise BudgetTooSmall(
                f"the budget does not pay for one evaluation of the graph as it is: {error}"
            ) from error
        useless = self._discover([*first, *validation])
        if useless is not None:
            return useless
        self.baseline = scores_by_id(validation)
        self.in_force = dict(self.baseline)
        for step in range(1, settings.steps + 1):
            self.rollouts.emit.step = step
            try:
                await self._step(step, next(batches) if step > 1 else self._first)
            except BudgetExhausted as error:
                return f"stopped in step {step}: {error}"
            finally:
                self.rollouts.keep_spend()
                self.rollouts.emit.step = 0
        return f"took {settings.steps} {'step' if settings.steps == 1 else 'steps'}"

    async def _meet(self, examples: Sequence[Example]) -> None:
        """Learn which model the graph calls, where no other was given, before runs side by side need it as a judge."""
        own = self.rollouts.own_model
        for example in examples:
            if own.model is not None or own.wanted is not None:
                return
            await self.evaluate([example], Phase.ROLLOUT)

    async def _step(self, step: int, examples: Sequence[Example]) -> None:
        started = time.time()
        before = await self.evaluate(examples, Phase.ROLLOUT)
        scores = [rollout.score for rollout in before if rollout.score is not None]
        mean = sum(scores) / len(scores) if scores else None
        accepted = False
        failed = failing(before, self.evals.pass_at)
        if failed:
            gradients = await self._backward(failed)
            proposals = await self._propose(step, gradients, before)
            accepted = await self._gate(proposals.updates, before)
        self.rollouts.emit(StepFinished, started=started, score=mean, accepted=accepted)

    async def _backward(self, failed: Sequence[Rollout]) -> Gradients:
        jobs = [partial(self._backward_one, rollout) for rollout in failed if rollout.trace is not None]
        found = await self.rollouts.schedule.gather(jobs)
        # Told in the order of the examples, and not in that in which the critic happened to answer.
        for finished in found:
            self.rollouts.emit(BackwardFinished, **finished)
            trace = finished["trace"]
            for failure in finished["gradients"].failures:
                # The same failure on another example names another trace.
                kind = failure.replace(trace.id, "")
                self.warnings.add(f"no gradient for example {trace.example}: {failure}", f"gradient {kind}")
        return Gradients.merge(finished["gradients"] for finished in found)

    async def _backward_one(self, rollout: Rollout) -> dict[str, Any]:
        """The reverse pass over one rollout, as the fields of its event."""
        assert rollout.trace is not None
        trace = seed(self._label(rollout.trace), rollout.scores)
        started = time.time()
        tried = {
            site: [str(attempt) for attempt in self.attempts if attempt.update.site == site] for site in self.parameters
        }
        ask = partial(
            backward,
            trace,
            strategy=self.settings.strategy,
            goal=self.evals.goal,
            tried=tried,
            concurrency=self.settings.concurrency,
        )
        key = content_key(trace.to_json(), repr(tried), self.settings.strategy, self.evals.goal)
        gradients = await self.asked.gradients(key, ask)
        return {"trace": trace, "gradients": gradients, "started": started, "ended": time.time()}

    async def _propose(self, step: int, gradients: Gradients, before: Sequence[Rollout]) -> Proposals:
        context = StepContext(
            parameters={site: template for site, template in self._texts().items() if site in self.discovery.trainable},
            gradients=gradients,
            goal=self.evals.goal,
            demos=self._demos(before),
            attempts=tuple(self.attempts),
            step=step,
            seed=self.settings.seed,
        )

        def ask(model: BaseChatModel | None) -> Awaitable[Proposals]:
            return self.optimizer.propose(replace(context, model=model))

        proposals = await self.asked.proposals(content_key(repr(context)), ask)
        for update, reason in proposals.rejected:
            self._decide(update, "edit", Verdict(False, reason, None, None, 0), final=True)
        for update in proposals.updates:
            self.rollouts.emit(Proposed, update=update)
        for failure in proposals.failures:
            self.warnings.add(f"a proposer failed: {failure}")
        return proposals

    async def _gate(self, updates: Sequence[Update], before: Sequence[Rollout]) -> bool:
        """Try the updates on the minibatch, the best of them on validation; take the first that holds."""
        examples = [rollout.example for rollout in before]
        old = scores_by_id(before)
        better: list[tuple[Update, Verdict]] = []
        for update in updates:
            after = await self.evaluate(examples, Phase.ROLLOUT, self._with(update))
            verdict = minibatch_gate(old, scores_by_id(after))
            self._decide(update, "minibatch", verdict, final=not verdict.accepted)
            if verdict.accepted:
                better.append((update, verdict))
        # Stable: of equals, the optimizer's earlier guess goes first.
        better.sort(key=lambda item: -(item[1].after or 0.0))
        taken = False
        for at, (update, verdict) in enumerate(better):
            if taken or at >= self.settings.validate:
                self._remember(update, verdict, accepted=False, reason="another proposal of its step did better")
                continue
            after = await self.evaluate(self.splits.validation, Phase.VALIDATION, self._with(update))
            scores = scores_by_id(after)
            verdict = validation_gate(self.in_force, scores, alpha=self.settings.alpha, seed=self.settings.seed)  # noqa: PLW2901
            self._decide(update, "validation", verdict, final=True)
            if verdict.accepted:
                taken = True
                self.in_force = scores
                self._commit(update, verdict)
                self.reserve.follow(after)
                self._discover_more(after)
        return taken

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
        rollouts = await self.rollouts.evaluate(examples, candidate, phase, one_by_one=one_by_one)
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

    async def _model(self) -> BaseChatModel | None:
        own = self.rollouts.own_model
        if own.model is None and own.wanted is not None:
            await self.rollouts.find_model(self._first, self.start)
        return own.model

    def _discover(self, rollouts: Sequence[Rollout]) -> str | None:
        """Find the Parameters; returns why nothing can be learnt, where that is so."""
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

    def _label(self, trace: Trace) -> Trace:
        return replace(self.discovery, parameters=self._texts()).label(trace)

    def _demos(self, rollouts: Sequence[Rollout]) -> Mapping[Site, Any]:
        failed = {rollout.example.id for rollout in failing(rollouts, self.evals.pass_at)}
        runs = [
            (rollout.example, self._label(rollout.trace), rollout.example.id not in failed)
            for rollout in rollouts
            if rollout.trace is not None
        ]
        return demonstrations(runs, self._texts())

    def _texts(self) -> dict[Site, Template]:
        """The text of every Parameter as it is in force now."""
        return self.parameters | {site: change.new for site, change in self.accepted.items()}

    def _with(self, update: Update) -> dict[Site, Replacement]:
        return self.accepted | {update.site: Replacement(self.parameters[update.site], update.new)}

    # Decisions

    def _decide(self, update: Update, gate: str, verdict: Verdict, *, final: bool) -> None:
        fields: dict[str, Any] = {
            "update": update,
            "gate": gate,
            "accepted": verdict.accepted,
            "reason": verdict.reason,
            "before": verdict.before,
            "after": verdict.after,
            "n": verdict.n,
            "p_value": verdict.p_value,
        }
        emit = self.rollouts.emit
        emit(Gated, **fields)
        self.decisions.append(Gated(run=self.rollouts.run, time=time.time(), step=emit.step, **fields))
        if final:
            self._remember(update, verdict, accepted=verdict.accepted, reason=verdict.reason)

    def _remember(self, update: Update, verdict: Verdict, *, accepted: bool, reason: str) -> None:
        self.attempts.append(Attempt(update, accepted, verdict.change, reason))

    def _commit(self, update: Update, verdict: Verdict) -> None:
        self.accepted = self._with(update)
        try:
            version = self.publication.commit(update, verdict.after)
        except VersionConflict as error:
            self.warnings.add(
                f"the edit of {update.site} was accepted, and not written to the registry, because another writer was "
                f"faster ({error}); it is kept in the result and in {self.folder}"
            )
            return
        self.rollouts.emit(Committed, update=update, name=version.name, version=version.version, label=CANDIDATE)

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
