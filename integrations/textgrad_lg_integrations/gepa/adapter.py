"""GraphAdapter: a LangGraph graph as gepa sees it. A component is a Parameter; a candidate is an overlay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from textgrad_lg.errors import DataError, GraphError, UnknownParameter
from textgrad_lg.evals import Evals, failed, split
from textgrad_lg.events import Discovered
from textgrad_lg.gradient import Gradients
from textgrad_lg.llm import resolve_model
from textgrad_lg.optim import EditLimits, Leakage, check, rank
from textgrad_lg.optim.copied import Copied
from textgrad_lg.optim.edit import keep_margins
from textgrad_lg.overlay import Replacement, bind
from textgrad_lg.redact import Redaction
from textgrad_lg.run.budget import Budget
from textgrad_lg.run.prices import Prices
from textgrad_lg.run.settings import Settings
from textgrad_lg.run.stats import compare, tags_of
from textgrad_lg.run.target import LocalGraph, as_target
from textgrad_lg_integrations.gepa import records
from textgrad_lg_integrations.gepa.runs import Plan, Prompt, Runs, Trajectory

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from gepa.core.adapter import EvaluationBatch, ProposalFn
    from gepa.proposer.reflective_mutation.base import LanguageModel
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.events import Callback
    from textgrad_lg.example import Example
    from textgrad_lg.overlay import Texts
    from textgrad_lg.prompt import Template
    from textgrad_lg.record import Discovery
    from textgrad_lg.run.prices import Price
    from textgrad_lg.run.rollout import Rollout
    from textgrad_lg.run.stats import Comparison
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Trace
    from textgrad_lg.types import JSON
    from textgrad_lg_integrations.gepa.runs import Credit, Reflect

G = TypeVar("G")

_RUNS = 100
"""Latest runs that reflection was shown, out of which no new text may copy."""
_REFUSALS = 3
"""Latest refusals of new texts that the reflection on a component is told of."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What the graph has.

    Attributes:
        discovery: All that was found.
        own: The graph's own texts.
        components: The Parameters that may change, and their texts at the start, by printed Site.
    """

    discovery: Discovery
    own: Mapping[Site, Template]
    components: Mapping[str, tuple[Site, Template]]


class GraphAdapter(Generic[G]):
    """A real `GEPAAdapter` for a compiled LangGraph graph, for `gepa.optimize(adapter=...)`. Open it with `with`.

    The graph is run as `textgrad_lg.optimize` runs it: unchanged, recorded, under an overlay of the candidate's texts,
    within the budget, each rollout kept in a journal and never paid for twice. The reflective dataset of a component is
    made from the Gradients on that Parameter alone: what each of its calls was given, what the call made, and the feedback
    that the reverse pass has brought there.

    A candidate with a text that code refuses (it loses a slot, plants an address, copies an example or a run: `optim.check`) scores
    0 without a run, and the next reflection on that component is told why. After the budget has refused a call, examples
    score 0 too, and `stop` tells gepa to end; scores from then on are lower bounds.

    Args:
        graph: A compiled LangGraph graph.
        evals: `Evals(data, evaluators)`, or the pair.
        model: Gives the feedback, and reflects where no other model does; default: the model that the graph calls most.
        budget: The hard limit over rollouts, judges, feedback and reflection together; as in `textgrad_lg.optimize`.
        optimize_only: The Parameters that may change; default: all prompts.
        config: What each run of the graph needs, as a `RunnableConfig`.
        run_dir: Where the journal is. Given again after a stop, nothing in it is paid for twice.
        prices: By model name, where the built-in list does not know a model.
        callbacks: Observers of the run's events.
        settings: Strategy, concurrency, seed, fractions, replay, significance. The search itself is gepa's.
        limits: What code refuses; `EditLimits()` if None.

    Attributes:
        trainset: The train examples: gepa's `trainset`.
        valset: The validation examples: gepa's `valset`.
        settings: The settings.
        pass_at: From which score an example has passed: gepa's `perfect_score`.
        runs: Runs the graph, and knows why the search has to end.

    Raises:
        GraphError: `graph` is not a compiled graph of this process.
        DataError: The examples cannot be used.
    """

    propose_new_texts: ProposalFn | None = None

    def __init__(
        self,
        graph: G,
        evals: Any,
        *,
        model: str | BaseChatModel | None = None,
        budget: Budget | str | None = None,
        optimize_only: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        run_dir: str | Path | None = None,
        prices: Mapping[str, Price] | None = None,
        callbacks: Sequence[Callback] = (),
        settings: Settings | None = None,
        limits: EditLimits | None = None,
    ) -> None:
        target, self._start = as_target(graph)
        if not isinstance(target, LocalGraph):
            raise GraphError("gepa needs a graph of this process; for a deployed one use textgrad_lg.optimize")
        evals = Evals.of(evals)
        self.settings, self.pass_at, self._goal, self._names = (
            settings or Settings(),
            evals.pass_at,
            evals.goal,
            evals.names,
        )
        splits = split(evals.examples, seed=self.settings.seed, fractions=self.settings.fractions)
        self.trainset, self.valset = list(splits.train), list(splits.validation)
        self._target, self._only = target, optimize_only
        limits = limits or EditLimits()
        self._limits = replace(limits, trusted=(*limits.trusted, evals.goal, *evals.said))
        self._leakage = Leakage(self.trainset, quoted=limits.quoted, answer=limits.answer)
        self._refused: dict[str, list[str]] = {}
        self._shown: dict[str, Trace] = {}
        self._admitted: set[tuple[str, str]] = set()
        self._turns: dict[tuple[int, str], int] = {}
        self._idle = (0, 0)
        self._met: _Found | None = None
        self.runs = Runs(
            Plan(
                target=target,
                start=self._start,
                evals=evals,
                splits=splits,
                model=resolve_model(model),
                budget=Budget.parse(budget),
                prices=Prices(prices or {}),
                only=optimize_only,
                config=config or {},
                folder=run_dir,
                callbacks=tuple(callbacks),
                settings=self.settings,
            )
        )

    def __enter__(self) -> Self:
        self.runs.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.runs.__exit__(kind, error, trace)

    # What gepa is given

    @property
    def seed_candidate(self) -> dict[str, str]:
        """The texts in force, by printed Site. Asked first, it runs the validation set, which is then free for gepa.

        Raises:
            BudgetTooSmall: The budget does not pay for that.
            NoPromptFound: The runs showed no prompt.
            UnknownParameter: `optimize_only` names what the graph does not have.
            DataError: No example could be judged.
        """
        return {name: old.text for name, (_, old) in self._found.components.items()}

    def evaluate(
        self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False
    ) -> EvaluationBatch[Trajectory, JSON]:
        """Run and judge the examples under a candidate; see `GEPAAdapter`."""
        from gepa.core.adapter import EvaluationBatch

        refusals = self.refusals(candidate)
        for name, reason in refusals.items():
            others = (one for one in self._refused.get(name, ()) if one != reason)
            self._refused[name] = [*others, reason][-_REFUSALS:]
        if refusals:
            reason = "; ".join(f"{name}: {why}" for name, why in refusals.items())
            found = [Trajectory(example, None, reason) for example in batch]
        else:
            found = self.runs.evaluate(batch, self.texts(candidate))
        return EvaluationBatch(
            outputs=[_output(each) for each in found],
            scores=[_score(each) for each in found],
            trajectories=found if capture_traces else None,
            objective_scores=[self._objectives(each) for each in found],
            num_metric_calls=sum(each.rollout is not None for each in found),
        )

    def make_reflective_dataset(
        self,
        candidate: dict[str, str],
        eval_batch: EvaluationBatch[Trajectory, JSON],
        components_to_update: list[str],
    ) -> dict[str, list[dict[str, Any]]]:
        """The records of each component, made from the feedback on that component; see `GEPAAdapter`.

        A component that no failing example blames has no records, and gepa leaves its text alone.
        """
        trajectories = eval_batch.trajectories or []
        found = self._credit(candidate, trajectories)
        dataset: dict[str, list[dict[str, Any]]] = {}
        for name in components_to_update:
            site, _, template = self._new(name, candidate)
            rows = [row for credit in found for row in records.failing(site, template, credit)]
            if rows:
                passed = (one for one in _run(trajectories) if not failed(one.scores, self.pass_at))
                kept = (
                    row
                    for rollout in passed
                    for row in records.passing(site, template, self._seen(candidate, rollout.trace), rollout.score)
                )
                rows += [row for row in (next(kept, None),) if row is not None]
                rows += [records.refused(self._refused[name])] if name in self._refused else []
                dataset[name] = rows
        return dataset

    def select(
        self, state: Any, trajectories: list[Trajectory], scores: list[float], index: int, candidate: dict[str, str]
    ) -> list[str]:
        """For gepa's `module_selector`: of the components that failing examples blame, the one that had the fewest turns.

        Without it gepa takes all components in turn, also those that had no part in what failed.
        """
        gradients = Gradients.merge(credit.gradients for credit in self._credit(candidate, trajectories))
        blamed = rank(gradients, dict(self._found.components.values()))
        names = [str(site) for site in blamed] or list(candidate)
        name = min(names, key=lambda name: self._turns.get((index, name), 0))
        self._turns[index, name] = self._turns.get((index, name), 0) + 1
        return [name]

    def reflection(self, model: BaseChatModel | str | Reflect | None = None) -> LanguageModel:
        """For gepa's `reflection_lm`: its calls are admitted by the budget, and none is paid for twice.

        Args:
            model: A chat model, its name, or a function of the prompt; default: the model of the adapter.
        """
        chosen = resolve_model(model) if isinstance(model, str) else model

        def reflect(prompt: Prompt) -> str:
            return self.runs.reflect(chosen, prompt)

        return reflect

    def instructions(self) -> dict[str, str]:
        """For gepa's `reflection_prompt_template`: each component has its own, which says what a new text has to keep."""
        return {
            name: records.instruction(site, text, self._found.own[site], self._limits, self._goal)
            for name, (site, text) in self._found.components.items()
        }

    def stop(self, gepa_state: Any) -> bool:
        """For gepa's `stop_callbacks`: whether it is of no use to go on.

        That is so after the budget has refused a call, or after something was raised that gepa only logs; where a candidate
        passes every validation example; and where a whole epoch of iterations made no model call: gepa would never end.
        """
        runs = self.runs
        runs.emit.step = int(gepa_state.i) + 2  # gepa counts from -1, and asks before it counts
        calls, idle = runs.spend.total.calls, self._idle
        self._idle = (calls, idle[1] + 1 if calls == idle[0] else 0)
        candidates = cast("list[dict[Any, float]]", gepa_state.prog_candidate_val_subscores)
        if any(scores and min(scores.values()) >= self.pass_at for scores in candidates):
            runs.over = runs.over or "a candidate passes every validation example"
        elif self._idle[1] > len(self.trainset):
            runs.over = runs.over or "nothing was left to ask: a whole epoch of iterations made no model call"
        return runs.over is not None

    # What else can be asked of it

    def refusals(self, candidate: Mapping[str, str]) -> dict[str, str]:
        """Why code refuses texts of a candidate, by component; empty where it may be run."""
        found: dict[str, str] = {}
        texts = [text.text for _, text in self._found.components.values()]
        copied = Copied(tuple(self._shown.values()), most=self._limits.copied, texts=texts)
        for name in candidate:
            site, old, new = self._new(name, candidate)
            # What was admitted stays so: a run that goes by it may repeat it.
            if new == old or (name, new.text) in self._admitted:
                continue
            limits, own = self._limits.at(site), self._found.own[site]
            reason = check(old, new, limits=limits, own=own, leakage=self._leakage, copied=copied)
            if reason is None:
                self._admitted.add((name, new.text))
            else:
                found[name] = reason
        return found

    def texts(self, candidate: Mapping[str, str]) -> Texts:
        """A candidate as an overlay: the texts that differ from the graph's own."""
        places = [self._new(name, candidate) for name in candidate]
        own = self._found.own
        return {**self._start, **{site: Replacement(own[site], new) for site, old, new in places if new != old}}

    def graph(self, candidate: Mapping[str, str]) -> G:
        """A copy of the graph that runs with a candidate's texts.

        Raises:
            TemplateError: A text lost a slot, or invented one.
        """
        texts = self.texts(candidate)
        for change in texts.values():
            change.old.check(change.new.text)
        return cast("G", bind(self._target.graph, lambda: texts))

    def test(self, candidate: Mapping[str, str]) -> Comparison:
        """A candidate against the texts at the start, on the test set, once. What that costs was kept back for it.

        Raises:
            BudgetExhausted: It could not be paid for.
            DataError: The test set was read before, by this adapter or by an earlier one on the same journal.
        """
        before, after = self.runs.test(self._start, self.texts(candidate))
        return compare(before, after, seed=self.settings.seed, tags=tags_of(self.runs.plan.splits.test))

    # How it is done

    @property
    def _found(self) -> _Found:
        if self._met is None:
            self._met = self._meet(self.runs.meet())
        return self._met

    def _meet(self, rollouts: Sequence[Rollout]) -> _Found:
        traces = [rollout.trace for rollout in rollouts if rollout.trace is not None]
        discovery = self._target.discover(traces, self._only)
        if all(rollout.score is None for rollout in rollouts):
            why = next((score.error for rollout in rollouts for score in rollout.scores), None)
            raise DataError(f"no example of the validation set could be judged, first: {why}")
        # The runs showed the texts that were in force; the graph's own are known for those that were replaced.
        own = {**discovery.parameters, **{site: change.old for site, change in self._start.items()}}
        now = {**own, **{site: change.new for site, change in self._start.items()}}
        self.runs.emit(Discovered, parameters=own, trainable=discovery.trainable)
        return _Found(discovery, own, {str(site): (site, now[site]) for site in discovery.trainable})

    def _place(self, name: str) -> tuple[Site, Template]:
        """The Parameter that a component is, and its text at the start."""
        known = self._found.components
        if name not in known:
            raise UnknownParameter(f"a candidate has the component {name!r}; the graph has {', '.join(known)}")
        return known[name]

    def _new(self, name: str, candidate: Mapping[str, str]) -> tuple[Site, Template, Template]:
        """The Parameter that a component is, its text at the start, and the candidate's."""
        site, old = self._place(name)
        return site, old, replace(old, text=keep_margins(old.text, candidate.get(name, old.text)))

    def _credit(self, candidate: Mapping[str, str], trajectories: Sequence[Trajectory]) -> list[Credit]:
        failing = [rollout for rollout in _run(trajectories) if failed(rollout.scores, self.pass_at)]
        found = self.runs.credit(failing, lambda trace: self._label(candidate, trace), self._hide)
        for credit in found:
            self._remember(credit.trace)
        return found

    def _label(self, candidate: Mapping[str, str], trace: Trace | None) -> Trace:
        assert trace is not None
        texts = {**self._found.own, **{site: change.new for site, change in self.texts(candidate).items()}}
        return replace(self._found.discovery, parameters=texts).label(trace)

    def _hide(self, trace: Trace) -> Redaction:
        return Redaction.on(self.settings.redactor, trace, self._found.own)

    def _seen(self, candidate: Mapping[str, str], trace: Trace | None) -> Trace:
        """A run as reflection is shown it, labelled."""
        labelled = self._label(candidate, trace)
        return self._remember(self._hide(labelled).trace(labelled))

    def _remember(self, trace: Trace) -> Trace:
        """Keep a run that reflection was shown, so that a text that copies out of it can be refused."""
        self._shown[trace.id] = self._shown.pop(trace.id, trace)
        while len(self._shown) > _RUNS:
            del self._shown[next(iter(self._shown))]
        return trace

    def _objectives(self, each: Trajectory) -> dict[str, float]:
        """A score for each evaluator; 0 for all where the graph was not run, or raised."""
        scores = () if each.rollout is None or each.rollout.raised is not None else each.rollout.scores
        return {score.key: score.value or 0.0 for score in scores} or dict.fromkeys(self._names, 0.0)


def _run(trajectories: Sequence[Trajectory]) -> list[Rollout]:
    """The runs that were recorded."""
    found = (each.rollout for each in trajectories)
    return [rollout for rollout in found if rollout is not None and rollout.trace is not None]


def _score(each: Trajectory) -> float:
    """A number in any case, as gepa wants it: what was not run or could not be judged is 0, for parent and child alike."""
    return (each.rollout.score or 0.0) if each.rollout is not None else 0.0


def _output(each: Trajectory) -> JSON:
    trace = each.rollout.trace if each.rollout is not None else None
    return cast("JSON", trace.output()) if trace is not None else None
