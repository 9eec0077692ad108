"""What gepa's search needs to have run: rollouts, feedback and reflection, under one budget and in one journal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from textgrad_lg.autograd import backward, seed
from textgrad_lg.errors import BudgetExhausted, BudgetTooSmall, GraphError
from textgrad_lg.events import BackwardFinished, RunFinished, RunStarted
from textgrad_lg.overlay import overlay
from textgrad_lg.run.asked import Asked, content_key
from textgrad_lg.run.held_out import HeldOut
from textgrad_lg.run.opening import identity_of, opened
from textgrad_lg.run.reserve import Reserve
from textgrad_lg.run.rollout import Rollout, candidate_hash, scores_by_id
from textgrad_lg.sync import run_sync
from textgrad_lg.templates import tokens_in
from textgrad_lg.types import JSON, ModelCall, Phase, Usage

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.evals import Evals, Splits
    from textgrad_lg.events import Callback
    from textgrad_lg.example import Example
    from textgrad_lg.gradient import Gradients
    from textgrad_lg.overlay import Texts
    from textgrad_lg.redact import Redaction
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.prices import Prices
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.run.spend import Spend
    from textgrad_lg.run.target import LocalGraph
    from textgrad_lg.trace import Trace
    from textgrad_lg.types import Meter

Prompt = str | list[dict[str, Any]]
"""What gepa asks a reflection model: a text, or messages in OpenAI's form."""
Reflect = Callable[[Prompt], str]
"""A reflection model as gepa takes it."""

_FAILURES = 3
"""Reflections that fail in a row until the search ends: a model that is not there will not come."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What became of one example under one candidate.

    Attributes:
        example: The example.
        rollout: The judged run with its Trace; None where the graph was not run.
        reason: Why it was not run: the candidate was refused, or the budget was used up. Empty where it was.
    """

    example: Example
    rollout: Rollout | None
    reason: str = ""


