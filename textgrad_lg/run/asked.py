"""What models are asked for besides rollouts: gradients and proposals, each paid for once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter

from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import Proposals
from textgrad_lg.overlay import overlay
from textgrad_lg.types import Phase

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.run.rollout import Rollouts

T = TypeVar("T")
Ask = Callable[["BaseChatModel | None"], Awaitable[T]]
"""Asks the model it is given."""


@dataclass(frozen=True)
class Asked:
    """Asks the run's model, or reads from the journal what it was asked before.

    Attributes:
        rollouts: The run's rollouts, with its journal, its meters and its model.
        model: Gives the model; called only where there is something to ask.
    """

    rollouts: Rollouts
    model: Callable[[], Awaitable[BaseChatModel | None]]

    async def gradients(self, key: str, ask: Ask[Gradients]) -> Gradients:
        """The gradients that `key` stands for."""
        return await self._once("gradients", key, Phase.GRADIENT, ask, _gradients_adapter())

    async def proposals(self, key: str, ask: Ask[Proposals]) -> Proposals:
        """The proposals that `key` stands for."""
        return await self._once("proposals", key, Phase.PROPOSAL, ask, _proposals_adapter())

    async def _once(self, kind: str, key: str, phase: Phase, ask: Ask[T], adapter: TypeAdapter[T]) -> T:
        journal = self.rollouts.journal
        kept = journal.get(kind, key)
        if kept is None:
            meter = self.rollouts.metering.meter(phase)
            model = await self.model()
            receipts = self.rollouts.memos.receipts
            with overlay({}, meter=meter, memory=receipts.replay(f"{kind} {key}")):
                answer = await ask(model)
            # Before anything is kept: the answer may count a call as failed that only could not be kept.
            receipts.check()
            meter.check()
            kept = adapter.dump_python(answer, mode="json")
            journal.put(kind, key, kept)
            self.rollouts.keep_spend()
        # Read back in any case: the next key is made from it, and has to be the same for a run that goes on from here.
        return adapter.validate_python(kept)


@cache
def _gradients_adapter() -> TypeAdapter[Gradients]:
    return TypeAdapter(Gradients)


@cache
def _proposals_adapter() -> TypeAdapter[Proposals]:
    return TypeAdapter(Proposals)


def content_key(*parts: str) -> str:
    """A key that the same parts always have, and others never."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
