"""Session: one optimisation run from its first rollout to its result."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from textgrad_lg.autograd import backward, seed
from textgrad_lg.errors import BudgetExhausted, BudgetTooSmall, VersionConflict
from textgrad_lg.events import (
    BackwardFinished,
    Committed,
    Discovered,
    Gated,
    Proposed,
    RolledBack,
    RunFinished,
    RunStarted,
    StepFinished,
    Warned,
)
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import Attempt, Proposals, StepContext
from textgrad_lg.overlay import Replacement, overlay
from textgrad_lg.record import Discovery, discover
from textgrad_lg.run.demonstrations import demonstrations
from textgrad_lg.run.deploy import CANDIDATE, PRODUCTION, from_registry
from textgrad_lg.run.gate import Verdict, minibatch_gate, validation_gate
from textgrad_lg.run.publication import Publication
from textgrad_lg.run.reserve import calls_a_run, check_budget, hold_test
from textgrad_lg.run.result import OptimizeResult
from textgrad_lg.run.rollout import Candidate, Rollout, Rollouts, failing, scores_by_id
from textgrad_lg.run.stats import Comparison, compare
from textgrad_lg.site import Site
from textgrad_lg.types import Phase

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.evals import Evals, Splits
    from textgrad_lg.example import Example
    from textgrad_lg.optim import Optimizer
    from textgrad_lg.overlay import Texts
    from textgrad_lg.prompt import Template
    from textgrad_lg.registry import PromptRegistry
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.trace import Trace
    from textgrad_lg.update import Update

_log = logging.getLogger("textgrad_lg")


@dataclass(kw_only=True)
class Session:
    """One optimisation run. What it was given comes first; the rest is what it has found so far."""

    graph: Any
    start: Texts
    name: str
    evals: Evals
    splits: Splits
    settings: Settings
    optimizer: Optimizer
    only: Sequence[str] | None
    critic: BaseChatModel | None
    registry: PromptRegistry
    rollouts: Rollouts
    folder: Path

    discovery: Discovery = field(init=False)
    parameters: dict[Site, Template] = field(init=False, default_factory=dict["Site", "Template"])
    accepted: dict[Site, Replacement] = field(init=False, default_factory=dict["Site", "Replacement"])
    attempts: list[Attempt] = field(init=False, default_factory=list["Attempt"])
    decisions: list[Gated] = field(init=False, default_factory=list["Gated"])
    unjudged: dict[str, str] = field(init=False, default_factory=dict[str, str])
    warnings: list[str] = field(init=False, default_factory=list[str])
    baseline: dict[str, float | None] = field(init=False, default_factory=dict[str, "float | None"])
    in_force: dict[str, float | None] = field(init=False, default_factory=dict[str, "float | None"])
    publication: Publication = field(init=False)

    async def run(self) -> OptimizeResult[Any]:
        """Run to the end of the steps, of the budget, or of what can be improved."""
        self.accepted = dict(self.start)
        started = time.time()
        emit = self.rollouts.emit
        emit(RunStarted, graph=self.name, settings=self.settings.to_json())
        try:
            reason = await self._steps()
            result = await self._finish(reason)
        except BaseException as error:
            self._say_how_to_go_on(error)
            emit(RunFinished, summary="", started=started, error=type(error).__name__)
            raise
        emit(RunFinished, summary=result.summary(), started=started, improved=result.improved)
        return result

    # The steps

    async def _steps(self) -> str:
        """Take step after step; returns why it stopped."""
        ledger = self.rollouts.ledger
        check_budget(ledger, self.splits, self.settings.batch, 1)
        batches = self._batches()
        try:
            first = await self._evaluate(next(batches), Phase.ROLLOUT)
            check_budget(ledger, self.splits, self.settings.batch, calls_a_run(ledger, len(first)))
            hold_test(ledger, self.splits, calls_a_run(ledger, len(first)))
            validation = await self._evaluate(self.splits.validation, Phase.VALIDATION)
        except BudgetExhausted as error:
            raise BudgetTooSmall(
                f"the budget does not pay for one evaluation of the graph as it is: {error}"
            ) from error
        self._discover([*first, *validation])
        self.baseline = scores_by_id(validation)
        self.in_force = dict(self.baseline)
        if self.critic is None:
            self.critic = self._graphs_own_model()
            self.rollouts.judge = self.critic
        for step in range(1, self.settings.steps + 1):
            self.rollouts.emit.step = step
            try:
                await self._step(step, next(batches) if step > 1 else [rollout.example for rollout in first])
            except BudgetExhausted as error:
                return f"stopped in step {step}: {error}"
            finally:
                self.rollouts.emit.step = 0
        return f"took {self.settings.steps} steps"

    async def _step(self, step: int, examples: Sequence[Example]) -> None:
        started = time.time()
        before = await self._evaluate(examples, Phase.ROLLOUT)
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
        return Gradients.merge(await self.rollouts.schedule.gather(jobs))

    async def _backward_one(self, rollout: Rollout) -> Gradients:
        assert rollout.trace is not None
        trace = seed(self._label(rollout.trace), rollout.scores)
        started = time.time()
        tried = {
            site: [_in_words(attempt) for attempt in self.attempts if attempt.update.site == site]
            for site in self.parameters
        }
        ask = partial(
            backward,
            trace,
            self.critic,
            strategy=self.settings.strategy,
            goal=self.evals.goal,
            tried=tried,
            concurrency=self.settings.concurrency,
        )
        key = _key(trace.to_json(), repr(tried), self.settings.strategy, self.evals.goal)
        gradients = await self._once("gradients", key, Phase.GRADIENT, ask, _GRADIENTS)
        self.rollouts.emit(BackwardFinished, trace=trace, gradients=gradients, started=started)
        for failure in gradients.failures:
            self._warn(f"no gradient for example {rollout.example.id}: {failure}")
        return gradients

    async def _propose(self, step: int, gradients: Gradients, before: Sequence[Rollout]) -> Proposals:
        context = StepContext(
            parameters={site: template for site, template in self._texts().items() if site in self.discovery.trainable},
            gradients=gradients,
            goal=self.evals.goal,
            demos=self._demos(before),
            attempts=tuple(self.attempts),
            model=self.critic,
            step=step,
            seed=self.settings.seed,
        )
        key = _key(repr(replace(context, model=None)))
        proposals = await self._once(
            "proposals", key, Phase.PROPOSAL, partial(self.optimizer.propose, context), _PROPOSALS
        )
        for update, reason in proposals.rejected:
            self._decide(update, "edit", Verdict(False, reason, None, None, 0), final=True)
        for update in proposals.updates:
            self.rollouts.emit(Proposed, update=update)
        for failure in proposals.failures:
            self._warn(f"a proposer failed in step {step}: {failure}")
        return proposals

    async def _gate(self, updates: Sequence[Update], before: Sequence[Rollout]) -> bool:
        """Try the updates on the minibatch, the best of them on validation; take the first that holds."""
        examples = [rollout.example for rollout in before]
        old = scores_by_id(before)
        better: list[tuple[Update, Verdict]] = []
        for update in updates:
            after = await self._evaluate(examples, Phase.ROLLOUT, self._with(update))
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
            after = await self._evaluate(self.splits.validation, Phase.VALIDATION, self._with(update))
            scores = scores_by_id(after)
            verdict = validation_gate(self.in_force, scores, alpha=self.settings.alpha, seed=self.settings.seed)  # noqa: PLW2901
            self._decide(update, "validation", verdict, final=True)
            if verdict.accepted:
                taken = True
                self.in_force = scores
                self._commit(update, verdict)
        return taken

    # What the steps need

    async def _evaluate(
        self, examples: Sequence[Example], phase: Phase, candidate: Candidate | None = None
    ) -> list[Rollout]:
        rollouts = await self.rollouts.evaluate(examples, self.accepted if candidate is None else candidate, phase)
        for rollout in rollouts:
            for score in rollout.scores:
                if score.error is not None:
                    self.unjudged.setdefault(
                        rollout.example.id, f"example {rollout.example.id}, {score.key}: {score.error}"
                    )
        return rollouts

    async def _once(self, kind: str, key: str, phase: Phase, ask: Callable[[], Any], adapter: TypeAdapter[Any]) -> Any:
        """What `ask` returns, from the journal where it was asked before."""
        kept = self.rollouts.journal.get(kind, key)
        if kept is not None:
            return adapter.validate_python(kept)
        with overlay({}, meter=self.rollouts.ledger.meter(phase)):
            answer = await ask()
        self.rollouts.journal.put(kind, key, adapter.dump_python(answer, mode="json"))
        return answer

    def _batches(self) -> Any:
        """Minibatches of the train set without end: each example once an epoch, in an order that the seed fixes."""
        chance = random.Random(self.settings.seed)  # noqa: S311  an order of examples, not a secret
        order: list[Example] = []
        while True:
            while len(order) < min(self.settings.batch, len(self.splits.train)):
                epoch = list(self.splits.train)
                chance.shuffle(epoch)
                order += [example for example in epoch if example not in order]
            yield order[: self.settings.batch]
            order = order[self.settings.batch :]

    def _discover(self, rollouts: Sequence[Rollout]) -> None:
        traces = [rollout.trace for rollout in rollouts if rollout.trace is not None]
        self.discovery = discover(traces, self.rollouts.graph, only=self.only)
        # The runs showed the texts that were in force; the graph's own are known for those that were replaced.
        own = {site: replacement.old for site, replacement in self.start.items()}
        self.parameters = {**self.discovery.parameters, **own}
        self.publication = Publication(self.registry, self.name, self.rollouts.run, self.parameters, self.start)
        for warning in self.discovery.warnings:
            self._warn(warning)
        self.rollouts.emit(Discovered, parameters=self.parameters, trainable=self.discovery.trainable)

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
        return self.parameters | {site: rewrite.new for site, rewrite in self.accepted.items()}

    def _with(self, update: Update) -> dict[Site, Replacement]:
        return self.accepted | {update.site: Replacement(self.parameters[update.site], update.new)}

    def _graphs_own_model(self) -> BaseChatModel | None:
        # Ties go to the model that was called first.
        return max(self.rollouts.seen.values(), key=lambda item: item[1], default=(None, 0))[0]

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
        version = self.publication.commit(update, verdict.after)
        self.rollouts.emit(Committed, update=update, name=version.name, version=version.version, label=CANDIDATE)

    # The end

    async def _finish(self, reason: str) -> OptimizeResult[Any]:
        test: Comparison | None = None
        validation: Comparison | None = None
        improved = False
        if self.accepted == self.start:
            reason = f"{reason}; no edit passed the gates, so the test set was not read; graph unchanged"
        else:
            validation = compare(self.baseline, self.in_force, seed=self.settings.seed)
            try:
                before = await self._evaluate(self.splits.test, Phase.TEST, self.start)
                after = await self._evaluate(self.splits.test, Phase.TEST)
            except BudgetExhausted as error:
                reason = f"{reason}; the test set could not be paid for ({error}); graph unchanged"
            else:
                test = compare(scores_by_id(before), scores_by_id(after), seed=self.settings.seed)
                reason, improved = self._publish(reason, test)
        return OptimizeResult(
            graph=from_registry(self.graph, self.registry),
            improved=improved,
            reason=reason,
            texts={site: to for site, to in self.accepted.items() if to != self.start.get(site)},
            start=self.start,
            parameters=self.parameters,
            validation=validation,
            test=test,
            decisions=tuple(self.decisions),
            spend=self.rollouts.ledger.spend,
            errors=dict(self.rollouts.errors),
            unjudged=dict(self.unjudged),
            warnings=tuple(self.warnings),
            run=self.rollouts.run,
            run_dir=self.folder,
            seed=self.settings.seed,
            registry=self.registry,
            name=self.name,
            on_rollback=lambda versions: self.rollouts.emit(RolledBack, label=PRODUCTION, versions=versions),
        )

    def _publish(self, reason: str, test: Comparison) -> tuple[str, bool]:
        """Publish where the test set says so; returns why or why not, and whether."""
        if test.difference is None or test.p_value is None:
            return f"{reason}; no example of the test set could be judged; graph unchanged", False
        if test.difference <= 0 or test.p_value > self.settings.significance:
            return f"{reason}; no significant improvement; graph unchanged", False
        try:
            self.publication.publish()
        except VersionConflict as error:
            return f"{reason}; improved, but not published, because somebody else was faster: {error}", False
        return f"{reason}; improved and published", True

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)
            self.rollouts.emit(Warned, message=message)

    def _say_how_to_go_on(self, error: BaseException) -> None:
        accepted = sum(self.start.get(site) != text for site, text in self.accepted.items())
        kept = f"{accepted} accepted edits are in the registry under {CANDIDATE!r}"
        error.add_note(f"textgrad_lg: {kept}; to go on, call optimize again with run_dir={str(self.folder)!r}")


def _in_words(attempt: Attempt) -> str:
    change = "never run" if attempt.change is None else f"score {attempt.change:+.2f}"
    return f"{attempt.update.why} ({'accepted' if attempt.accepted else 'rejected'}, {change})"


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


_GRADIENTS: TypeAdapter[Gradients] = TypeAdapter(Gradients)
_PROPOSALS: TypeAdapter[Proposals] = TypeAdapter(Proposals)
