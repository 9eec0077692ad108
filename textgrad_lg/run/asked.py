"""What models are asked for besides rollouts: gradients and proposals, each paid for once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import TypeAdapter

from textgrad_lg.gradient import GradientCall, Gradients
from textgrad_lg.optim import Proposals
from textgrad_lg.optim.described import plain
from textgrad_lg.overlay import overlay
from textgrad_lg.site import Site
from textgrad_lg.templates import guarded
from textgrad_lg.types import Phase

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.run.rollouts import Rollouts
    from textgrad_lg.types import JSON

T = TypeVar("T")
Ask = Callable[["BaseChatModel | None"], Awaitable[T]]
"""Asks the model it is given."""


@dataclass(frozen=True)
class Asked:
    """Asks the run's model, or reads from the journal what it was asked before.

    Attributes:
        rollouts: The run's rollouts, with its journal, its meters and its model.
        model: Gives the model; called only where there is something to ask.
        seed: The run's seed.
        quote: Whether data are strangers', and shown as JSON strings between fences whose marks are made with the run's id,
            which the journal keeps: nobody who wrote a text before the run began can know them, and a run that goes on asks
            the same again; see `templates.guarded`. Otherwise the marks go by the texts alone, so that two runs with the same
            seed ask the same.
    """

    rollouts: Rollouts
    model: Callable[[], Awaitable[BaseChatModel | None]]
    seed: int = 0
    quote: bool = False

    async def gradients(self, key: str, ask: Ask[Gradients]) -> Gradients:
        """The gradients that `key` stands for."""
        return await self.once("gradients", key, Phase.GRADIENT, ask, _gradients_adapter())

    async def proposals(self, key: str, ask: Ask[Proposals]) -> Proposals:
        """The proposals that `key` stands for."""
        return await self.once("proposals", key, Phase.PROPOSAL, ask, _proposals_adapter())

    async def once(self, kind: str, key: str, phase: Phase, ask: Ask[T], adapter: TypeAdapter[T]) -> T:
        """What `ask` gives, asked at most once in all sessions of the run.

        Args:
            kind: What is asked for.
            key: Which one of that kind it is.
            phase: What its calls are counted as.
            ask: Asks.
            adapter: Reads and writes the answer.
        """
        journal = self.rollouts.journal
        kept = journal.get(kind, key)
        if kept is None:
            meter = self.rollouts.metering.meter(phase)
            model = await self.model()
            receipts = self.rollouts.memos.receipts
            fences = guarded(f"{self.seed}:{self.rollouts.run}" if self.quote else "", quote=self.quote)
            with fences, overlay({}, meter=meter, memory=receipts.replay(f"{kind} {key}")):
                answer = await ask(model)
            # Before anything is kept: the answer may count a call as failed that only could not be kept.
            receipts.check()
            meter.check()
            kept = adapter.dump_python(answer, mode="json")
            journal.put(kind, key, kept)
            self.rollouts.keep_spend()
        # Read back in any case: the next key is made from it, and has to be the same for a run that goes on from here.
        with journal.reading(kind):
            return adapter.validate_python(kept)


@cache
def _gradients_adapter() -> TypeAdapter[Gradients]:
    return TypeAdapter(Gradients)


@cache
def _proposals_adapter() -> TypeAdapter[Proposals]:
    return TypeAdapter(Proposals)


def content_key(*parts: object) -> str:
    """A key that the same content always has, in each session of a run, and other content never.

    Nothing counts that may differ where the content does not: when a model was called and how many tokens it took, where
    in memory an object lies, in which order a mapping or a set was filled. Nor does a field that is at its default, so
    that a field which a later release adds changes no key.

    Args:
        *parts: Plain values, dataclasses, and anything else that `optim.described.plain` can tell apart.
    """
    return hashlib.sha256(json.dumps(_content(parts), sort_keys=True).encode()).hexdigest()


def _content(value: Any) -> JSON:
    if isinstance(value, Site):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        told = {
            field.name: _content(held) for field in fields(value) if _tells(field, held := getattr(value, field.name))
        }
        return {"": type(value).__qualname__, **told}
    if isinstance(value, Mapping):
        return {str(name): _content(held) for name, held in cast("Mapping[object, Any]", value).items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_content(held) for held in cast("Sequence[Any]", value) if not isinstance(held, GradientCall)]
    return plain(value)


def _tells(field: Any, held: object) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return held != default
