"""Learning: the steps of a run that begins with production traces, with the graph that made them and without."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from textgrad_lg.errors import BudgetExhausted, DataError, NoPromptFound, VersionConflict
from textgrad_lg.evals import Splits, split
from textgrad_lg.events import Committed, Discovered, Origin, RunFinished, RunStarted, StepFinished
from textgrad_lg.optim import TGD
from textgrad_lg.overlay import Replacement
from textgrad_lg.run.clusters import in_turn
from textgrad_lg.run.deploy import CANDIDATE
from textgrad_lg.run.lacking import CAPTURED, lacking
from textgrad_lg.run.learn import gradients_on, judged, proposals_for
from textgrad_lg.run.people import People
from textgrad_lg.run.publication import Publication
from textgrad_lg.run.reasked import GATE, judged_gate
from textgrad_lg.run.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.evals import Evals
    from textgrad_lg.events import Gated
    from textgrad_lg.example import Example
    from textgrad_lg.optim import Optimizer
    from textgrad_lg.overlay import Texts
    from textgrad_lg.registry import PromptRegistry
    from textgrad_lg.run.failing import Seen
    from textgrad_lg.run.result import OptimizeResult
    from textgrad_lg.run.rollouts import Rollouts
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.update import Update

_PASSING = 4
"""One place of so many in a minibatch is for a trace that passed, so that what is right is seen as well."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is to learn from, and what a run needs besides.

    Attributes:
        seen: The traces that were judged, one of each Example.
        groups: Those that failed, by kind; the most frequent kind first, in each the most typical first.
    """

    seen: Sequence[Seen]
    groups: Sequence[Sequence[Seen]]
    evals: Evals
    start: Texts
    name: str
    settings: Settings
    optimizer: Optimizer | None
    only: Sequence[str] | None
    registry: PromptRegistry
    rollouts: Rollouts
    folder: Path

    @property
    def splits(self) -> Splits:
        """Train, validation and test, each with its share of what failed; a source's traces share a split.

        Raises:
            DataError: There are too few sources or inputs.
        """
        # By whether they failed, which takes the place of the labels that a data set has.
        marked = [replace(one.example, reference_outputs={"failed": one.failed}) for one in self.seen]
        try:
            parts = split(marked, seed=self.settings.seed, fractions=self.settings.fractions)
        except DataError as error:
            sources = len({one.trace.who for one in self.seen})
            raise DataError(
                f"{len(self.seen)} traces with different inputs, of {sources} sources, cannot be learnt from and held out as "
                f"well: {error}; give learn more traces, of at least three sources"
            ) from error
        own = {one.example.id: one.example for one in self.seen}
        return Splits(*(tuple(own[at.id] for at in part) for part in (parts.train, parts.validation, parts.test)))

    @property
    def people(self) -> People:
        """What people said of the traces."""
        return People({one.example.id: one.trace.feedback for one in self.seen if one.trace.feedback})

    def session(self, splits: Splits, batches: Iterator[list[Example]]) -> Session:
        """The run, about to begin."""
        examples = [one.example for one in self.seen]
        self.rollouts.origins.update({one.trace.trace.id: one.trace.origin or Origin() for one in self.seen})
        return Session(
            start=self.start,
            name=self.name,
            evals=self.evals.with_data(examples),
            splits=splits,
            settings=self.settings,
            optimizer=self.optimizer,
            only=self.only,
            registry=self.registry,
            rollouts=self.rollouts,
            folder=self.folder,
            people=self.people,
            sources={one.trace.trace.id: one.trace.who for one in self.seen},
            batches=batches,
        )


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How it ended; see `LearnResult`."""

    reason: str
    verified: bool = False
    texts: Texts = field(default_factory=dict[Any, Any])
    decisions: tuple[Gated, ...] = ()
    warnings: tuple[str, ...] = ()
    result: OptimizeResult[Any] | None = None


async def with_graph(found: Found) -> Ended:
    """Go on as `optimize` does: the runs of the first steps were made in production, all others are made here."""
    if not found.groups:
        return Ended(reason="no trace failed, so there is nothing to learn; graph unchanged")
    splits = found.splits
    train, batches = _minibatches(found, splits)
    if not any(one.failed for one in train.values()):
        return Ended(
            reason="no trace that failed is left to learn from beside those that are held out; graph unchanged"
        )
    for one in train.values():
        found.rollouts.remember(one.rollout, found.start)
    session = found.session(splits, batches)
    session.reserve.before = found.rollouts.metering.ledger.spend.total
    result = await session.run()
    return Ended(
        reason=result.reason,
        verified=True,
        texts=result.texts,
        decisions=result.decisions,
        warnings=result.warnings,
        result=result,
    )


