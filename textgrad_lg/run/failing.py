"""Failing: which production traces failed, and of what kind each failure is."""

from __future__ import annotations

import hashlib
import heapq
import json
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from textgrad_lg.evals import failed
from textgrad_lg.run.clusters import clustered
from textgrad_lg.run.production import ERROR, ProductionTrace, fails, is_unmade, scores_of
from textgrad_lg.run.rollout import Rollout, scores_adapter
from textgrad_lg.types import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.evals import Evals
    from textgrad_lg.example import Example, Score
    from textgrad_lg.run.asked import Asked
    from textgrad_lg.run.production import Known, Scales

_SPARE = 8
"""One trace in so many is kept beside those that are wanted, and so many in any case."""
MOST = 400
"""Traces at most that are judged and learnt from: as many that are known to have failed, and as many others."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A production trace that was judged.

    Attributes:
        trace: It.
        example: The Example that it makes.
        verdicts: What the evaluators said.
        failed: Whether it failed.
        by: By what it failed: "error", "feedback" or "evaluator"; empty where it did not.
    """

    trace: ProductionTrace
    example: Example
    verdicts: tuple[Score, ...]
    failed: bool
    by: str = ""

    @property
    def scores(self) -> tuple[Score, ...]:
        """What is known without an evaluator, then what the evaluators said."""
        return (*self.trace.told, *self.verdicts)

    @property
    def rollout(self) -> Rollout:
        """The run, as if it had been made for its Example. What people said is no part of it: the gates go by evaluators."""
        own = tuple(score for score in self.trace.told if score.key == ERROR) if self.by == ERROR else self.verdicts
        return Rollout(self.example, replace(self.trace.trace, example=self.example.id), own)

    @property
    def words(self) -> str:
        """What the failure reads like: what was said of it, where it ended, and what came out.

        What came out is cut to a third of the rest where there is a rest: a long conversation would else outweigh what was
        wrong with it.
        """
        wrong = [score for score in self.scores if score.value is None or score.value < 1]
        ended = [f"{span.name} {span.error}" for span in self.trace.trace.spans if span.error]
        told = "\n".join([*(f"{score.key} {score.comment or ''}" for score in wrong), *ended])
        output = json.dumps(self.trace.trace.output(), ensure_ascii=False, sort_keys=True, default=str)
        known = ended or any(score.comment for score in wrong)
        return f"{told}\n{output[: len(told) // 3] if known else output}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Failures of one kind.

    Attributes:
        size: How many failing traces it stands for, those with the same inputs counted each.
        example: The Example of the most typical one.
        traces: The ids of its traces, the most typical first.
        said: What was said of that one.
    """

    size: int
    example: str
    traces: tuple[str, ...]
    said: str

    def __str__(self) -> str:
        return f"{self.size} like trace {self.traces[0]}: {self.said}"


@dataclass(frozen=True, slots=True)
class _Lot:
    """A trace in the draw: the lot that it has drawn, its id, and it; its Example, where its Trace is there already."""

    number: int
    id: str
    item: object
    example: Example | None

    def __lt__(self, other: _Lot) -> bool:
        return (self.number, self.id) < (other.number, other.id)


@dataclass
class Intake:
    """What was taken in of a stream of traces: so many at most, drawn by the seed, whatever their order.

    What a trace is drawn by is its id and what is known of its failing; a Trace that is not made yet is made when it was
    drawn. A few more are kept than are wanted, for those that turn out not to hold what their run was given.

    Of each trace that was seen 16 bytes are kept, to count it once: 10 MB for 100,000 traces.

    Attributes:
        known: The user's own data.
        pass_at: From which score a trace has passed.
        most: Traces at most of each kind: those known to have failed, and others.
        seed: All chance comes from it.
        sources: Whose traces they are, by their ids.
        scales: What the numbers of feedback mean; see `ProductionTrace.of`.
        count: Traces seen.
        unread: How many of those that were looked at do not hold what the run was given.
        errors: How many ended with an error, and how many failed by what was said of them.
    """

    known: Known
    pass_at: float
    most: int
    seed: int
    sources: Mapping[str, str] | None = None
    scales: Scales | None = None
    count: int = 0
    unread: int = 0
    errors: int = 0
    said: int = 0
    _kept: dict[bool, list[_Lot]] = field(init=False)
    _ids: set[bytes] = field(init=False, default_factory=set[bytes])
    _drawn: list[tuple[ProductionTrace, Example]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._kept = {True: [], False: []}

    def add(self, item: object) -> None:
        """Take a trace in, in any form that `ProductionTrace.of` reads; a trace of the same id counts once.

        Raises:
            DataError: It is no trace, or its feedback is not on its scale.
            RuntimeError: The draw is over.
        """
        if self._drawn is not None:
            raise RuntimeError("the traces have been drawn; nothing more can be taken in")
        if is_unmade(item):
            if (lot := self._lot(item.id)) is None:
                return
            if not item.whole:
                self.unread += 1
                return
            scores = scores_of(item.feedback, self.scales or {})
            self._take(_Lot(lot, item.id, item, None), item.error, scores)
            return
        trace = ProductionTrace.of(item, self.sources, self.scales)
        if (lot := self._lot(trace.trace.id)) is None:
            return
        example = self._example(trace)
        if example is not None:
            self._take(_Lot(lot, trace.trace.id, trace, example), trace.error, trace.feedback)

    def _lot(self, name: str) -> int | None:
        """A draw by lot that goes by the trace's own id: the same ones whatever the order they come in. None: seen before."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode(errors="surrogatepass")).digest()
        if digest[:16] in self._ids:
            return None
        self._ids.add(digest[:16])
        self.count += 1
        return -int.from_bytes(digest[:8], "big")

    def _take(self, lot: _Lot, error: str | None, feedback: Sequence[Score]) -> None:
        failing = fails(error, feedback, self.pass_at)
        self.errors += error is not None
        self.said += failing and error is None
        kept = self._kept[failing]
        if len(kept) < self.most + self.most // _SPARE + _SPARE:
            heapq.heappush(kept, lot)
        else:
            heapq.heappushpop(kept, lot)

    def _example(self, trace: ProductionTrace) -> Example | None:
        example = trace.example(self.known)
        if example is not None and trace.trace.outputs:
            return example
        self.unread += 1
        return None

    @property
    def drawn(self) -> list[tuple[ProductionTrace, Example]]:
        """What was kept: those known to have failed first, each kind in the order of the draw. With it the draw is over."""
        if self._drawn is None:
            self._drawn = [found for failing in (True, False) for found in islice(self._made(failing), self.most)]
            self._kept = {True: [], False: []}
        return self._drawn

    def _made(self, failing: bool) -> Iterator[tuple[ProductionTrace, Example]]:
        for lot in sorted(self._kept[failing], reverse=True):
            if lot.example is not None and isinstance(lot.item, ProductionTrace):
                yield lot.item, lot.example
                continue
            trace = ProductionTrace.of(lot.item, self.sources, self.scales)
            example = self._example(trace)
            if example is not None:
                yield trace, example


