"""Single-flight: calls that ask the same while one of them is under way are one call.

A Memo answers what was asked before; this answers what is being asked now. Candidates that are run side by side on an
example and share an edit ask the same at the same moment, and one of them pays. It is rare: what no edit has changed was
asked by the run that they are compared with.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.types import JSON


class Landed(NamedTuple):
    """What a call gave that others waited for.

    Attributes:
        value: The reply, as a Memo has it.
        seconds: How long it took.
    """

    value: JSON
    seconds: float


class Flights:
    """The calls of one run that are under way. All methods may be called from any thread, and wait for nothing.

    Attributes:
        saved: Calls that were not made, because they asked what was being asked.
    """

    def __init__(self) -> None:
        self.saved = 0
        self._under_way: dict[Hashable, list[Future[Landed | None]]] = {}
        # Reentrant: the garbage collector may close an abandoned stream, and have its flight landed, at any allocation.
        self._lock = threading.RLock()

    def join(self, key: Hashable) -> Future[Landed | None] | None:
        """What the same call under way will give; None where there is none, and the caller's is the one now.

        It gives None where it failed: then ask again.
        """
        with self._lock:
            waiting = self._under_way.get(key)
            if waiting is None:
                self._under_way[key] = []
                return None
            future: Future[Landed | None] = Future()
            waiting.append(future)
            return future

    def land(self, key: Hashable, landed: Landed | None) -> None:
        """The call has ended; None where its reply is of no use to others."""
        with self._lock:
            waiting = self._under_way.pop(key, [])
            # A task that was cancelled while it waited has cancelled its future.
            waiting = [future for future in waiting if future.set_running_or_notify_cancel()]
            self.saved += len(waiting) if landed is not None else 0
        for future in waiting:
            future.set_result(landed)

    def about(self, example: str) -> Flight:
        """The flights of a rollout of an example."""
        return Flight(self, example)


class Flight(NamedTuple):
    """What is under way for one example, and the calls whose answers do not depend on chance, for all.

    Attributes:
        flights: Those of the run.
        example: The example's id.
    """

    flights: Flights
    example: str

    def key(self, model: BaseChatModel, options: Mapping[str, Any], place: tuple[str, str, int]) -> Hashable:
        """What makes calls the same: the place in a Memo and, where the reply is drawn by chance, the example."""
        return place if without_chance(model, options) else (self.example, *place)


def without_chance(model: BaseChatModel, options: Mapping[str, Any]) -> bool:
    """Whether a call is sampled at temperature 0 or with a seed."""
    temperature = options.get("temperature", getattr(model, "temperature", None))
    seed = options.get("seed", getattr(model, "seed", None))
    return seed is not None or (isinstance(temperature, int | float) and temperature == 0)
