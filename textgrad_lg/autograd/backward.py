"""The reverse pass: from the verdicts on a run's output back to the Parameters that had a part in it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from textgrad_lg.autograd.deliveries import Deliveries
from textgrad_lg.autograd.fused import fused, layout, size
from textgrad_lg.autograd.graph import Pruned, relevant
from textgrad_lg.autograd.request import Critic
from textgrad_lg.autograd.rules import Hop, Outcome, Rule, rule_of, structural
from textgrad_lg.gradient import Gradients
from textgrad_lg.types import Strategy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.site import Site
    from textgrad_lg.trace import Trace


async def backward(
    trace: Trace,
    model: BaseChatModel | None = None,
    *,
    strategy: Strategy = Strategy.AUTO,
    goal: str = "",
    tried: Mapping[Site, Sequence[str]] | None = None,
    concurrency: int = 8,
    cap: int = 8_000,
    excerpt: int | None = None,
    strict: bool = False,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Gradients:
    """Differentiate one judged run: feedback on each Parameter, and on each Variable between it and the verdicts.

    Pure: the Trace is not changed, and nothing is kept. The same Trace and the same replies give the same requests and the
    same Gradients in the same order, whatever order the replies arrive in: nearest to the output first.

    Args:
        trace: A run with its Scores, see `seed`.
        model: Gives the feedback; None for `Strategy.STRUCTURAL`.
        strategy: How the feedback is made.
        goal: What the graph is for, in the user's words.
        tried: What was tried before, by Parameter, the latest last, each with what became of it.
        concurrency: Model calls at a time, at least 1.
        cap: Tokens up to which `Strategy.AUTO` asks about the whole run at once, and to which `Strategy.FUSED` cuts it.
        excerpt: Tokens of a call's prompts, and of its inputs, that `Strategy.CHAIN` shows to the model; 2,400 and 1,600 if
            None. What is longer is shown without its middle, and with a mark there.
        strict: Whether a model call that failed for good is raised.
        clock: Unix time in seconds.
        sleep: Waits between the attempts of a model call.

    Returns:
        The Gradients. A model call that failed for good is a line in `failures`, and the feedback went on without it.

    Raises:
        BudgetExhausted: A model call was not admitted. The calls still under way are cancelled.
        ModelError: A model call failed for good, and the pass is `strict`. The calls still under way are cancelled.
        ValueError: The strategy needs a model, and there is none; or `concurrency` is less than 1.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency is {concurrency}; at least one model call at a time is needed")
    if model is None and strategy not in {Strategy.AUTO, Strategy.STRUCTURAL}:
        raise ValueError(f"the strategy {strategy.value!r} needs a model; without one, use 'structural' or 'auto'")
    pruned = relevant(trace)
    if not pruned.seeds:
        return Gradients(failures=(f"trace {trace.id}: no trainable Parameter leads to an output that was judged",))
    if model is None or strategy is Strategy.STRUCTURAL:
        return await _chain(pruned, None, concurrency)
    critic = Critic(model, goal, tried or {}, sleep, clock, excerpt, strict)
    if strategy is Strategy.CHAIN or (strategy is Strategy.AUTO and size(layout(pruned)) > cap):
        return await _chain(pruned, critic, concurrency)
    outcome = await fused(pruned, critic, cap=cap)
    calls = (outcome.call,) if outcome.call else ()
    asked = Gradients(outcome.gradients, outcome.failures, calls)
    failed = any(call.error for call in calls)
    return Gradients.merge([asked, await _chain(pruned, None, concurrency)]) if failed else asked


async def _chain(pruned: Pruned, critic: Critic | None, concurrency: int) -> Gradients:
    """One rule a Variable that was made, applied as soon as all of its consumers have delivered; no calls without a critic."""
    state = Deliveries(pruned)
    running: dict[asyncio.Task[Outcome], str] = {}
    slots = asyncio.Semaphore(concurrency)

    async def apply(rule: Rule, hop: Hop, critic: Critic) -> Outcome:
        async with slots:
            return await rule(hop, critic)

    try:
        while state.ready or running:
            while state.ready:
                target = state.ready.pop()
                hop = Hop(pruned, pruned.trace.variable_by_id[target], state.arrived(target))
                rule = rule_of(hop) if hop.feedback else None
                if critic is None or rule is None:
                    state.deliver(target, structural(hop))
                else:
                    running[asyncio.create_task(apply(rule, hop, critic))] = target
            if running:
                finished, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in running if task in finished]:
                    state.deliver(running.pop(task), task.result())
    finally:
        # Only an exception, or a cancellation from outside, leaves any behind.
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return state.gathered()
