"""Choose: which optimizer suits a run, and why. A rule of thumb in the open, not a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.optim.joint import Joint
from textgrad_lg.optim.momentum import Momentum
from textgrad_lg.optim.pooled import Pareto
from textgrad_lg.optim.tgd import TGD

if TYPE_CHECKING:
    from textgrad_lg.optim.base import Optimizer

PROPOSALS = 8
"""Candidates at most in one step of any optimizer that is chosen."""
_LONG = 6
"""Steps from which on a past is worth keeping."""
_SEVERAL = 2
"""Parameters from which on one call for all of them is cheaper and sees more than one call for each. Measured: see
`docs/compared.md`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An optimizer, and why it was chosen.

    Attributes:
        optimizer: The optimizer.
        reason: Why, in one or two sentences.
    """

    optimizer: Optimizer
    reason: str

    @property
    def code(self) -> str:
        """How the optimizer is written in Python, as in "Pareto(Joint(proposals=7))"."""
        return _written(self.optimizer)


def choose(
    *,
    failing: float,
    parameters: int,
    critic: bool,
    calls: int | None = None,
    batch: int = 8,
    calls_a_run: int = 1,
) -> Choice:
    """The optimizer that suits a run, from what is known after its first evaluation.

    Args:
        failing: The share of examples that fail, from 0 to 1: the headroom.
        parameters: How many Parameters may change.
        critic: Whether there is a model that writes feedback and proposals.
        calls: Model calls left in the Budget for steps; None where calls are not limited.
        batch: Examples of a minibatch.
        calls_a_run: Model calls of one run of the graph.

    Raises:
        ValueError: `failing` is not between 0 and 1, or a number is too small.
    """
    if not 0 <= failing <= 1 or min(parameters, batch, calls_a_run) < 1 or (calls is not None and calls < 0):
        msg = "failing lies between 0 and 1; parameters, batch and calls_a_run are at least 1, and calls at least 0"
        raise ValueError(msg)
    headroom = f"{failing:.0%} of the examples fail"
    if not critic:
        return Choice(
            TGD(),
            f"TGD: {headroom}, and no model writes proposals, so feedback and demonstrations are placed as they are.",
        )
    if failing == 0:
        return Choice(TGD(proposals=1), "TGD with one proposal a step: no example fails, so there is little to be won.")
    a_minibatch = batch * calls_a_run
    steps = None if calls is None else calls / (a_minibatch * (1 + PROPOSALS))
    if calls is not None and steps is not None and steps < 1:
        few = max(1, min(PROPOSALS, calls // a_minibatch - 1))
        return _short_of(few, f"{headroom}, and {calls} calls are left, too few for {PROPOSALS} proposals", parameters)
    about = "calls are not limited" if steps is None else f"the calls left pay for about {int(steps)} steps"
    long = steps is None or steps >= _LONG
    if parameters >= _SEVERAL:
        return _joint(f"{headroom}, {about}, and one call a step plans for all {parameters} Parameters", long=long)
    if long:
        return Choice(Momentum(), f"Momentum: {headroom}, and {about}, enough for past edits to show a direction.")
    return Choice(TGD(), f"TGD: {headroom}, and {about}.")


def _joint(why: str, *, long: bool) -> Choice:
    """One call for all Parameters; over a pool, where there are steps enough for it."""
    if not long:
        return Choice(Joint(), f"Joint: {why}.")
    kept = "gains too small to be proven one by one are kept until they can be proven together"
    return Choice(Pareto(Joint(proposals=PROPOSALS - 1)), f"Pareto over Joint: {why}; {kept}.")


def _short_of(proposals: int, why: str, parameters: int) -> Choice:
    """Fewer proposals, where not even one step of the usual number can be paid."""
    if parameters >= _SEVERAL:
        joint = f"one call plans for all {parameters} Parameters"
        return Choice(Joint(proposals=proposals), f"Joint with at most {proposals} a step: {why}; {joint}.")
    return Choice(TGD(proposals=proposals), f"TGD with at most {proposals} a step: {why}.")


def _written(optimizer: Optimizer) -> str:
    kind = type(optimizer)
    if isinstance(optimizer, Pareto):
        return f"{kind.__name__}({_written(optimizer.optimizer)})"
    usual = kind().proposals
    return f"{kind.__name__}({'' if optimizer.proposals == usual else f'proposals={optimizer.proposals}'})"
