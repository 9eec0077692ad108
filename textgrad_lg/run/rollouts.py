"""Rollouts: the graph run on examples under given texts, recorded, judged, and never paid for twice."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from textgrad_lg.events import ExampleScored, Origin, Warned
from textgrad_lg.example import Example, Score
from textgrad_lg.overlay import overlay
from textgrad_lg.run.held_out import HeldOut
from textgrad_lg.run.own_model import OwnModel, Refuse
from textgrad_lg.run.patience import AGAIN, Patience, pause
from textgrad_lg.run.rollout import (
    ERROR,
    REPLAY,
    TIMEOUT,
    Candidate,
    Rollout,
    candidate_hash,
    scores_adapter,
    texts_at,
    visited_in,
)
from textgrad_lg.run.target import Job, Ran
from textgrad_lg.sync import is_stale
from textgrad_lg.templates import guarded
from textgrad_lg.trace import Trace
from textgrad_lg.types import JSON, Meter, Phase

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.replay import Replay
    from textgrad_lg.run.emit import Emitter
    from textgrad_lg.run.journal import Journal
    from textgrad_lg.run.memos import Memos
    from textgrad_lg.run.metering import Metering
    from textgrad_lg.run.schedule import Schedule
    from textgrad_lg.run.target import Target

_TRIES = 8
"""Times at most that a rollout is made where a model's client has connections of a closed event loop."""
_STALE = (
    "a model's client had kept connections of an event loop that is closed by now, as after an asyncio.run(...) before this "
    "run. The rollouts that failed for it are made again, and each call that failed may be billed. To avoid it, make all "
    "calls in one event loop: await aoptimize(...) inside that asyncio.run."
)

