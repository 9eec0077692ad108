"""Telling the callbacks, which can neither break nor change a run."""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textgrad_lg.events import Callback, Event

_log = logging.getLogger("textgrad_lg")


class Emitter:
    """Builds events and hands them to every callback, in order, one at a time.

    Attributes:
        step: The step that events belong to; 0 outside the steps.
    """

    def __init__(self, run: str, callbacks: Sequence[Callback], clock: Callable[[], float]) -> None:
        self._run, self._callbacks, self._clock = run, tuple(callbacks), clock
        self._failed: set[int] = set()
        self.step = 0

    def __call__(self, kind: type[Event], **fields: Any) -> None:
        """Emit an event of class `kind`. A callback that raises is logged with its traceback the first time, and kept."""
        event = kind(run=self._run, time=self._clock(), step=self.step, **fields)
        for at, callback in enumerate(self._callbacks):
            try:
                callback(event)
            except Exception:  # noqa: BLE001  an observer may fail in any way, and must not break the run
                if at not in self._failed:
                    self._failed.add(at)
                    _log.exception("the callback %r raised on %s; the run goes on", callback, kind.__name__)


def installed_callbacks() -> list[Callback]:
    """The callbacks that installed packages offer under the entry point group `textgrad_lg.callbacks`.

    Each entry point is a function that returns a callback, or None where it has nothing to do in this process. This
    is how the OpenTelemetry package takes part without the core importing it.
    """
    found: list[Callback] = []
    for entry in sorted(entry_points(group="textgrad_lg.callbacks"), key=lambda entry: entry.name):
        try:
            callback = entry.load()()
        except Exception:  # noqa: BLE001  somebody else's package may fail in any way
            _log.exception("the callback entry point %r could not be loaded; the run goes on without it", entry.name)
        else:
            if callback is not None:
                found.append(callback)
    return found
