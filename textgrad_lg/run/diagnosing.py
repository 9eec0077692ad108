"""The procedure of a diagnosis: what it runs, in which order, and what it reads off."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.autograd import backward, seed
from textgrad_lg.descriptions import is_description
from textgrad_lg.errors import BudgetExhausted, BudgetTooSmall, JournalError, NoPromptFound
from textgrad_lg.evals import example_score, failed
from textgrad_lg.events import Discovered, RunFinished, RunStarted, Warned
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import StepContext
from textgrad_lg.optim.baselines import Paraphrase
from textgrad_lg.optim.choose import choose
from textgrad_lg.overlay import Replacement
from textgrad_lg.record.lost import SIGN
from textgrad_lg.run.ablate import moved, neutral
from textgrad_lg.run.asked import Asked, content_key
from textgrad_lg.run.budget import DEFAULT_CALLS
from textgrad_lg.run.diagnosis import Dependence, Diagnosis, Effect, Trial
from textgrad_lg.run.headroom import headroom, judged_output
from textgrad_lg.run.memos import Memos
from textgrad_lg.run.noise import Noise, detectable, needed, pooled
from textgrad_lg.run.rollout import scores_by_id
from textgrad_lg.run.stats import compare
from textgrad_lg.run.warned import Warnings
from textgrad_lg.types import Phase, SpanKind, Tools

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.evals import Evals, Splits
    from textgrad_lg.example import Example, Score
    from textgrad_lg.optim.choose import Choice
    from textgrad_lg.overlay import Texts
    from textgrad_lg.prompt import Template
    from textgrad_lg.record import Discovery
    from textgrad_lg.run.journal import Journal
    from textgrad_lg.run.rollout import Candidate, Rollout
    from textgrad_lg.run.rollouts import Rollouts
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Trace
    from textgrad_lg.types import JSON

GAINS = (0.05, 0.1, 0.2)
"""The gains for which a diagnosis says how many test examples they take."""
_JUDGED = "judged"


@dataclass
class JudgedAgain:
    """Judges the first output of each example several times; the first verdict counts, the others show how much they vary."""

    evals: Evals
    times: int
    journal: Journal

    async def score(
        self,
        example: Example,
        outputs: JSON | Mapping[str, Any],
        *,
        trace: Trace | None = None,
        model: BaseChatModel | None = None,
    ) -> tuple[Score, ...]:
        """The first verdict; see `Evals.score`."""
        ask = partial(self.evals.score, example, outputs, trace=trace, model=model)
        first = await ask()
        if self.times > 1 and self.journal.get(_JUDGED, example.id) is None:
            scores = [example_score(first)]
            for _ in range(self.times - 1):
                scores.append(example_score(await ask()))  # noqa: PERF401  one after the other: each may ask a model
            self.journal.put(_JUDGED, example.id, cast("JSON", scores))
        return first


@dataclass(kw_only=True)
class Diagnosing:
    """One diagnosis from its first rollout to its result. What it was given comes first; the rest is what it has found."""

    start: Texts
    evals: Evals
    splits: Splits
    examples: Sequence[Example]
    repeats: int
    settings: Settings
    only: Sequence[str] | None
    rollouts: Rollouts
    folder: Path

    discovery: Discovery | None = field(init=False, default=None)
    parameters: dict[Site, Template] = field(init=False, default_factory=dict["Site", "Template"])
    runs: list[list[Rollout]] = field(init=False, default_factory=list["list[Rollout]"])
    reached: dict[Site, int] = field(init=False, default_factory=dict["Site", int])
    blamed: dict[Site, int] = field(init=False, default_factory=dict["Site", int])
    tried: list[tuple[Site, Effect]] = field(init=False, default_factory=list["tuple[Site, Effect]"])
    warnings: Warnings = field(init=False)

    def __post_init__(self) -> None:
        self.warnings = Warnings(lambda message: self.rollouts.emit(Warned, message=message))

    async def run(self) -> Diagnosis:
        """Run to the end, or to that of the budget.

        Raises:
            BudgetTooSmall: The budget cannot pay for one run of each example.
        """
        started, emit = time.time(), self.rollouts.emit
        try:
            emit(RunStarted, graph=self.rollouts.target.name, settings=self.settings.to_json())
            await self._baseline()
            learnt = self._discover()
            unfinished = await self._until_spent(self._again) if learnt else None
            await self._credit()
            if learnt and unfinished is None:
                unfinished = await self._until_spent(self._trials)
            self.rollouts.keep_spend()
            result = self._result(unfinished)
        except BaseException as error:
            self._stop(error)
            emit(RunFinished, summary="", started=started, error=type(error).__name__)
            raise
        emit(RunFinished, summary=str(result), started=started)
        return result

    # Measuring

    async def _baseline(self) -> None:
        budget, count = self.rollouts.metering.ledger.budget, len(self.examples)
        if budget.calls is not None and budget.calls < count:
            raise BudgetTooSmall(
                f"a budget of {budget.calls:,} calls cannot pay for one run of each of {count} examples; "
                "diagnose(..., dry_run=True) says what it takes; raise the budget, or use fewer examples"
            )
        own = self.rollouts.own_model
        try:
            # One after the other until the model is known that evaluators may ask for.
            for example in self.examples:
                if own.model is not None or own.wanted is not None:
                    break
                await self._evaluate([example], self.start)
            self.runs.append(await self._evaluate(self.examples, self.start))
        except BudgetExhausted as error:
            raise BudgetTooSmall(
                f"the budget does not pay for one run of each of {count} examples, or use fewer: {error}"
            ) from error

    async def _until_spent(self, part: Callable[[], Awaitable[None]]) -> str | None:
        """Do a part; returns why it ended early, where it did."""
        try:
            await part()
        except BudgetExhausted as error:
            return str(error)
        return None

    async def _trials(self) -> None:
        """Replace the text of each Parameter that a run used, one at a time: first all by nothing, then all by other words."""
        used = {site: text for site, text in self._texts().items() if self.reached.get(site)}
        for site, text in used.items():
            new = neutral(site, text)
            if new is not None:
                await self._try(site, Trial.ABLATE, "its words taken away", new)
        for site, text in used.items():
            new, how = await self._otherwise(site, text)
            if new is not None:
                await self._try(site, Trial.PERTURB, how, new)

    async def _again(self) -> None:
        """Run the same again, with no reply taken from memory."""
        if self.repeats > 1 and self.settings.tools is not Tools.RUN:
            self.warnings.add(
                f"the runs were not repeated, because Settings(tools={self.settings.tools.value!r}) keeps tools from running "
                "again; how much the graph varies is not known"
            )
            return
        memos = Memos(self.rollouts.memos.receipts, replace(self.settings, tools=Tools.RUN, replay=False))
        for repeat in range(1, self.repeats):
            again = replace(self.rollouts, evals=self.evals, memos=memos, repeat=repeat)
            self.runs.append(await self._evaluate(self.examples, self.start, again))

    async def _credit(self) -> None:
        """Count how many examples used each Parameter, and from how many failing ones the verdict leads back to it."""
        for group in zip(*self.runs, strict=True) if self.discovery is not None else ():
            traces = [(self._label(each.trace), each.scores) for each in group if each.trace is not None]
            used = {variable.site: None for trace, _ in traces for variable in trace.parameters if variable.site}
            bad = next((seed(*each) for each in traces if failed(each[1], self.evals.pass_at)), None)
            blamed = (await backward(bad)).parameters() if bad is not None else {}
            for site in used:
                self.reached[site] = self.reached.get(site, 0) + 1
            for site in blamed:
                self.blamed[site] = self.blamed.get(site, 0) + 1

    async def _try(self, site: Site, trial: Trial, how: str, new: Template) -> None:
        before = self.runs[0]
        after = await self._evaluate(self.examples, {**self.start, site: Replacement(self.parameters[site], new)})
        effect = Effect(
            trial=trial,
            how=how,
            text=new,
            comparison=compare(scores_by_id(before), scores_by_id(after), seed=self.settings.seed),
            changed=sum(judged_output(old) != judged_output(new) for old, new in zip(before, after, strict=True)),
        )
        self.tried.append((site, effect))

    async def _otherwise(self, site: Site, text: Template) -> tuple[Template | None, str]:
        """The text in other words, and how they were found: by the model, else by code."""
        context = StepContext(
            parameters={site: text},
            gradients=Gradients(),
            goal=self.evals.goal,
            seed=self.settings.seed,
            own={site: self.parameters[site]},
            examples=tuple(self.examples),
        )
        paraphrase = Paraphrase(proposals=1, parameters=1)
        found = await Asked(self.rollouts, self._model).proposals(
            content_key("paraphrase", context),
            lambda model: paraphrase.propose(replace(context, model=model)),
        )
        for failure in found.failures:
            self.warnings.add(f"not paraphrased by the model: {failure}", "paraphrase")
        if found.updates:
            return found.updates[0].new, "paraphrased by the model"
        return moved(text)

    async def _model(self) -> BaseChatModel | None:
        own = self.rollouts.own_model
        if own.model is None and own.wanted is not None:
            await self.rollouts.find_model(self.examples, self.start)
        return own.model

    async def _evaluate(
        self, examples: Sequence[Example], candidate: Candidate, rollouts: Rollouts | None = None
    ) -> list[Rollout]:
        found = await (rollouts or self.rollouts).evaluate(examples, candidate, Phase.ROLLOUT)
        for rollout in found:
            for lost in (warning for warning in (rollout.trace.warnings if rollout.trace else ()) if SIGN in warning):
                self.warnings.add(lost, SIGN)
        return found

    # Reading

    def _discover(self) -> bool:
        """Find the Parameters; returns whether anything can be learnt by running them otherwise."""
        raised = all(rollout.raised is not None for rollout in self.runs[0])
        traces = [rollout.trace for rollout in self.runs[0] if rollout.trace is not None]
        try:
            found = self.rollouts.target.discover(traces, self.only)
        except NoPromptFound:
            if raised:
                return False  # it raised before it sent anything, which the headroom says
            raise
        # The runs showed the texts that were in force; the graph's own are known for those that were replaced.
        own = {site: replacement.old for site, replacement in self.start.items()}
        self.discovery, self.parameters = found, {**found.parameters, **own}
        for warning in found.warnings:
            self.warnings.add(warning)
        self.rollouts.emit(Discovered, parameters=self.parameters, trainable=found.trainable)
        return not raised and any(rollout.score is not None for rollout in self.runs[0])

    def _force(self) -> dict[Site, Template]:
        """The text of every Parameter as it is in force."""
        return self.parameters | {site: replacement.new for site, replacement in self.start.items()}

    def _texts(self) -> dict[Site, Template]:
        """The texts in force of the Parameters that may change."""
        force = self._force()
        return {site: force[site] for site in self.discovery.trainable} if self.discovery is not None else {}

    def _label(self, trace: Trace) -> Trace:
        assert self.discovery is not None
        return replace(self.discovery, parameters=self._force()).label(trace)

    def _result(self, unfinished: str | None) -> Diagnosis:
        found, own, settings = self.discovery, self.rollouts.own_model, self.settings
        room, noise = headroom(self.runs, self.evals.pass_at, settings.seed), self._noise()
        parameters = self._dependences()
        sizes = (len(self.splits.train), len(self.splits.validation), len(self.splits.test))
        scores = [rollout.score for runs in self.runs for rollout in runs if rollout.score is not None]
        usual = bool(scores) and min(scores) >= 0 and max(scores) <= 1
        alpha, within = settings.significance, noise.within or 0.0
        critic = own.model is not None or own.wanted is not None
        return Diagnosis(
            headroom=room,
            noise=noise,
            parameters=parameters,
            frozen=tuple(site for site in found.parameters if site not in found.trainable and not is_description(site))
            if found
            else (),
            unreached=tuple(dict.fromkeys(text.held for text in found.unreached)) if found else (),
            examples=tuple(example.id for example in self.examples),
            sizes=sizes,
            needed={gain: needed(gain, within, significance=alpha) for gain in GAINS} if usual else None,
            detectable=detectable(sizes[2], within, significance=alpha) if usual else None,
            choice=self._choice(room.share, sizes, critic=critic) if room.share and parameters else None,
            critic=critic,
            spend=self.rollouts.metering.ledger.spend,
            unfinished=unfinished,
            warnings=self.warnings.lines(),
            run=self.rollouts.run,
            run_dir=self.folder,
        )

    def _choice(self, share: float, sizes: tuple[int, int, int], *, critic: bool) -> Choice:
        traces = [rollout.trace for rollout in self.runs[0] if rollout.trace is not None]
        calls = sum(span.kind is SpanKind.LLM for trace in traces for span in trace.spans)
        each = max(1, ceil(calls / len(self.examples)))
        return choose(
            failing=share,
            parameters=len(self._texts()),
            critic=critic,
            # What is left for steps of the budget that `optimize` has by default, once it has evaluated both its ends.
            calls=max(0, DEFAULT_CALLS - (sizes[1] + 2 * sizes[2]) * each),
            batch=min(self.settings.batch, sizes[0]),
            calls_a_run=each,
        )

    def _noise(self) -> Noise:
        groups = list(zip(*self.runs, strict=True))
        judged = [cast("list[float | None]", scores) for _, scores in self.rollouts.journal.items(_JUDGED)]
        return Noise(
            runs=len(self.runs),
            judgings=self.repeats,
            within=pooled([rollout.score for rollout in group] for group in groups),
            evaluator=pooled(judged),
            moved=sum(len({judged_output(rollout) for rollout in group}) > 1 for group in groups),
        )

    def _dependences(self) -> tuple[Dependence, ...]:
        """The Parameters, those that the score depends on most first."""
        seen = {at for trial in Trial for at in self._significant(trial)}
        found = [
            Dependence(
                site=site,
                text=text,
                reached=self.reached.get(site, 0),
                blamed=self.blamed.get(site, 0),
                effects=tuple(
                    replace(effect, seen=at in seen) for at, (place, effect) in enumerate(self.tried) if place == site
                ),
            )
            for site, text in self._texts().items()
        ]
        return tuple(sorted(found, key=lambda each: (not each.seen, -each.largest, -each.changed, -each.blamed)))

    def _significant(self, trial: Trial) -> list[int]:
        """Which of the trials of one kind show an effect.

        Many of them make some p-values small by chance; uncounted, that would name a Parameter for nothing.
        """
        from scipy.stats import false_discovery_control

        values = {
            at: effect.comparison.p_value
            for at, (_, effect) in enumerate(self.tried)
            if effect.trial is trial and effect.comparison.p_value is not None
        }
        adjusted = [float(value) for value in false_discovery_control(list(values.values()))] if values else []
        return [at for at, value in zip(values, adjusted, strict=True) if value <= self.settings.significance]

    def _stop(self, error: BaseException) -> None:
        """Leave everything so that the diagnosis can go on later, and say how."""
        self.rollouts.metering.stop()
        # What went wrong may be the journal itself; then its own error says so.
        with suppress(JournalError):
            self.rollouts.keep_spend()
        error.add_note(
            "textgrad_lg: the diagnosis was stopped; its journal is kept. To go on, without paying for anything twice, "
            f"call diagnose with the same arguments and run_dir={str(self.folder)!r}"
        )
