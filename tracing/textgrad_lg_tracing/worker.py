"""Worker: handles items one after the other on a thread of its own, so that who gives them never waits for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Handles items in the order given, on a daemon thread that lives only while there are some.

    Args:
        handle: Called with one item at a time.
        failed: Called with what `handle` raises, and with a `QueueFull` for each item that was turned away.
        limit: How many items may wait; more than that means that `handle` is stuck.
    """

    def __init__(self, handle: Callable[[T], None], failed: Callable[[Exception], None], limit: int = 10_000) -> None:
        self._handle, self._failed, self._limit = handle, failed, limit
        self._items: deque[T] = deque()
        self._state = threading.Condition()
        self._running = False

    def put(self, item: T) -> None:
        """Hand over an item; returns at once and never raises."""
        problem: Exception | None = None
        with self._state:
            if len(self._items) >= self._limit:
                problem = QueueFull(f"{self._limit} items wait already")
            else:
                self._items.append(item)
                if not self._running:
                    try:
                        threading.Thread(target=self._work, name="textgrad_lg_tracing", daemon=True).start()
                    except RuntimeError as error:  # The interpreter is ending, or the machine has no thread left.
                        problem = error
                    else:
                        self._running = True
        if problem is not None:
            self._failed(problem)

    def wait(self, seconds: float) -> bool:
        """Wait until all is handled, but not longer than `seconds`; returns whether it is."""
        with self._state:
            return self._state.wait_for(lambda: not self._running, seconds)

    def _work(self) -> None:
        while True:
            with self._state:
                if not self._items:
                    self._running = False
                    self._state.notify_all()
                    return
                item = self._items.popleft()
            try:
                self._handle(item)
            except Exception as error:  # noqa: BLE001  whatever it is, the next item is handled
                self._failed(error)


class QueueFull(Exception):  # noqa: N818  reads as the condition it names
    """An item was turned away, because too many wait."""
