"""Learn: from a judged minibatch to Gradients, and from these to proposals."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from textgrad_lg.autograd import backward, seed
from textgrad_lg.events import BackwardFinished, Proposed
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import StepContext
from textgrad_lg.run.asked import content_key
from textgrad_lg.run.demonstrations import demonstrations
from textgrad_lg.run.gate import Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.optim import Proposals
    from textgrad_lg.prompt import Demo
    from textgrad_lg.run.rollout import Candidate, Rollout
    from textgrad_lg.run.session import Session
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Trace


async def gradients_on(session: Session, failed: Sequence[Rollout], base: Candidate) -> Gradients:
    """The reverse pass over each rollout that failed, side by side.

    Args:
        session: The run.
        failed: Rollouts, with their Scores.
        base: The texts that they were run with.
    """
    jobs = [partial(_backward, session, rollout, base) for rollout in failed if rollout.trace is not None]
    found = await session.rollouts.schedule.gather(jobs)
    # Told in the order of the examples, and not in that in which the critic happened to answer.
    for finished in found:
        session.rollouts.emit(BackwardFinished, **finished)
        trace = finished["trace"]
        for failure in finished["gradients"].failures:
            # The same failure on another example names another trace.
            kind = failure.replace(trace.id, "")
            session.warnings.add(f"no gradient for example {trace.example}: {failure}", f"gradient {kind}")
    return Gradients.merge(finished["gradients"] for finished in found)


async def _backward(session: Session, rollout: Rollout, base: Candidate) -> dict[str, Any]:
    """The reverse pass over one rollout, as the fields of its event."""
    assert rollout.trace is not None
    strategy, goal = session.settings.strategy, session.evals.goal
    trace = seed(_label(session, rollout.trace, base), rollout.scores)
    started = time.time()
    tried = {site: session.decisions.tried(site) for site in session.parameters}
    ask = partial(backward, trace, strategy=strategy, goal=goal, tried=tried, concurrency=session.settings.concurrency)
    key = content_key(trace.to_json(), repr(tried), strategy, goal)
    gradients = await session.asked.gradients(key, ask)
    return {"trace": trace, "gradients": gradients, "started": started, "ended": time.time()}


async def proposals_for(
    session: Session, gradients: Gradients, before: Sequence[Rollout], failed: Sequence[Rollout], base: Candidate
) -> Proposals:
    """What the optimizer proposes; what code refuses of it is decided and told.

    Args:
        session: The run.
        gradients: Of the step's minibatch.
        before: The minibatch, with its Scores.
        failed: Those of it that failed.
        base: The texts that the step starts from.
    """
    assert session.optimizer is not None
    optimizer, decisions, emit = session.optimizer, session.decisions, session.rollouts.emit
    decisions.gradients = gradients
    texts = session.texts(base)
    context = StepContext(
        parameters={site: template for site, template in texts.items() if site in session.discovery.trainable},
        gradients=gradients,
        goal=session.evals.goal,
        demos=_demos(session, before, failed, base),
        attempts=tuple(decisions.attempts),
        step=emit.step,
        seed=session.settings.seed,
        own=session.parameters,
        domains=session.discovery.domains,
    )
    # The train set is a part of what makes the run the same run, and need not be a part of the key.
    key = content_key(repr(context))
    context = replace(context, examples=tuple(session.splits.train))

    def ask(model: BaseChatModel | None) -> Awaitable[Proposals]:
        return optimizer.propose(replace(context, model=model))

    proposals = await session.asked.proposals(key, ask)
    for update, reason in proposals.rejected:
        decisions.decide((update,), "edit", Verdict(False, reason, None, None, 0), final=True)
    every = (update for group in (proposals.updates, *proposals.joint) for update in group)
    for update in dict.fromkeys(every):
        emit(Proposed, update=update)
    for failure in proposals.failures:
        session.warnings.add(f"a proposer failed: {failure}")
    return proposals


def _label(session: Session, trace: Trace, base: Candidate) -> Trace:
    return replace(session.discovery, parameters=session.texts(base)).label(trace)


def _demos(
    session: Session, rollouts: Sequence[Rollout], failed: Sequence[Rollout], base: Candidate
) -> dict[Site, tuple[Demo, ...]]:
    runs = [
        (rollout.example, _label(session, rollout.trace, base), rollout not in failed)
        for rollout in rollouts
        if rollout.trace is not None
    ]
    return demonstrations(runs, session.texts(base))
