"""Rollouts: the graph run on examples under given texts, recorded, judged, and never paid for twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter

from textgrad_lg.errors import BudgetError, TraceError
from textgrad_lg.evals import Evals, example_score, failed
from textgrad_lg.events import ExampleScored
from textgrad_lg.example import Example, Score
from textgrad_lg.overlay import Replacement, overlay
from textgrad_lg.record import record
from textgrad_lg.run.invoke import invoke
from textgrad_lg.site import Site
from textgrad_lg.trace import Trace
from textgrad_lg.types import JSON, Meter, ModelCall, Phase, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.language_models import BaseChatModel
    from langgraph.pregel import Pregel

    from textgrad_lg.run.budget import Ledger
    from textgrad_lg.run.journal import Journal
    from textgrad_lg.run.schedule import Schedule

Candidate = Mapping[Site, Replacement]
"""The Parameters whose text differs from the graph's own."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One run of the graph on one example, judged.

    Attributes:
        example: The example.
        trace: The recorded run; None where the graph raised before anything was recorded.
        scores: One or more an evaluator. Where the graph raised: one score of 0 with the exception as its comment.
        error: The graph's own exception, untouched; None where it did not raise or the rollout came from the journal.
    """

    example: Example
    trace: Trace | None
    scores: tuple[Score, ...]
    error: BaseException | None = None

    @property
    def score(self) -> float | None:
        """Mean of the evaluators' scores; None where none could judge."""
        return example_score(self.scores)


@dataclass
class Rollouts:
    """Runs rollouts for one optimisation run.

    A rollout is looked up before it is run: one that was made with the same texts at every Site it visited would only
    repeat itself, so a changed text costs nothing on examples that never reach it.

    Attributes:
        graph: The graph as the user gave it.
        evals: The evaluators.
        ledger: Admits and counts every model call.
        journal: Keeps every rollout.
        schedule: Holds concurrency.
        emit: Tells the callbacks.
        run: The run's id.
        config: What the user wants each run to be given.
        seen: The chat models that the graph called, in the order of their first call, with their number of calls.
        judge: The model that evaluators may use, once it is known.
        errors: The graph's own exceptions, by example id, untouched.
    """

    graph: Pregel[Any, Any, Any, Any]
    evals: Evals
    ledger: Ledger
    journal: Journal
    schedule: Schedule
    emit: Callable[..., None]
    run: str
    config: Mapping[str, Any]
    seen: dict[int, tuple[BaseChatModel, int]] = field(default_factory=dict[int, "tuple[BaseChatModel, int]"])
    judge: BaseChatModel | None = None
    errors: dict[str, BaseException] = field(default_factory=dict[str, BaseException])
    step: int = 0
    _kept: dict[str, list[dict[str, JSON]]] | None = None

    async def evaluate(self, examples: Sequence[Example], candidate: Candidate, phase: Phase) -> list[Rollout]:
        """Run and judge `examples` under `candidate`, in their order.

        Raises:
            BudgetExhausted: Not all could be paid for; those that were run are kept in the journal.
            UnknownPrice: The graph calls a model whose price is not known, and money is limited.
        """
        jobs = [partial(self._one, example, candidate, phase) for example in examples]
        return await self.schedule.gather(jobs)

    async def _one(self, example: Example, candidate: Candidate, phase: Phase) -> Rollout:
        kept = self._find(example, candidate)
        if kept is not None:
            rollout = _from_json(example, kept)
        else:
            rollout = await self._run(example, candidate, phase)
            self._keep(rollout, candidate)
        self.emit(
            ExampleScored,
            phase=phase,
            candidate=candidate_hash(candidate),
            example=example.id,
            trace=rollout.trace,
            scores=rollout.scores,
            error=next((score.comment for score in rollout.scores if score.key == "error"), None),
            cached=kept is not None,
        )
        return rollout

    async def _run(self, example: Example, candidate: Candidate, phase: Phase) -> Rollout:
        meter = _Watched(self.ledger.meter(phase))
        name = hashlib.sha256(f"{self.run}/{phase}/{example.id}/{candidate_hash(candidate)}".encode()).hexdigest()[:32]
        outputs: Any = None
        error: BaseException | None = None
        with (
            record(example=example.id, ids=lambda: name) as recording,
            overlay(candidate, meter=meter, seen=self._note),
        ):
            try:
                outputs = await invoke(self.graph, example.inputs, self.config, f"{self.run}-{name}", self.schedule)
            except Exception as raised:  # noqa: BLE001  any exception of the user's graph is a result, not our failure
                error = raised
        meter.check()
        try:
            trace = recording.trace
        except TraceError:
            trace = None
        if error is not None:
            self.errors[example.id] = error
            text = f"{type(error).__name__}: {error}"
            return Rollout(example, trace, (Score("error", 0.0, text),), error)
        judging = _Watched(self.ledger.meter(Phase.JUDGE))
        with overlay({}, meter=judging):
            scores = await self.evals.score(example, outputs, trace=trace, model=self.judge)
        judging.check()
        return Rollout(example, trace, scores)

    def _note(self, model: BaseChatModel) -> None:
        _, calls = self.seen.get(id(model), (model, 0))
        self.seen[id(model)] = (model, calls + 1)

    def _find(self, example: Example, candidate: Candidate) -> dict[str, JSON] | None:
        if self._kept is None:
            self._kept = {}
            for _, value in self.journal.items("rollout"):
                entry = cast("dict[str, JSON]", value)
                self._kept.setdefault(str(entry["example"]), []).append(entry)
        for entry in self._kept.get(example.id, ()):
            visited = {tuple(place) for place in cast("list[list[str]]", entry["visited"])}
            if {**_texts(candidate, visited)} == entry["texts"]:
                return entry
        return None

    def _keep(self, rollout: Rollout, candidate: Candidate) -> None:
        visited = _visited(rollout.trace)
        entry: dict[str, JSON] = {
            "example": rollout.example.id,
            "visited": [list(place) for place in sorted(visited)],
            "texts": {**_texts(candidate, visited)},
            "trace": json.loads(rollout.trace.to_json()) if rollout.trace else None,
            "scores": _SCORES.dump_python(rollout.scores, mode="json"),
        }
        assert self._kept is not None
        self._kept.setdefault(rollout.example.id, []).append(entry)
        self.journal.put("rollout", f"{rollout.example.id}/{candidate_hash(candidate)}", entry)


