"""Learn: from a judged minibatch to Gradients, and from these to proposals."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from textgrad_lg.autograd import backward, seed
from textgrad_lg.evals import failed
from textgrad_lg.events import BackwardFinished, Proposed
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import StepContext
from textgrad_lg.optim.provenance import traced
from textgrad_lg.redact import Redaction
from textgrad_lg.run.asked import content_key
from textgrad_lg.run.demonstrations import demonstrations
from textgrad_lg.run.gate import Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.optim import Proposals
    from textgrad_lg.prompt import Demo, Template
    from textgrad_lg.run.rollout import Candidate, Rollout
    from textgrad_lg.run.session import Session
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Trace

_REMEMBERED = 100
"""Latest traces out of which no new text may copy."""


def judged(session: Session, before: Sequence[Rollout], base: Candidate) -> tuple[Sequence[Rollout], Sequence[Rollout]]:
    """What there is to learn from in a minibatch: its rollouts, and those of them that failed.

    Each has what people said of it beside its own Scores, and, where one failed, the Parameters marked in its Trace. What
    people say makes gradients. The gates go by the evaluators, which can judge any output.

    Args:
        session: The run.
        before: The minibatch.
        base: The texts that it was run with.
    """
    told = [session.people.on(rollout, base, session.start) for rollout in before]
    pass_at = session.evals.pass_at
    wrong = {
        one.example.id
        for one, by_people in zip(before, told, strict=True)
        if failed(one.scores, pass_at) or failed(by_people, pass_at)
    }
    if not wrong:
        return before, ()
    discovery = replace(session.discovery, parameters=session.texts(base))
    known = [
        replace(one, scores=(*one.scores, *more), trace=None if one.trace is None else discovery.label(one.trace))
        for one, more in zip(before, told, strict=True)
    ]
    return known, [one for one in known if one.example.id in wrong]


async def gradients_on(session: Session, wrong: Sequence[Rollout]) -> Gradients:
    """The reverse pass over each rollout that failed, side by side.

    Args:
        session: The run.
        wrong: Rollouts, as `judged` gives them.
    """
    tried = {site: session.decisions.tried(site) for site in session.parameters}
    jobs = [partial(_backward, session, rollout, tried) for rollout in wrong if rollout.trace is not None]
    found = await session.rollouts.schedule.gather(jobs)
    # Told in the order of the examples, and not in that in which the critic happened to answer.
    for finished in found:
        trace = finished["trace"]
        session.rollouts.emit(BackwardFinished, **finished, origin=session.rollouts.origins.get(trace.id))
        for failure in finished["gradients"].failures:
            # The same failure on another example names another trace.
            kind = failure.replace(trace.id, "")
            session.warnings.add(f"no gradient for example {trace.example}: {failure}", f"gradient {kind}")
    return Gradients.merge(finished["gradients"] for finished in found)


async def _backward(session: Session, rollout: Rollout, tried: Mapping[Site, Sequence[str]]) -> dict[str, Any]:
    """The reverse pass over one rollout, as the fields of its event."""
    assert rollout.trace is not None
    strategy, goal = session.settings.strategy, session.evals.goal
    trace = seed(rollout.trace, rollout.scores)
    hide = Redaction.on(session.settings.redactor, trace, session.parameters)
    seen = hide.trace(trace)
    started = time.time()
    ask = partial(backward, seen, strategy=strategy, goal=goal, tried=tried, concurrency=session.settings.concurrency)
    key = content_key(seen.to_json(), tried, strategy, goal)
    gradients = hide.evidence(await session.asked.gradients(key, ask), trace, seen)
    # What is told is what was recorded: whoever shows it redacts it anew.
    return {"trace": trace, "gradients": gradients, "started": started, "ended": time.time()}


async def proposals_for(
    session: Session, gradients: Gradients, before: Sequence[Rollout], wrong: Sequence[Rollout], base: Candidate
) -> Proposals:
    """What the optimizer proposes; what code refuses of it is decided and told.

    Args:
        session: The run.
        gradients: Of the step's minibatch.
        before: The minibatch, as `judged` gives it.
        wrong: Those of it that failed.
        base: The texts that the step starts from.
    """
    assert session.optimizer is not None
    optimizer, decisions, emit = session.optimizer, session.decisions, session.rollouts.emit
    decisions.gradients = gradients
    texts = session.texts(base)
    hide = Redaction(session.settings.redactor)
    context = StepContext(
        parameters={site: template for site, template in texts.items() if site in session.discovery.trainable},
        gradients=gradients,
        goal=session.evals.goal,
        demos={site: hide.demos(demos) for site, demos in _demos(before, wrong, texts).items()},
        attempts=tuple(decisions.attempts),
        step=emit.step,
        seed=session.settings.seed,
        own=session.parameters,
        domains=session.discovery.domains,
    )
    # The train set is a part of what makes the run the same run, and need not be a part of the key.
    key = content_key(context)
    context = replace(
        context,
        examples=tuple(map(hide.example, session.splits.train)),
        traces=_shown(session, (at.trace for at in wrong if at.trace is not None), texts),
        sources=session.sources,
        said=session.evals.said,
    )

    def ask(model: BaseChatModel | None) -> Awaitable[Proposals]:
        return optimizer.propose(replace(context, model=model))

    # Once more, for optimizers of other makes.
    proposals = traced(await session.asked.proposals(key, ask), gradients)
    for update, reason in proposals.rejected:
        decisions.decide((update,), "edit", Verdict(False, reason, None, None, 0), final=True)
    every = (update for group in (proposals.updates, *proposals.joint) for update in group)
    for update in dict.fromkeys(every):
        emit(Proposed, update=update)
    for failure in proposals.failures:
        session.warnings.add(f"a proposer failed: {failure}")
    return proposals


def _shown(session: Session, traces: Iterable[Trace], texts: Mapping[Site, Template]) -> tuple[Trace, ...]:
    """The traces behind feedback, of this step and of steps before: what was read there may come back as a memory."""
    for trace in traces:
        session.shown.pop(trace.id, None)
        session.shown[trace.id] = Redaction.on(session.settings.redactor, trace, texts).trace(trace)
    while len(session.shown) > _REMEMBERED:
        del session.shown[next(iter(session.shown))]
    return tuple(session.shown.values())


def _demos(
    rollouts: Sequence[Rollout], wrong: Sequence[Rollout], texts: Mapping[Site, Template]
) -> dict[Site, tuple[Demo, ...]]:
    failing = {rollout.example.id for rollout in wrong}
    runs = [
        (rollout.example, rollout.trace, rollout.example.id not in failing)
        for rollout in rollouts
        if rollout.trace is not None
    ]
    return demonstrations(runs, texts)
