"""Pareto: an optimizer over a pool of candidates. Steps start from different members of its front, which are merged as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from textgrad_lg.optim import pareto
from textgrad_lg.optim.base import Optimizer
from textgrad_lg.optim.tgd import TGD

if TYPE_CHECKING:
    import random

    from textgrad_lg.optim.base import Proposals, StepContext
    from textgrad_lg.optim.pareto import Merge, Pool


@runtime_checkable
class PoolOptimizer(Optimizer, Protocol):
    """An Optimizer that says which candidate a step starts from, and which candidates to merge.

    The run keeps the pool: each candidate that was run on the whole validation set, taken or not, the graph as it was given
    first. For other optimizers each step starts from the candidate in force.
    """

    def parent(self, pool: Pool, rng: random.Random) -> int:
        """The number of the member of the pool that the next step starts from."""
        ...

    def merges(self, pool: Pool) -> tuple[Merge, ...]:
        """Merges to run on the validation set in the next step, the most promising first; none twice."""
        ...


class Pareto:
    """Keeps what is best at something, and not only what is best on average.

    A step starts from a member of the pool's front, drawn with a chance in proportion to the examples on which it is best;
    there `optimizer` proposes. Members that are good at different examples are merged, Parameter by Parameter. A candidate
    whose gain is too small to be proven on the validation set is not in force, but steps may start from it: small true gains
    of several nodes add up to one that can be proven. The way of choosing parents is that of GEPA (Agrawal et al. 2025,
    arXiv:2507.19457, section 3).

    Args:
        optimizer: Proposes edits of the parent's texts; `TGD()` if None.
        merges: Merges at most in one step; 0 for none.

    Raises:
        ValueError: `merges` is less than 0.
        TypeError: `optimizer` has a pool of its own.
    """

    def __init__(self, optimizer: Optimizer | None = None, *, merges: int = 1) -> None:
        if merges < 0:
            raise ValueError(f"merges is {merges}; it has to be 0 or more")
        if isinstance(optimizer, PoolOptimizer):
            raise TypeError(f"{type(optimizer).__name__} has a pool of its own; give Pareto one that proposes edits")
        self.optimizer: Optimizer = TGD() if optimizer is None else optimizer
        self._merges = merges

    @property
    def proposals(self) -> int:
        """Candidates at most in one step, merges included."""
        return self.optimizer.proposals + self._merges

    async def propose(self, context: StepContext) -> Proposals:
        """Propose edits of the texts that the step starts from.

        Raises:
            BudgetExhausted: A model call was not admitted.
        """
        return await self.optimizer.propose(context)

    def parent(self, pool: Pool, rng: random.Random) -> int:
        """The number of a member of the front, drawn by the examples on which it is best.

        Raises:
            ValueError: No member of the pool has a score.
        """
        return pareto.parent(pool, rng)

    def merges(self, pool: Pool) -> tuple[Merge, ...]:
        """The most promising merges of complementary members that the pool does not hold yet."""
        found = (pareto.merge(pool, *pair) for pair in pareto.complements(pool))
        return tuple(merge for merge in found if merge is not None)[: self._merges]
