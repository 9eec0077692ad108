"""Limits: how many calls of a model are under way at once, and how that follows what the server bears.

All calls of a run pass here, whoever makes them: the graph in threads or in tasks, judges, critics. A call waits for its
place before it is admitted by a Meter, so one that waits has reserved nothing.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from textgrad_lg.threads import running_loop, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class Timer(Protocol):
    """Something that was put off."""

    def cancel(self) -> None:
        """Do not do it."""
        ...


def later(seconds: float, call: Callable[[], None]) -> Timer:
    """Call `call` after so many seconds, in a thread that no process waits for."""
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    with workers():
        timer.start()
    return timer


class Place:
    """The right to make a call. Left once, however often `leave` is called. What it says of itself, `Places` writes.

    Attributes:
        future: Done when the place is held; None where that was so at once.
        size: How many calls it counts for.
        loop: Stands for the event loop that it is held or waited for in; None for a thread.
        held: Whether it was ever held.
        gone: Whether it was left.
        cuts: How often the limit had been lowered when it was given.
    """

    __slots__ = ("_places", "cuts", "future", "gone", "held", "loop", "size")

    def __init__(self, places: Places, size: int) -> None:
        self.size, self.loop = size, running_loop()
        self.future: Future[None] | None = None
        self.held = self.gone = False
        self.cuts = 0
        self._places = places

    def leave(self, *, well: bool = False, refused: bool = False, after: float | None = None) -> None:
        """The call has ended, or is not waited for any longer.

        Args:
            well: It was answered.
            refused: The server said that it was too much.
            after: In how many seconds the server wants to be asked again, where it said so.
        """
        self._places.left(self, well=well, refused=refused, after=after)


class Places:
    """So many at once, first come, first served. All methods may be called from any thread, and wait for nothing.

    Each time the server says that it is too much, half of those under way is the new limit; each limit's worth of calls
    that go well raises it by one, up to what was set. Calls under way together that are refused together count once.

    A call in an event loop ends only as its loop goes on, and a thread that waits may hold that up, as a sync `batch` in an
    async node does. So what waits, waits for places of threads and of its own loop; where all are held by others, it gets
    its place over the limit.

    Args:
        most: So many at most; None for as many as are asked for, until the server says that it is too much.
        clock: Gives a time in seconds that never goes back.
        later: Does something after some seconds.
    """

    def __init__(
        self,
        most: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], Timer] = later,
    ) -> None:
        self._most = self._limit = math.inf if most is None else float(most)
        self._clock, self._later = clock, later
        self._busy = self._cuts = 0
        self._queue: deque[Place] = deque()
        self._holders: Counter[int | None] = Counter()
        self._resume: float | None = None
        self._timer: Timer | None = None
        self._open = True
        # Reentrant: the garbage collector may close an abandoned stream, and with it a place, at any allocation.
        self._lock = threading.RLock()

    @property
    def limit(self) -> float:
        """How many may be under way now: a whole number, or infinity."""
        return max(1.0, self._limit // 1) if self._limit < math.inf else math.inf

    def ask(self, size: int = 1, *, at_once: bool = False) -> Place:
        """A place, held or waited for.

        Args:
            size: How many calls it counts for. One that is larger than the limit gets its turn when nothing else goes on.
            at_once: It cannot wait, because others wait for it: it is held at once, over the limit where need be.
        """
        place = Place(self, size)
        with self._lock:
            if at_once or (not self._queue and self._fits(size)) or not self._may_wait(place):
                self._hold(place)
            else:
                place.future = Future()
                self._queue.append(place)
        return place

    def left(self, place: Place, *, well: bool, refused: bool, after: float | None) -> None:
        """See `Place.leave`."""
        with self._lock:
            if place.gone:
                return
            place.gone = True
            if place.held:
                if refused:
                    self._slow(place, after)
                elif well and place.cuts == self._cuts:
                    self._limit = min(self._most, self._limit + place.size / self._limit)
                self._busy -= place.size
                self._holders[place.loop] -= 1
            elif place in self._queue:
                self._queue.remove(place)
        self._let_in()

    def close(self) -> None:
        """Let everything through from now on: whoever waits is to be told by the Meter that it is over."""
        with self._lock:
            self._open = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self._let_in()

    def _fits(self, size: int) -> bool:
        if not self._open:
            return True
        if self._resume is not None:
            return False
        return self._busy == 0 or self._busy + size <= self.limit

    def _may_wait(self, place: Place) -> bool:
        """Whether the server's time for it has to come yet, or somebody holds a place who leaves it whatever this one does."""
        return self._resume is not None or any(
            count and loop in (None, place.loop) for loop, count in self._holders.items()
        )

    def _hold(self, place: Place) -> None:
        place.held, place.cuts = True, self._cuts
        self._busy += place.size
        self._holders[place.loop] += 1

    def _slow(self, place: Place, after: float | None) -> None:
        if place.cuts == self._cuts:
            self._cuts += 1
            self._limit = max(1.0, min(self._limit, self._busy) / 2)
        if after and self._open:
            until = self._clock() + after
            if self._resume is None or until > self._resume:
                self._resume = until
            if self._timer is None:
                self._timer = self._later(after, self._go_on)

    def _go_on(self) -> None:
        """The server may be asked again, unless it has asked for more time since."""
        with self._lock:
            self._timer = None
            rest = 0.0 if self._resume is None else self._resume - self._clock()
            if rest > 0 and self._open:
                self._timer = self._later(rest, self._go_on)
                return
            self._resume = None
        self._let_in()

    def _next(self) -> Place | None:
        """Who gets a place now: the first in the queue where there is one, or one who must not wait any longer."""
        if self._queue and self._fits(self._queue[0].size):
            return self._queue[0]
        return next((place for place in self._queue if not self._may_wait(place)), None)

    def _let_in(self) -> None:
        """Give free places to those who wait. They are told without the lock, because their callbacks run at once."""
        told: list[Future[None]] = []
        with self._lock:
            while (place := self._next()) is not None:
                self._queue.remove(place)
                assert place.future is not None
                # Where the waiting task was cancelled, so was this.
                if place.future.set_running_or_notify_cancel():
                    self._hold(place)
                    told.append(place.future)
        for future in told:
            future.set_result(None)