async def judge(
    asked: Asked, evals: Evals | None, drawn: Sequence[tuple[ProductionTrace, Example]], pass_at: float
) -> list[Seen]:
    """Judge recorded runs, side by side; nothing is run. What an evaluator asks a model is counted as judging.

    Args:
        asked: Keeps the verdicts in the run's journal.
        evals: The evaluators; None for none: then feedback and errors alone say what failed.
        drawn: The traces and their Examples.
        pass_at: From which mean of its feedback a trace has passed.

    Raises:
        BudgetExhausted: Not all could be paid for; those that were judged are kept in the journal.
    """
    schedule = asked.rollouts.schedule
    return await schedule.gather([partial(_judged, asked, evals, trace, example, pass_at) for trace, example in drawn])


async def _judged(asked: Asked, evals: Evals | None, trace: ProductionTrace, example: Example, pass_at: float) -> Seen:
    scores: tuple[Score, ...] = ()
    # What a run that ended with an error has made is no output; so it is with rollouts.
    if evals is not None and trace.error is None:

        async def ask(model: BaseChatModel | None) -> tuple[Score, ...]:
            return await evals.score(example, trace.trace.output(), trace=trace.trace, model=model)

        key = f"{trace.trace.id} {example.id}"
        scores = await asked.once("verdicts", key, Phase.JUDGE, ask, scores_adapter())
    by = ""
    if trace.fails(pass_at):
        by = ERROR if trace.error is not None else "feedback"
    elif evals is not None and failed(scores, evals.pass_at):
        by = "evaluator"
    return Seen(trace, example, scores, bool(by), by)


def distinct(seen: Iterable[Seen]) -> tuple[list[Seen], Mapping[str, tuple[str, ...]]]:
    """One of each Example, the first that failed where one did; and the ids of all traces by their Example's id."""
    first: dict[str, Seen] = {}
    traces: dict[str, tuple[str, ...]] = {}
    for one in seen:
        name = one.example.id
        if name not in first or (one.failed and not first[name].failed):
            first[name] = one
        if one.failed == first[name].failed:
            traces[name] = (*traces.get(name, ()), one.trace.trace.id)
    return list(first.values()), traces


def kinds(
    failing: Sequence[Seen], traces: Mapping[str, tuple[str, ...]], seed: int
) -> tuple[tuple[Cluster, ...], tuple[tuple[Seen, ...], ...]]:
    """The failures by kind, the most frequent first; and the members of each, the most typical first.

    Args:
        failing: Failing traces, one of each Example.
        traces: The ids of all traces by their Example's id; see `distinct`.
        seed: All chance comes from it.
    """
    groups = [tuple(failing[at] for at in group) for group in clustered([one.words for one in failing], seed=seed)]
    behind = [tuple(name for one in group for name in traces[one.example.id]) for group in groups]
    order = sorted(range(len(groups)), key=lambda at: (-len(behind[at]), at))
    found = tuple(Cluster(len(behind[at]), groups[at][0].example.id, behind[at], _said(groups[at][0])) for at in order)
    return found, tuple(groups[at] for at in order)


def _said(one: Seen) -> str:
    text = next((score.comment for score in one.scores if score.comment), one.by)
    lines = [line for line in text.splitlines() if not line.startswith("<<<")]
    return " ".join(" ".join(lines).split())[:200]