class Credit(NamedTuple):
    """One failing run, differentiated.

    Attributes:
        trace: The run, with its Parameters and verdicts marked, as far as it may be shown.
        gradients: The feedback on all of its Variables.
        score: Of the run.
    """

    trace: Trace
    gradients: Gradients
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a search was given. See `GraphAdapter`, which takes the same."""

    target: LocalGraph
    start: Texts
    evals: Evals
    splits: Splits
    model: BaseChatModel | None
    budget: Budget
    prices: Prices
    only: Sequence[str] | None
    config: Mapping[str, Any]
    folder: str | Path | None
    callbacks: tuple[Callback, ...]
    settings: Settings

    def identity(self) -> dict[str, JSON]:
        """What makes a run the same run: with another of these, what its journal holds would answer another question."""
        own = identity_of(
            self.target, self.start, self.evals, self.evals.examples, only=self.only, settings=self.settings
        )
        return {**own, "optimizer": "gepa"}


class Runs:
    """Runs what a search asks for. Open it with `with`.

    gepa logs most exceptions and goes on, so what must end the search is kept here.

    Attributes:
        over: Why the search has to end; None while it may go on.
        raised: The first exception that is neither a graph's, nor a reflection model's, nor the budget's.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.over: str | None = None
        self.raised: Exception | None = None
        self._held_out = {example.id for example in plan.splits.validation}
        self._prompts: dict[str, int] = {}
        self._failures = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        plan = self.plan
        with ExitStack() as stack:
            run = opened(
                plan.target,
                lambda _: plan.evals,
                identity=plan.identity(),
                run_dir=plan.folder,
                budget=plan.budget,
                prices=plan.prices,
                settings=plan.settings,
                critic=plan.model,
                judges=plan.evals.judges,
                config=plan.config,
                callbacks=plan.callbacks,
            )
            self._rollouts = stack.enter_context(run).rollouts
            self._rollouts.held_out = HeldOut(plan.splits.test, self._rollouts.journal)
            self._metering, self.emit = self._rollouts.metering, self._rollouts.emit
            self._asked = Asked(self._rollouts, self._model)
            self._began = time.time()
            self.emit(RunStarted, graph=plan.target.name, settings=plan.settings.to_json())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if error is not None:
                self._metering.stop()
            self._rollouts.keep_spend()
            said = None if error is None else type(error).__name__
            self.emit(RunFinished, summary=self.over or "", started=self._began, error=said)

    @property
    def spend(self) -> Spend:
        """What was spent so far, by phase."""
        return self._metering.ledger.spend

    def meet(self) -> list[Rollout]:
        """Run the validation set as the graph is, and keep back what the test set will cost.

        Raises:
            BudgetTooSmall: The budget does not pay for it.
        """
        return run_sync(self._meet())

    def evaluate(self, batch: Sequence[Example], texts: Texts) -> list[Trajectory]:
        """Run and judge the examples, in their order; those that the budget does not pay for have no rollout."""
        jobs = [partial(self._one, example, texts) for example in batch]
        return self._kept(lambda: run_sync(self._rollouts.schedule.gather(jobs)))

    def credit(
        self, failed: Sequence[Rollout], label: Callable[[Trace], Trace], hide: Callable[[Trace], Redaction]
    ) -> list[Credit]:
        """Differentiate the failing runs. Asked again, it costs nothing: the journal has the answers.

        Args:
            failed: Runs with a Trace.
            label: Marks the Parameters in a Trace.
            hide: What of a labelled Trace may be shown.
        """
        jobs = [partial(self._backward, rollout, label, hide) for rollout in failed]
        try:
            return self._kept(lambda: run_sync(self._rollouts.schedule.gather(jobs)))
        except BudgetExhausted:
            return []

    def reflect(self, model: BaseChatModel | Reflect | None, prompt: Prompt) -> str:
        """Ask a reflection model, or the search's own model where that is None.

        Raises:
            BudgetExhausted: The call was not admitted.
            GraphError: There is no model.
        """
        chosen = model if model is not None else run_sync(self._model())
        if chosen is None:
            self.over = "there is no model to reflect: the graph called none, and none was given"
            raise GraphError(self.over)
        # gepa asks the same again where it wants another answer; a kept one stands for its own turn only.
        text = json.dumps(prompt, ensure_ascii=False)
        self._prompts[text] = self._prompts.get(text, 0) + 1
        key, journal = content_key(text, str(self._prompts[text])), self._rollouts.journal
        kept = journal.get("reflection", key)
        if kept is None:
            kept = self._reflected(chosen, prompt)
            journal.put("reflection", key, kept)
            self._rollouts.keep_spend()
        return str(kept)

    def test(self, *texts: Texts) -> list[Mapping[str, float | None]]:
        """The score of each example of the test set, with each of the texts.

        Raises:
            BudgetExhausted: Not all could be paid for.
            DataError: The test set was read before.
        """

        async def run(one: Texts) -> list[Rollout]:
            # One by one: what was kept back holds one call at its worst case, and not several.
            return await self._rollouts.evaluate(self.plan.splits.test, one, Phase.TEST, one_by_one=True)

        with self._rollouts.held_out.reading(*map(candidate_hash, texts)):
            return [scores_by_id(run_sync(run(one))) for one in texts]

    async def _meet(self) -> list[Rollout]:
        reserve = Reserve(self.plan.splits, self.plan.settings.batch, self._metering, self._rollouts.journal)
        reserve.check(Usage(1))
        size, start, own = self.plan.settings.batch, self.plan.start, self._rollouts.own_model
        first, rest = self.plan.splits.validation[:size], self.plan.splits.validation[size:]
        try:
            for example in first:
                # A judge may need the model that the graph calls before runs side by side could agree on it.
                if own.model is not None or own.wanted is not None:
                    break
                await self._rollouts.evaluate([example], start, Phase.VALIDATION)
            found = await self._rollouts.evaluate(first, start, Phase.VALIDATION)
            reserve.measure(len(first))
            return found + await self._rollouts.evaluate(rest, start, Phase.VALIDATION)
        except BudgetExhausted as error:
            raise BudgetTooSmall(f"the budget does not pay for the validation set: {error}") from error

    async def _one(self, example: Example, texts: Texts) -> Trajectory:
        phase = Phase.VALIDATION if example.id in self._held_out else Phase.ROLLOUT
        try:
            [rollout] = await self._rollouts.evaluate([example], texts, phase)
        except BudgetExhausted as refused:
            self.over = self.over or str(refused)
            return Trajectory(example, None, str(refused))
        return Trajectory(example, rollout)

    async def _backward(
        self, rollout: Rollout, label: Callable[[Trace], Trace], hide: Callable[[Trace], Redaction]
    ) -> Credit:
        assert rollout.trace is not None
        settings, goal = self.plan.settings, self.plan.evals.goal
        started = time.time()
        trace = seed(label(rollout.trace), rollout.scores)
        redaction = hide(trace)
        seen = redaction.trace(trace)
        ask = partial(backward, seen, strategy=settings.strategy, goal=goal, concurrency=settings.concurrency)
        gradients = await self._asked.gradients(content_key(seen.to_json(), settings.strategy, goal), ask)
        gradients = redaction.evidence(gradients, trace, seen)
        self.emit(BackwardFinished, trace=trace, gradients=gradients, started=started, ended=time.time())
        return Credit(seen, gradients, rollout.score)

    async def _model(self) -> BaseChatModel | None:
        own = self._rollouts.own_model
        if own.model is None and own.wanted is not None:
            await self._rollouts.find_model(self.plan.splits.validation, self.plan.start)
        return own.model

    def _reflected(self, model: BaseChatModel | Reflect, prompt: Prompt) -> str:
        try:
            text = _answer(model, prompt, self._metering.meter(Phase.PROPOSAL))
        except BudgetExhausted as refused:
            self.over = self.over or str(refused)
            raise
        except Exception as error:
            self._failures += 1
            if self._failures == _FAILURES:
                self.over = f"reflection failed {_FAILURES} times in a row, last with {type(error).__name__}: {error}"
            raise
        self._failures = 0
        return text

    def _kept(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except BudgetExhausted as refused:
            self.over = self.over or str(refused)
            raise
        except Exception as error:
            self.raised = self.raised or error
            self.over = self.over or f"{type(error).__name__}: {error}"
            raise


def _answer(model: BaseChatModel | Reflect, prompt: Prompt, meter: Meter) -> str:
    from langchain_core.language_models import BaseChatModel

    if isinstance(model, BaseChatModel):
        with overlay({}, meter=meter):
            return model.invoke(cast("Any", prompt)).text
    # A function does not say what it is: its calls are admitted and counted by the length of the texts.
    sent = tokens_in(prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False))
    ticket = meter.admit(ModelCall("", str(getattr(model, "__name__", "")), sent, None))
    received: int | None = None
    try:
        text = model(prompt)
        received = tokens_in(text)
        return text
    finally:
        ticket.settle(sent, received)