_Places = frozenset[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is held in memory of a rollout: what it is found again by. The rest is in the journal.

    Attributes:
        key: Under which the journal keeps it.
        visited: The places where a text could enter it.
        texts: The hashes of the changed texts that it was made with, by Site.
        only: The one candidate that it stands for, where what it visited is not known in full.
        ended: Whether it ran to its end.
    """

    key: str
    visited: _Places
    texts: dict[str, str]
    only: str | None
    ended: bool

    @classmethod
    def of(cls, key: str, entry: Mapping[str, Any], routes: dict[_Places, _Places]) -> _Kept:
        """Of an entry of the journal; `routes` holds what runs visited, each once, for most of a graph's runs visit the same."""
        visited = frozenset(tuple(place) for place in entry["visited"])
        visited = routes.setdefault(visited, visited)
        ended = not entry["scores"] or entry["scores"][0]["key"] not in {ERROR, TIMEOUT}
        return cls(key, visited, entry["texts"], entry.get("only"), ended)


class Judge(Protocol):
    """Judges what a graph made of an Example, as `Evals` does."""

    async def score(
        self,
        example: Example,
        outputs: JSON | Mapping[str, Any],
        *,
        trace: Trace | None = None,
        model: BaseChatModel | None = None,
    ) -> tuple[Score, ...]:
        """One Score or more for each evaluator; see `Evals.score`."""
        ...


@dataclass
class Rollouts:
    """Runs rollouts for one optimisation run.

    A rollout is looked up before it is run: one that was made with the same texts at every Site it visited would only
    repeat itself, so a changed text costs nothing on examples that never reach it.

    Attributes:
        target: The graph as the user gave it.
        evals: The evaluators.
        metering: Admits and counts every model call.
        journal: Keeps every rollout.
        schedule: Holds concurrency.
        emit: Tells the callbacks.
        run: The run's id.
        config: What the user wants each run to be given.
        own_model: The model that gives gradients and proposals, and that evaluators may use.
        memos: What earlier rollouts asked models, and what they answered.
        repeat: Rollouts of another number are not found in the place of this one's: where the same is run again, to see
            how much it varies. Its models are asked anew too: replies are shared among rollouts of one number.
        held_out: Guards the test set.
        patience: How long a run of the graph, and an evaluator, is waited for.
        errors: The graph's own exceptions in this session, by example id, untouched.
        origins: Where the Traces were read from that were not recorded here, by their ids.
        secret: Where strangers wrote what is judged: what the marks of the fences around it are made from; see
            `templates.guarded`. Empty where the user's own examples are judged.
    """

    target: Target
    evals: Judge
    metering: Metering
    journal: Journal
    schedule: Schedule
    emit: Emitter
    run: str
    config: Mapping[str, Any]
    own_model: OwnModel
    memos: Memos
    repeat: int = 0
    held_out: HeldOut = field(default_factory=HeldOut)
    patience: Patience = field(default_factory=Patience)
    errors: dict[str, BaseException] = field(default_factory=dict[str, BaseException])
    origins: dict[str, Origin] = field(default_factory=dict[str, Origin])
    secret: str = ""
    _kept: dict[str, list[_Kept]] | None = field(default=None, init=False)
    _routes: dict[_Places, _Places] = field(default_factory=dict["_Places", "_Places"], init=False)
    _stale: bool = field(default=False, init=False)
    _repeats: dict[int, Rollouts] = field(default_factory=dict[int, "Rollouts"], init=False)

    async def evaluate(
        self,
        examples: Sequence[Example],
        candidate: Candidate,
        phase: Phase,
        *,
        one_by_one: bool = False,
        repeats: int = 1,
    ) -> list[Rollout]:
        """Run and judge `examples` under `candidate`, in their order.

        Args:
            examples: What to run.
            candidate: The texts in force.
            phase: What it is run for.
            one_by_one: Not side by side: a call is admitted at its worst case, of which a small rest of a budget holds
                one and not several.
            repeats: How often each is run; the score is the mean, all else is of the first run.

        Raises:
            BudgetExhausted: Not all could be paid for; those that were run are kept in the journal.
            UnknownPrice: The graph calls a model whose price is not known, and money is limited.
        """
        sides = [self, *(self._repeated(at) for at in range(1, repeats))]
        ones = [side._one for side in sides]  # noqa: SLF001  of this class
        jobs = [partial(one, example, candidate, phase) for example in examples for one in ones]
        found = [await job() for job in jobs] if one_by_one else await self.schedule.gather(jobs)
        groups = [found[at : at + repeats] for at in range(0, len(found), repeats)]
        return [replace(first, again=tuple(each.score for each in more)) for first, *more in groups]

    def _repeated(self, at: int) -> Rollouts:
        """The same, for the repetition `at` of each rollout."""
        if at not in self._repeats:
            self._repeats[at] = replace(self, repeat=self.repeat + at)
        return self._repeats[at]

    async def evaluate_all(self, pairs: Sequence[tuple[Example, Candidate]], phase: Phase) -> list[Rollout]:
        """Run and judge each example under its own texts, side by side; in the order of `pairs`. See `evaluate`."""
        return await self.schedule.gather([partial(self._one, example, texts, phase) for example, texts in pairs])

    def remember(self, rollout: Rollout, candidate: Candidate) -> None:
        """Take a run that was made elsewhere with the texts of `candidate` for a rollout, so that it is not made again."""
        if self._find(rollout.example, candidate) is None:
            self._keep(rollout, candidate)

    async def find_model(self, examples: Sequence[Example], candidate: Candidate) -> None:
        """Find the model that an earlier session settled on, where everything came from the journal so far.

        Each example is run up to its first model call, which is not made. Only where the wanted model is not the one
        called first, a run is made to its end; it pays for what no earlier run has asked.
        """
        for example in examples:
            await self.target.run(self._job(example, candidate, Refuse(), ""), self.schedule)
            self.own_model.settle()
            if self.own_model.model is not None:
                return
        for example in examples:
            await self._run(example, candidate, Phase.ROLLOUT)
            if self.own_model.model is not None:
                return

    def keep_spend(self) -> None:
        """Put what was spent up to now into the journal, so that the Budget covers all sessions of the run."""
        self.memos.receipts.keep_spend()

    async def _one(self, example: Example, candidate: Candidate, phase: Phase) -> Rollout:
        kept = self._find(example, candidate)
        cached = kept is not None
        self.held_out.check(example.id, candidate_hash(candidate), known=cached)
        if kept is None:
            rollout = self._keep(await self._run(example, candidate, phase), candidate)
        else:
            rollout = self._read(example, kept)
        self.emit(
            ExampleScored,
            phase=phase,
            candidate=candidate_hash(candidate),
            example=example.id,
            trace=rollout.trace,
            scores=rollout.scores,
            error=rollout.raised,
            cached=cached,
            rollout="" if cached else self._name(example, candidate, phase),
            origin=self.origins.get(rollout.trace.id) if rollout.trace else None,
        )
        return rollout

    async def _run(self, example: Example, candidate: Candidate, phase: Phase, tries: int = _TRIES) -> Rollout:
        self.metering.ledger.begin(phase)
        meter = self.metering.meter(phase)
        name = self._name(example, candidate, phase)
        cut_off = self._find(example, candidate) is None
        memo = self.memos.open(self._memory(example), name, complete=self._has_ended(example), goes_on=cut_off)
        try:
            # What another candidate is asking on the same example is not asked twice; a repetition draws anew.
            with (
                overlay(flight=self.schedule.flight(f"{example.id}{self._again}")),
                self.emit.around(rollout=name, phase=phase, candidate=candidate_hash(candidate), example=example.id),
            ):
                job = self._job(example, candidate, meter, name, memo)
                ran = await self.patience.run(self.target, job, self.schedule, meter)
        finally:
            self.memos.keep(self._memory(example), name, memo)
        self.memos.receipts.check()
        meter.check()
        self.own_model.settle()
        if tries > 1 and is_stale(ran.error):
            if not self._stale:
                self._stale = True
                self.emit(Warned, message=_STALE)
            return await self._run(example, candidate, phase, tries - 1)
        failed_times = _TRIES - tries + 1
        if failed_times < AGAIN and ran.error is not None and meter.passes(ran.error):
            await pause(failed_times)
            return await self._run(example, candidate, phase, tries - 1)
        if memo.refused is not None:
            return Rollout(example, ran.trace, (Score(REPLAY, None, error=str(memo.refused)),))
        if ran.error is not None:
            self.errors[example.id] = ran.error
            key = TIMEOUT if meter.stopped else ERROR
            return Rollout(example, ran.trace, (Score(key, 0.0, f"{type(ran.error).__name__}: {ran.error}"),))
        return Rollout(example, ran.trace, await self._judged(example, ran, phase, name))

    @property
    def _again(self) -> str:
        """What tells a repetition from the first run."""
        return f"/{self.repeat}" if self.repeat else ""

    def _name(self, example: Example, candidate: Candidate, phase: Phase) -> str:
        """The id of a rollout, and of its Trace: the same in each session of the run."""
        what = f"{self.run}/{phase}/{example.id}/{candidate_hash(candidate)}{self._again}"
        return hashlib.sha256(what.encode()).hexdigest()[:32]

    async def _judged(self, example: Example, ran: Ran, phase: Phase, name: str, times: int = 1) -> tuple[Score, ...]:
        # Judging the test set is a part of its cost, and draws on what was kept back for it.
        judging = self.metering.meter(Phase.TEST if phase is Phase.TEST else Phase.JUDGE)
        memory = self.memos.receipts.replay(f"verdict {name}")
        try:
            fences = guarded(self.secret) if self.secret else nullcontext()
            with fences, overlay({}, meter=judging, memory=memory), self.patience.evaluators():
                scores = await self.evals.score(example, ran.outputs, trace=ran.trace, model=self.own_model.model)
        finally:
            if self.patience.seconds is not None:
                judging.stop()
        self.memos.receipts.check()
        judging.check()
        if times < AGAIN and judging.passes() and any(score.error for score in scores):
            await pause(times)
            return await self._judged(example, ran, phase, name, times + 1)
        return scores

    def _job(self, example: Example, candidate: Candidate, meter: Meter, trace: str, memo: Replay | None = None) -> Job:
        return Job(
            inputs=example.inputs,
            texts=candidate,
            config=self.config,
            # Never the same, even where the same rollout was cut off before: its thread may hold half a run.
            thread=f"{self.run}-{uuid.uuid4().hex}",
            trace=trace,
            example=example.id,
            meter=meter,
            seen=self.own_model.note,
            memo=memo,
        )

    def _memory(self, example: Example) -> str:
        """Under which name replies are shared. A repetition draws its own; no id of an example holds the separator."""
        return f"{example.id}\x1f{self.repeat}" if self.repeat else example.id

    def _has_ended(self, example: Example) -> bool:
        """Whether a rollout of the example has run to its end, so that all its tool calls are known."""
        return any(kept.ended for kept in self._known(example))

    def _find(self, example: Example, candidate: Candidate) -> _Kept | None:
        own, same = f"{example.id}/{candidate_hash(candidate)}", None
        for kept in self._known(example):
            # First its own: one that visited the same texts may have been run beside it, and its models drew other replies.
            if kept.key == own:
                return kept
            # What one that was given up had visited is not known.
            if same is None and kept.only is None and texts_at(candidate, kept.visited) == kept.texts:
                same = kept
        return same

    @property
    def _kind(self) -> str:
        """Under which the journal keeps them."""
        return f"rollout {self.repeat}" if self.repeat else "rollout"

    def _known(self, example: Example) -> list[_Kept]:
        """The rollouts of an example that were kept."""
        if self._kept is None:
            self._kept = {}
            for key, value in self.journal.items(self._kind):
                with self.journal.reading(self._kind):
                    entry = cast("dict[str, JSON]", value)
                    self._kept.setdefault(str(entry["example"]), []).append(_Kept.of(key, entry, self._routes))
        return self._kept.setdefault(example.id, [])

    def _read(self, example: Example, kept: _Kept) -> Rollout:
        """A rollout out of the journal."""
        entry = cast("Mapping[str, Any]", self.journal.get(self._kind, kept.key))
        with self.journal.reading(self._kind):
            trace = Trace.from_json(entry["trace"]) if entry["trace"] is not None else None
            return Rollout(example, trace, scores_adapter().validate_python(entry["scores"]))

    def _keep(self, rollout: Rollout, candidate: Candidate) -> Rollout:
        """Keep a rollout; gives it as it will be read again."""
        visited = visited_in(rollout.trace)
        entry: dict[str, JSON] = {
            "example": rollout.example.id,
            "visited": [list(place) for place in sorted(visited)],
            "texts": {**texts_at(candidate, visited)},
            "trace": rollout.trace.to_json() if rollout.trace else None,
            "scores": scores_adapter().dump_python(rollout.scores, mode="json"),
        }
        if rollout.scores and rollout.scores[0].key == TIMEOUT:
            entry["only"] = candidate_hash(candidate)
        key = f"{rollout.example.id}/{candidate_hash(candidate)}"
        self.journal.put(self._kind, key, entry)
        self.keep_spend()
        self._known(rollout.example).append(_Kept.of(key, entry, self._routes))
        # A Trace reads back as itself; what a score was given to explain it may be of a class that JSON has not.
        return replace(rollout, scores=scores_adapter().validate_python(entry["scores"]))