async def without_graph(found: Found, answers: BaseChatModel | None) -> Ended:
    """Take steps until an edit passes the judge, which sees single calls. It ends there: what else it changes is not seen.

    Args:
        found: What there is.
        answers: Answers the recorded calls; None for the model that criticises.
    """
    if not found.groups:
        return Ended(reason="no trace failed, so there is nothing to learn")
    parts = found.splits
    splits = Splits(parts.train, (*parts.validation, *parts.test), ())
    train, batches = _minibatches(found, splits)
    session = found.session(splits, batches)
    started, emit = time.time(), found.rollouts.emit
    emit(RunStarted, graph=found.name, settings=found.settings.to_json())
    try:
        reason, texts = await _steps(session, found, train, answers)
    except BaseException as error:
        session.tell_calls()
        emit(RunFinished, summary="", started=started, error=type(error).__name__)
        raise
    session.tell_calls()
    emit(RunFinished, summary=reason, started=started, improved=False)
    if any(not site.path for site in texts):
        session.warnings.add(
            "the traces do not show nodes, so a prompt is named by its order in them, and its version fits no graph: take the "
            "text over by hand, or read traces that show nodes, with the graph"
        )
    decisions, warnings = tuple(session.decisions.made), session.warnings.lines()
    return Ended(reason=reason, texts=texts, decisions=decisions, warnings=warnings)


async def _steps(
    session: Session, found: Found, train: Mapping[str, Seen], answers: BaseChatModel | None
) -> tuple[str, Texts]:
    """Take the steps; returns why they ended, and the edit that was accepted."""
    if not any(one.failed for one in train.values()):
        return "no trace that failed is left to learn from beside those that are held out", {}
    rollouts = session.rollouts
    try:
        session.discovery = rollouts.target.discover([one.trace.trace for one in found.seen], found.only)
    except NoPromptFound as error:
        lacks = lacking(one.trace.trace for one in found.seen)
        return " ".join([str(error), *(f"{each[0].upper()}{each[1:]}." for each in (*lacks, CAPTURED))]), {}
    session.parameters = dict(session.discovery.parameters)
    session.publication = Publication(found.registry, found.name, rollouts.run, session.parameters, {}, verified=False)
    for warning in session.discovery.warnings:
        session.warnings.add(warning)
    rollouts.emit(Discovered, parameters=session.parameters, trainable=session.discovery.trainable)
    session.optimizer = found.optimizer or TGD()
    held = _of(found, session.splits.validation)
    steps = session.settings.steps
    for step in range(1, steps + 1):
        rollouts.emit.step = step
        assert session.batches is not None
        batch = next(session.batches)
        try:
            accepted = await _step(session, [train[example.id] for example in batch], held, answers)
        except BudgetExhausted as error:
            return f"stopped in step {step}: {error}", {}
        finally:
            rollouts.keep_spend()
            rollouts.emit.step = 0
        if accepted is not None:
            kept = _commit(session, accepted)
            return f"stopped after step {step}: an edit passed the judge; {kept}", {
                accepted.site: Replacement(accepted.old, accepted.new)
            }
    return f"took {steps} {'step' if steps == 1 else 'steps'}; no edit passed the judge", {}


async def _step(
    session: Session, batch: Sequence[Seen], held: Sequence[Seen], answers: BaseChatModel | None
) -> Update | None:
    """Propose by what was recorded, and judge the proposals; returns the one that is taken."""
    started = time.time()
    before = [one.rollout for one in batch]
    known, wrong = judged(session, before, {})
    accepted = None
    if wrong:
        gradients = await gradients_on(session, wrong)
        proposals = await proposals_for(session, gradients, known, wrong, {})
        # Edits that belong together cannot be judged together where each call is asked by itself.
        every = dict.fromkeys((*proposals.updates, *(update for plan in proposals.joint for update in plan)))
        for update in list(every)[: session.settings.validate]:
            verdict = await judged_gate(session, update, held, answers)
            session.decisions.decide((update,), GATE, verdict, final=True)
            if verdict.accepted:
                accepted = update
                break
    scores = [rollout.score for rollout in before if rollout.score is not None]
    mean = sum(scores) / len(scores) if scores else None
    session.tell_calls()
    session.rollouts.emit(StepFinished, started=started, score=mean, accepted=accepted is not None)
    return accepted


def _commit(session: Session, update: Update) -> str:
    """Write an edit under the label `candidate`; says in words what became of it."""
    score = session.decisions.made[-1].after
    try:
        (version,) = session.publication.commit([update], score)
    except VersionConflict as error:
        return f"it was not written to the registry, because another writer was faster ({error})"
    session.rollouts.emit(Committed, update=update, name=version.name, version=version.version, label=CANDIDATE)
    return f"it is version {version.version} of {version.name}, labelled {CANDIDATE!r}, unverified and not published"


def _of(found: Found, examples: Sequence[Example]) -> list[Seen]:
    seen = {one.example.id: one for one in found.seen}
    return [seen[example.id] for example in examples]


def _minibatches(found: Found, splits: Splits) -> tuple[dict[str, Seen], Iterator[list[Example]]]:
    """The train traces by their Example's id, and minibatches of them without end, each with failures of many kinds."""
    train = {one.example.id: one for one in _of(found, splits.train)}
    failing = in_turn([one.example for one in group if one.example.id in train] for group in found.groups)
    passing = [one.example for one in train.values() if not one.failed]

    def draw() -> Iterator[list[Example]]:
        size = min(found.settings.batch, len(train))
        spare = min(len(passing), max(size // _PASSING, size - len(failing)))
        for at in count():
            yield [
                *_round(failing, at * (size - spare), size - spare),
                *_round(passing, at * spare, spare),
            ]

    return train, draw()


def _round(examples: Sequence[Example], start: int, places: int) -> list[Example]:
    return [examples[(start + at) % len(examples)] for at in range(places)]