class Limits:
    """The Places of each model of a run.

    Args:
        most: Calls of one model under way at most; None for as many as its server bears.
        clock: Gives a time in seconds that never goes back.
        later: Does something after some seconds.
    """

    def __init__(
        self,
        most: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], Timer] = later,
    ) -> None:
        self._most, self._clock, self._later = most, clock, later
        self._places: dict[Hashable, Places] = {}
        self._lent: Counter[int] = Counter()
        self._open = True
        self._lock = threading.RLock()

    def of(self, model: Hashable) -> Places:
        """The Places of a model, by its name."""
        found = self._places.get(model)
        if found is None:
            with self._lock:
                found = self._places.setdefault(model, Places(self._most, clock=self._clock, later=self._later))
                if not self._open:
                    found.close()
        return found

    def lend(self, owner: object) -> None:
        """A stream of `owner` holds a place, and is in the hands of whoever reads it, who may make calls before it goes on."""
        with self._lock:
            self._lent[id(owner)] += 1

    def take_back(self, owner: object) -> None:
        """The stream goes on, or has ended."""
        with self._lock:
            self._lent[id(owner)] -= 1
            if not self._lent[id(owner)]:
                del self._lent[id(owner)]

    def is_lent(self, owner: object) -> bool:
        """Whether a call of `owner` must not wait, because a place may be waiting for it."""
        return id(owner) in self._lent

    def close(self) -> None:
        """Let everything through from now on; see `Places.close`."""
        with self._lock:
            self._open = False
            places = list(self._places.values())
        for each in places:
            each.close()
