"""Telling the callbacks, which can neither break nor change a run."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from importlib.metadata import entry_points
from types import FunctionType
from typing import TYPE_CHECKING, Any

from textgrad_lg.events import Around, RolloutStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from types import TracebackType

    from textgrad_lg.events import Callback, Event

_log = logging.getLogger("textgrad_lg")


class Emitter:
    """Builds events and hands them to every callback, in order, one at a time.

    Attributes:
        step: The step that events belong to; 0 outside the steps.
    """

    def __init__(self, run: str, callbacks: Sequence[Callback], clock: Callable[[], float]) -> None:
        self._run, self._callbacks, self._clock = run, tuple(callbacks), clock
        self._around = [(at, each) for at, each in enumerate(self._callbacks) if isinstance(each, Around)]
        self._failed: set[int] = set()
        self.step = 0

    def __call__(self, kind: type[Event], **fields: Any) -> None:
        """Emit an event of class `kind`. A callback that raises is logged with its traceback the first time, and kept."""
        event = kind(run=self._run, time=self._clock(), step=self.step, **fields)
        for at, callback in enumerate(self._callbacks):
            try:
                callback(event)
            except Exception:  # noqa: BLE001  an observer may fail in any way, and must not break the run
                self._raised(at, kind)

    def around(self, **fields: Any) -> AbstractContextManager[object]:
        """What the callbacks want in force while the graph runs, entered in their order.

        Args:
            **fields: Of `RolloutStarted`.
        """
        if not self._around:
            return nullcontext()
        return self._entered(RolloutStarted(run=self._run, time=self._clock(), step=self.step, **fields))

    @contextmanager
    def _entered(self, event: RolloutStarted) -> Generator[None]:
        with ExitStack() as stack:
            for at, callback in self._around:
                guarded = _Guarded(partial(callback.around, event), partial(self._raised, at, RolloutStarted))
                stack.enter_context(guarded)
            yield

    def _raised(self, at: int, kind: type[Event]) -> None:
        if at not in self._failed:
            self._failed.add(at)
            _log.exception("the callback %r raised on %s; the run goes on", self._callbacks[at], kind.__name__)


class _Guarded(AbstractContextManager[None]):
    """A callback's context. What it raises, and whether it would stop an exception of the run, stays in here."""

    def __init__(self, ask: Callable[[], AbstractContextManager[object]], raised: Callable[[], None]) -> None:
        self._ask, self._raised = ask, raised
        self._entered: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        try:
            context = self._ask()
            context.__enter__()
            self._entered = context
        except Exception:  # noqa: BLE001  an observer may fail in any way, and must not break the run
            self._raised()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._entered is not None:
                self._entered.__exit__(kind, error, trace)
        except Exception:  # noqa: BLE001  as above
            self._raised()


def installed_callbacks(given: Sequence[Callback] = ()) -> list[Callback]:
    """The callbacks that installed packages offer under the entry point group `textgrad_lg.callbacks`.

    Each entry point is a function that returns a callback, or None where it has nothing to do in this process. This
    is how the OpenTelemetry package takes part without the core importing it.

    Args:
        given: The user's own. A callback of the class of one of them is left out, so that nothing is written twice.
    """
    found: list[Callback] = []
    classes = {type(callback) for callback in given} - {FunctionType}
    for entry in sorted(entry_points(group="textgrad_lg.callbacks"), key=lambda entry: entry.name):
        try:
            callback = entry.load()()
        except Exception:  # noqa: BLE001  somebody else's package may fail in any way
            _log.exception("the callback entry point %r could not be loaded; the run goes on without it", entry.name)
        else:
            if callback is not None and type(callback) not in classes:
                found.append(callback)
    return found
