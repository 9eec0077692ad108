"""The model that criticises, proposes and judges: the one that was given, or the one that the graph itself calls most."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textgrad_lg.errors import BudgetExhausted
from textgrad_lg.llm import model_name

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.run.journal import Journal
    from textgrad_lg.types import ModelCall, Ticket


@dataclass
class OwnModel:
    """Finds the model to criticise, propose and judge with, where none was given.

    It is the model that the graph calls most in the first run in which it calls any, so it is the same whatever the
    concurrency. Its name is kept in the journal: a session that goes on from there takes the same one.

    Attributes:
        journal: Keeps the name.
        model: The model, once it is known.
    """

    journal: Journal
    model: BaseChatModel | None = None
    _seen: dict[str, tuple[BaseChatModel, int]] = field(default_factory=dict[str, "tuple[BaseChatModel, int]"])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def wanted(self) -> str | None:
        """The name that an earlier session settled on; None where there is none."""
        name = self.journal.get("run", "model")
        return None if name is None else str(name)

    def note(self, model: BaseChatModel) -> None:
        """Count a call of `model`; for `overlay(seen=...)`."""
        if self.model is None:
            name = ":".join(model_name(model))
            with self._lock:
                first, calls = self._seen.get(name, (model, 0))
                self._seen[name] = (first, calls + 1)

    def settle(self) -> None:
        """Choose among the models noted so far: the one an earlier session had, else the one called most."""
        with self._lock:
            seen, self._seen = self._seen, {}
        if self.model is not None or not seen:
            return
        wanted = self.wanted
        if wanted is not None:
            self.model = seen[wanted][0] if wanted in seen else None
            return
        # Ties by name: which of two nodes side by side calls first is up to the machine.
        name = min(seen, key=lambda name: (-seen[name][1], name))
        self.journal.put("run", "model", name)
        self.model = seen[name][0]


class Refuse:
    """A Meter that lets nothing through: with it a graph shows which model it would call, and calls none."""

    def admit(self, call: ModelCall) -> Ticket:
        """Refuse."""
        raise BudgetExhausted("no call is made here; the graph is only asked which model it would call")