class _Watched:
    """A Meter that remembers the first refusal.

    A graph or an evaluator may catch what the model call raised; what it then makes of it must not count as its own.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._refused: BudgetError | None = None

    def admit(self, call: ModelCall) -> Ticket:
        try:
            return self._meter.admit(call)
        except BudgetError as refused:
            self._refused = self._refused or refused
            raise

    def check(self) -> None:
        """Raise the first refusal, if there was one."""
        if self._refused is not None:
            raise self._refused


def candidate_hash(candidate: Candidate) -> str:
    """Twelve hex digits of the changed texts; the same for the same texts, "original" where none is changed."""
    if not candidate:
        return "original"
    content = json.dumps(sorted((str(site), rewrite.new.hash) for site, rewrite in candidate.items()))
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def scores_by_id(rollouts: Sequence[Rollout]) -> dict[str, float | None]:
    """Each example's score, by its id."""
    return {rollout.example.id: rollout.score for rollout in rollouts}


def failing(rollouts: Sequence[Rollout], pass_at: float) -> list[Rollout]:
    """The rollouts that some evaluator gave less than `pass_at`."""
    return [rollout for rollout in rollouts if failed(rollout.scores, pass_at)]


def _place(site: Site) -> tuple[str, str, str]:
    return "/".join(site.path), site.agent or "", site.role


def _visited(trace: Trace | None) -> set[tuple[str, str, str]]:
    return {_place(variable.site) for variable in trace.variables if variable.site is not None} if trace else set()


def _texts(candidate: Candidate, visited: set[tuple[str, str, str]] | set[tuple[Any, ...]]) -> dict[str, str]:
    """The changed texts that a run which visited these places was made with."""
    return {str(site): rewrite.new.hash for site, rewrite in sorted(candidate.items()) if _place(site) in visited}


def _from_json(example: Example, entry: Mapping[str, JSON]) -> Rollout:
    trace = Trace.from_json(json.dumps(entry["trace"])) if entry["trace"] is not None else None
    return Rollout(example, trace, _SCORES.validate_python(entry["scores"]))


_SCORES: TypeAdapter[tuple[Score, ...]] = TypeAdapter(tuple[Score, ...])
