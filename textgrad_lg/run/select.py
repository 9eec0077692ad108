"""Select: which of a step's trials is taken, found out with as few runs as that takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textgrad_lg.optim import PoolOptimizer
from textgrad_lg.run import race
from textgrad_lg.run.gate import Verdict, minibatch_gate
from textgrad_lg.run.rollout import Rollout, scores_by_id
from textgrad_lg.types import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgrad_lg.example import Example
    from textgrad_lg.run.rollout import Candidate
    from textgrad_lg.run.session import Session
    from textgrad_lg.run.trial import Trial


@dataclass(frozen=True, slots=True)
class _Passed:
    """A trial that may go to the validation set."""

    trial: Trial
    verdict: Verdict


async def select(session: Session, trials: Sequence[Trial], before: Sequence[Rollout]) -> bool:
    """Put trials through the gates, and take the first that holds; returns whether one did.

    Merges go to the validation set at once. Of the others the optimizer's best guess is run first, by itself: where the
    whole minibatch passes with it, no other can do better there, and it goes on to the validation set. Else all others
    are run on the minibatch side by side, and the best of them go on. As none of them will be taken in most such steps, the
    next minibatch is run beside them; and beside the last of a validation that goes well, with the texts that it is about.

    Args:
        session: The run.
        trials: The candidates, best guess first.
        before: The minibatch under the texts that the step started from.
    """
    places = session.settings.validate
    merges = [_Passed(trial, Verdict(True, "a merge", None, None, 0)) for trial in trials if trial.merged]
    rest = [trial for trial in trials if not trial.merged]
    first = await _minibatch(session, rest[:1], before)
    perfect = [passed for passed in first if passed.verdict.after == race.TOP]
    ready = [*merges, *perfect][:places]
    if await _in_turn(session, ready):
        return True
    second = await _minibatch(session, rest[1:], before, beside=session.ahead.beside(None))
    others = [passed for passed in first if passed not in perfect] + second
    # Stable: of equals, the optimizer's earlier guess goes first.
    others.sort(key=lambda passed: -(passed.verdict.after or 0.0))
    return await _in_turn(session, others, places - len(ready))


async def _in_turn(session: Session, passed: Sequence[_Passed], places: int | None = None) -> bool:
    """Validate one after the other until one is taken, at most `places` of them; returns whether one was."""
    taken = False
    for at, one in enumerate(passed):
        if taken or (places is not None and at >= places):
            reason = "another proposal of its step did better"
            session.decisions.remember(one.trial.updates, one.verdict, accepted=False, reason=reason, still_open=True)
        else:
            taken = await _validate(session, one.trial)
    return taken


async def _minibatch(
    session: Session,
    trials: Sequence[Trial],
    before: Sequence[Rollout],
    beside: Sequence[tuple[Example, Candidate]] = (),
) -> list[_Passed]:
    """Run trials on the minibatch, side by side: what failed first, and the rest for those that can still win."""
    examples = [rollout.example for rollout in before]
    old = scores_by_id(before)
    failed = [example for example in examples if (old[example.id] or 0.0) < race.TOP]
    others = [example for example in examples if example not in failed]
    new = [scores_by_id(rollouts) for rollouts in await _run(session, trials, failed, beside)]
    verdicts = [race.lost(minibatch_gate, old, scores, others) for scores in new]
    alive = [at for at, verdict in enumerate(verdicts) if verdict is None]
    found = await _run(session, [trials[at] for at in alive], others)
    for at, rollouts in zip(alive, found, strict=True):
        verdicts[at] = minibatch_gate(old, new[at] | scores_by_id(rollouts))
    passed: list[_Passed] = []
    for trial, verdict in zip(trials, verdicts, strict=True):
        assert verdict is not None
        session.decisions.decide(trial.updates, "minibatch", verdict, final=not verdict.accepted)
        if verdict.accepted:
            passed.append(_Passed(trial, verdict))
    return passed


async def _run(
    session: Session,
    trials: Sequence[Trial],
    examples: Sequence[Example],
    beside: Sequence[tuple[Example, Candidate]] = (),
) -> list[list[Rollout]]:
    """Each trial's rollouts on the same examples; those `beside` are kept for later."""
    pairs = [(example, trial.texts) for trial in trials for example in examples]
    rollouts = await session.evaluate_all([*pairs, *(beside if pairs else ())], Phase.ROLLOUT)
    size = len(examples)
    return [rollouts[at * size : (at + 1) * size] for at in range(len(trials))]


async def _validate(session: Session, trial: Trial) -> bool:
    """Run a trial on the validation set as long as it can still win, and take it if it does."""
    settings, pool = session.settings, session.pool
    before = pool.entries[pool.current].scores
    rest = race.order(session.splits.validation, before)
    rollouts: list[Rollout] = []
    verdict: Verdict | None = None
    # An optimizer with a pool learns from where a candidate is good, even if it is not taken.
    whole = isinstance(session.optimizer, PoolOptimizer)
    places = max(1, settings.concurrency // settings.repeats)
    while rest and verdict is None:
        # As many as run side by side: fewer at a time would not be faster.
        now, rest = rest[:places], rest[places:]
        jobs = [partial(session.evaluate, now, Phase.VALIDATION, trial.texts)]
        free = settings.concurrency - len(now) * settings.repeats
        if rollouts and not rest and _goes_well(session, before, rollouts, now):
            jobs.append(partial(session.evaluate_all, session.ahead.beside(trial, free), Phase.ROLLOUT))
        found, *_ = await session.rollouts.schedule.gather(jobs)
        rollouts += found
        if not whole:
            verdict = race.lost(session.gate, before, scores_by_id(rollouts), rest)
    if verdict is None:
        place = {example.id: at for at, example in enumerate(session.splits.validation)}
        rollouts.sort(key=lambda rollout: place[rollout.example.id])
        verdict = session.gate(before, scores_by_id(rollouts))
        number = pool.add(trial.texts, rollouts, session.texts(trial.texts).values(), trial.parents)
        session.decisions.decide(trial.updates, "validation", verdict, final=True)
        if verdict.accepted:
            session.take(trial, number, verdict, rollouts)
    else:
        session.decisions.decide(trial.updates, "validation", verdict, final=True)
    return verdict.accepted


def _goes_well(session: Session, before: race.Scores, rollouts: Sequence[Rollout], rest: Sequence[Example]) -> bool:
    """Whether a validation will probably end with the trial taken, and leave something to win for the next step."""
    seen = scores_by_id(rollouts)
    same = {example.id: before.get(example.id) for example in rest}
    if not session.gate(before, seen | same).accepted:
        return False
    best = seen | dict.fromkeys(same, race.TOP)
    return race.closed(session.gate, best, session.splits.validation) is None
