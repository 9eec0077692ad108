"""`learn`: from production traces to better prompts.

traces -> failing ones -> clusters -> backward over what was recorded -> propose -> gates -> commit -> publish

The runs were made already, in production: the first step's Gradients cost no run of the graph. What is accepted is decided
by runs of the graph on held-out traces, as in `optimize`; without a graph by a judge, and then nothing is published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

from textgrad_lg.errors import DataError, EvaluatorError, GraphError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence
    from pathlib import Path

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.domain import Domain
    from textgrad_lg.evals import Evals, Evaluator
    from textgrad_lg.events import Callback, Gated
    from textgrad_lg.optim import Optimizer
    from textgrad_lg.overlay import Texts
    from textgrad_lg.registry import PromptRegistry
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.failing import Cluster, Intake
    from textgrad_lg.run.prices import Price
    from textgrad_lg.run.production import Known, ProductionTrace, Scales
    from textgrad_lg.run.result import OptimizeResult
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.run.spend import Spend
    from textgrad_lg.run.target import Target

_ASKED = 100
"""So many of the traces are asked what they lack, where none can be used."""


class LearnOptions(TypedDict, total=False):
    """What `learn` and `alearn` take besides graph, traces and evals; the docstring of `learn` says what it means."""

    model: str | BaseChatModel | None
    answers: str | BaseChatModel | None
    budget: Budget | str | None
    registry: PromptRegistry | None
    run_dir: str | Path | None
    sources: Mapping[str, str] | None
    scales: Scales | None
    pass_at: float | None
    most: int
    optimize_only: Sequence[str] | None
    domains: Mapping[str, Domain] | None
    optimizer: Optimizer | None
    config: Mapping[str, Any] | None
    prices: Mapping[str, Price] | None
    callbacks: Sequence[Callback]
    settings: Settings | None


@dataclass(frozen=True, kw_only=True)
class LearnResult:
    """What was learnt from production traces.

    Attributes:
        verified: Whether runs of the graph on held-out traces decided what was accepted. False without a graph: then a
            judge has compared single replies, and nothing was published.
        improved: Whether the test set shows a significant gain; never without a graph.
        published: The versions that were put in force, by the prompt's name in the registry.
        reason: Why the run ended, and what became of what it found.
        texts: The accepted edits, published or not. Each is a version in the registry under the label `candidate`, whose
            provenance names the traces behind it.
        seen: Traces that were read, those with the same id counted once.
        failing: Those that failed, among the ones that were judged; they go into `to_examples` as they are.
        clusters: The failures by kind, the most frequent first.
        decisions: Every proposal with its fate, in order.
        spend: What was spent, by phase.
        warnings: What else should be known.
        run: The run's id.
        run_dir: Where its journal is; pass it again to go on from there.
        result: All that `optimize` says of a run; None without a graph, or where nothing failed.
    """

    verified: bool
    improved: bool
    published: Mapping[str, int]
    reason: str
    texts: Texts
    seen: int
    failing: tuple[ProductionTrace, ...]
    clusters: tuple[Cluster, ...]
    decisions: tuple[Gated, ...]
    spend: Spend
    warnings: tuple[str, ...]
    run: str
    run_dir: Path
    result: OptimizeResult[Any] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """The result in a few lines."""
        lines = [f"{self.seen} traces, {len(self.failing)} failing in {len(self.clusters)} kinds"]
        lines += [f"- {cluster}" for cluster in self.clusters]
        if self.result is not None:
            more = [warning for warning in self.warnings if warning not in self.result.warnings]
            return "\n".join([*lines, self.result.summary(), *(f"warning: {warning}" for warning in more)])
        lines.append(self.reason)
        if self.texts:
            lines.append("not verified: no graph was run")
        return "\n".join([*lines, str(self.spend), *(f"warning: {warning}" for warning in self.warnings)])


async def alearn(
    graph: object | None,
    traces: Iterable[object],
    evals: Evals | Evaluator | Sequence[Evaluator] | None = None,
    **options: Unpack[LearnOptions],
) -> LearnResult:
    """Learn from production traces. See `learn`, which takes the same arguments."""
    from textgrad_lg.llm import resolve_model
    from textgrad_lg.optim.described import described
    from textgrad_lg.run.asked import Asked
    from textgrad_lg.run.budget import Budget
    from textgrad_lg.run.deploy import default_registry
    from textgrad_lg.run.failing import MOST, Intake, distinct, judge
    from textgrad_lg.run.failing import kinds as by_kind
    from textgrad_lg.run.lacking import lacking
    from textgrad_lg.run.learning import Found, with_graph, without_graph
    from textgrad_lg.run.no_graph import NoGraph
    from textgrad_lg.run.opening import identity_of, opened
    from textgrad_lg.run.prices import Prices
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.run.target import as_target

    if unknown := sorted(options.keys() - LearnOptions.__annotations__.keys()):
        raise TypeError(f"learn() has no option {unknown[0]!r}; it has {', '.join(LearnOptions.__annotations__)}")
    settings = options.get("settings") or Settings()
    judging, known = _evaluators(evals)
    critic, answers = resolve_model(options.get("model")), resolve_model(options.get("answers"))
    _check(graph, judging, critic)
    most = options.get("most", MOST)
    if most < 1:
        raise DataError(f"most is {most}; it has to be 1 or more")
    pass_at = _pass_at(options.get("pass_at"), judging)
    intake = _taken_in(
        Intake(known, pass_at, most, settings.seed, options.get("sources"), options.get("scales")), traces
    )
    drawn = intake.drawn
    lacks = lacking(trace.trace for trace, _ in drawn)
    domains = options.get("domains") or {}
    start: Texts = {}
    target: Target = NoGraph.of([trace.trace for trace, _ in drawn])
    if graph is not None:
        target, start = as_target(graph, domains)
    given, only = options.get("optimizer"), options.get("optimize_only")
    evaluators = judging or _no_evaluator()
    identity = identity_of(target, start, evaluators, [example for _, example in drawn], only=only, settings=settings)
    what = {"learns from": [trace.trace.id for trace, _ in drawn], "optimizer": described(given)}
    registry = options.get("registry")
    with opened(
        target,
        lambda _: evaluators,
        identity={**identity, **cast("Any", what)},
        run_dir=options.get("run_dir"),
        budget=Budget.parse(options.get("budget")),
        prices=Prices(options.get("prices") or {}),
        settings=settings,
        critic=critic,
        judges=(*evaluators.judges, *(() if answers is None else (answers,))),
        config=options.get("config"),
        callbacks=options.get("callbacks", ()),
    ) as (rollouts, folder):

        async def own() -> BaseChatModel | None:
            return critic

        asked = Asked(rollouts, own, settings.seed, quote=True)
        rollouts.secret = f"{settings.seed}:{rollouts.run}"
        seen, behind = distinct(await judge(asked, judging, drawn, pass_at))
        failing = [one for one in seen if one.failed]
        clusters, groups = by_kind(failing, behind, settings.seed)
        found = Found(
            seen=seen,
            groups=groups,
            evals=evaluators,
            start=start,
            name=target.name,
            settings=settings,
            optimizer=given,
            only=only,
            registry=registry if registry is not None else default_registry(),
            rollouts=rollouts,
            folder=folder,
        )
        ended = await (with_graph(found) if graph is not None else without_graph(found, answers))
        rollouts.keep_spend()
        return LearnResult(
            verified=ended.verified,
            improved=ended.result is not None and ended.result.improved,
            published={} if ended.result is None else ended.result.published,
            reason=ended.reason,
            texts=ended.texts,
            seen=intake.count,
            failing=tuple(one.trace for one in failing),
            clusters=clusters,
            decisions=ended.decisions,
            spend=rollouts.metering.ledger.spend,
            warnings=tuple(dict.fromkeys((*_told(intake.count, intake.unread), *lacks, *ended.warnings))),
            run=rollouts.run,
            run_dir=folder,
            result=ended.result,
        )


def learn(
    graph: object | None,
    traces: Iterable[object],
    evals: Evals | Evaluator | Sequence[Evaluator] | None = None,
    **options: Unpack[LearnOptions],
) -> LearnResult:
    """Learn from production traces: make better prompts out of what went wrong, and prove it.

    A trace failed if an evaluator says so, if people did, or if its run ended with an error. Failures are put into
    clusters, so that a step sees different ones. The reverse pass goes over what was recorded; nothing is run for it.

    With a graph, each trace becomes an Example, and what is accepted is decided as in `optimize`: by runs of the graph on
    traces that nothing was learnt from, of other sources. Without a graph, the recorded calls of such traces are asked
    again with the new text, and judged; what passes is a version under the label `candidate`, marked as unverified, and
    nothing is published.

    What stands in traces was written by strangers. It is shown to models as quoted data, no source may give more than
    its share of the feedback of a step, and a text that copies out of a trace, or brings in what traces may plant, is
    refused.

    Args:
        graph: The compiled graph that was run, or one that is deployed; None where it is not at hand.
        traces: Traces in any number: `Trace`, `ProductionTrace`, or what `textgrad_lg_tracing.readers.read_traces` gives,
            with the feedback that came with them. They should be of the texts that are in force now: others give no
            Gradients.
        evals: What judges: `Evals`, whose data say what was wanted, where a trace is of one of its Examples (by the
            example's id or its inputs); or one evaluator or several, which need no reference. None for feedback and
            errors alone, without a graph.
        **options: All optional; those not named here mean what they mean in `optimize`.
            model: Writes gradients and proposals, and judges. Without a graph it is needed. Default with a graph: the
                model that the graph calls most.
            answers: Answers the recorded calls where there is no graph: best the model that answered them in production.
                Default: `model`.
            budget: The hard limit over everything, judging the traces included. Default: 1,000 model calls.
            sources: Whose traces they are, by their ids: an end user, a thread, a group. Default: each trace is a source of
                its own.
            scales: What the numbers of feedback mean: the worst and the best by the feedback's key, as in
                `{"stars": (1, 5), "thumb": (-1, 1)}`; None for feedback that is no judgement, as in `{"latency": None}`.
                Default: from 0, the worst, to 1, the best.
            pass_at: From which mean of its feedback, from 0 to 1, a trace has passed. Default: `evals.pass_at`, and 1.0
                without evals: then four of five stars are a failure.
            most: Traces at most that are judged and learnt from: so many that are known to have failed, and so many
                others; drawn by the seed. Memory is bounded by it, whatever the number of traces. Default: 400.

    Returns:
        A `LearnResult`.

    Raises:
        DataError: One of `traces` is no trace, or there is none that can be used, or they are of too few sources; or
            feedback is not on its scale.
        EvaluatorError: With a graph there must be an evaluator, because runs that are made anew have no feedback; and one
            that asks a model must have one.
        GraphError: `graph` is not a compiled graph; or there is none, and no model.
        BudgetExhausted: The budget does not pay for judging the traces.
        TextgradError: The extra `learn` is not installed.
    """
    from textgrad_lg.sync import run_sync

    return run_sync(cast("Coroutine[Any, Any, LearnResult]", alearn(graph, traces, evals, **options)))


def _evaluators(given: Evals | Evaluator | Sequence[Evaluator] | None) -> tuple[Evals | None, Known]:
    """The evaluators, and what the user's own data say of traces."""
    from textgrad_lg.evals import Evals
    from textgrad_lg.run.production import Known

    if given is None:
        return None, Known()
    evals = given if isinstance(given, Evals) else Evals((), given)
    return evals, Known(evals.examples if evals.has_data else ())


def _check(graph: object | None, evals: Evals | None, critic: BaseChatModel | None) -> None:
    if graph is None and critic is None:
        raise GraphError(
            "without a graph, learn needs a model to criticise, to propose and to judge with: learn(None, traces, evals, "
            'model="openai:gpt-4o-mini"); or give it the graph'
        )
    if graph is not None and evals is None:
        raise EvaluatorError(
            "with a graph, what is accepted is decided by runs that nobody has given feedback on; give learn an evaluator"
        )
    if evals is not None and critic is None and None in evals.judges:
        raise EvaluatorError(
            "an evaluator asks for the run's model, and traces are judged before the graph is run; give learn a model, or "
            "the evaluator one of its own"
        )


def _no_evaluator() -> Evals:
    """Stands for no evaluator; traces are then not judged, so that it is never asked."""
    from textgrad_lg.evals import Evals

    def no_evaluator(outputs: object) -> float:
        raise EvaluatorError(f"there is no evaluator to judge a {type(outputs).__name__}")

    return Evals((), no_evaluator)


def _pass_at(given: float | None, evals: Evals | None) -> float:
    if given is not None and not math.isfinite(given):
        raise DataError(f"pass_at is {given}; it is a score, as in 1.0 or 0.7")
    return given if given is not None else 1.0 if evals is None else evals.pass_at


def _taken_in(intake: Intake, traces: Iterable[object]) -> Intake:
    from textgrad_lg.run.lacking import CAPTURED, lacking
    from textgrad_lg.run.production import ProductionTrace

    first: list[object] = []
    for item in traces:
        if len(first) < _ASKED:
            first.append(item)
        intake.add(item)
    if not intake.drawn:
        if not intake.count:
            raise DataError("there is nothing to learn from: there is no trace")
        why = "".join(
            f"; {told}" for told in lacking(ProductionTrace.of(item, scales=intake.scales).trace for item in first)
        )
        raise DataError(
            f"there is nothing to learn from: none of the {intake.count} traces holds what its run was given and what came "
            f"out{why}. {CAPTURED[0].upper()}{CAPTURED[1:]}"
        )
    return intake


def _told(count: int, unread: int) -> tuple[str, ...]:
    if not unread:
        return ()
    return (f"{unread} of {count} traces do not hold what the run was given and what came out, and were left out",)
