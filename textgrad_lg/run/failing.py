"""Failing: which production traces failed, and of what kind each failure is."""

from __future__ import annotations

import hashlib
import heapq
import json
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from textgrad_lg.evals import failed
from textgrad_lg.run.clusters import clustered
from textgrad_lg.run.production import ERROR, ProductionTrace
from textgrad_lg.run.rollout import Rollout, scores_adapter
from textgrad_lg.types import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.evals import Evals
    from textgrad_lg.example import Example, Score
    from textgrad_lg.run.asked import Asked
    from textgrad_lg.run.production import Known

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
        """What the failure reads like: what was said of it, where it ended, and what came out."""
        said = (f"{score.key} {score.comment or ''}" for score in self.scores if score.value is None or score.value < 1)
        ended = (f"{span.name} {span.error}" for span in self.trace.trace.spans if span.error)
        output = json.dumps(self.trace.trace.output(), ensure_ascii=False, sort_keys=True, default=str)
        return "\n".join([*said, *ended, output])


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


@dataclass
class Intake:
    """What was taken in of a stream of traces: so many at most, drawn by the seed, whatever their order.

    Attributes:
        known: The user's own data.
        pass_at: From which score a trace has passed.
        most: Traces at most of each kind: those known to have failed, and others.
        seed: All chance comes from it.
        count: Traces seen.
        unread: Of these, how many do not hold what the run was given.
        errors: How many ended with an error, and how many failed by what was said of them.
    """

    known: Known
    pass_at: float
    most: int
    seed: int
    count: int = 0
    unread: int = 0
    errors: int = 0
    said: int = 0
    _kept: dict[bool, list[tuple[int, str, ProductionTrace, Example]]] = field(init=False)

    def __post_init__(self) -> None:
        self._kept = {True: [], False: []}
        self._ids: set[str] = set()

    def add(self, trace: ProductionTrace) -> None:
        """Take a trace in; a trace of the same id counts once."""
        if trace.trace.id in self._ids:
            return
        self._ids.add(trace.trace.id)
        self.count += 1
        example = trace.example(self.known)
        if example is None or not trace.trace.outputs:
            self.unread += 1
            return
        fails = trace.fails(self.pass_at)
        self.errors += trace.error is not None
        self.said += fails and trace.error is None
        kept = self._kept[fails]
        # A draw by lot that goes by the trace's own id: the same ones whatever the order they come in.
        lot = hashlib.sha256(f"{self.seed}/{trace.trace.id}".encode(errors="surrogatepass")).digest()
        entry = (-int.from_bytes(lot[:8], "big"), trace.trace.id, trace, example)
        if len(kept) < self.most:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)

    @property
    def drawn(self) -> list[tuple[ProductionTrace, Example]]:
        """What was kept: those known to have failed first, each kind in the order of the draw."""
        return [entry[2:] for fails in (True, False) for entry in sorted(self._kept[fails], reverse=True)]


async def judge(asked: Asked, evals: Evals | None, drawn: Sequence[tuple[ProductionTrace, Example]]) -> list[Seen]:
    """Judge recorded runs, side by side; nothing is run. What an evaluator asks a model is counted as judging.

    Args:
        asked: Keeps the verdicts in the run's journal.
        evals: The evaluators; None for none: then feedback and errors alone say what failed.
        drawn: The traces and their Examples.

    Raises:
        BudgetExhausted: Not all could be paid for; those that were judged are kept in the journal.
    """
    schedule = asked.rollouts.schedule
    return await schedule.gather([partial(_judged, asked, evals, trace, example) for trace, example in drawn])


async def _judged(asked: Asked, evals: Evals | None, trace: ProductionTrace, example: Example) -> Seen:
    pass_at = 1.0 if evals is None else evals.pass_at
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
    elif failed(scores, pass_at):
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
