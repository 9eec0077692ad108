"""Book: a Memo in use by one run: which calls have been asked for, and what was answered that the Memo did not know."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from textgrad_lg.replay.memo import Entry, Memo

if TYPE_CHECKING:
    from textgrad_lg.types import JSON


class Sink(Protocol):
    """Keeps answers somewhere else at once, so that they outlive the process. Called from any thread."""

    def check(self) -> None:
        """Raise where nothing can be kept any more: asked before each model call, which is then not made."""
        ...

    def keep(self, entry: Entry) -> None:
        """Keep an answer; when this returns, it is kept. What it raises, the call raises."""
        ...


class Book:
    """What is known to one run. It reads the Memo it was given and writes beside it, so that runs stay apart.

    Args:
        memo: What is known at the start.
        clock: Gives the time in seconds, to tell how long a call takes.
        sink: Is given each answer before the one who asked; None where answers need not outlive the process.

    Attributes:
        memo: The same.
        clock: The same.
        hits: Calls that were found in it.
        notes: Why answers could not be remembered, each once.
    """

    def __init__(self, memo: Memo, clock: Callable[[], float] = time.perf_counter, sink: Sink | None = None) -> None:
        self.memo = memo
        self.clock = clock
        self.hits = 0
        self.notes: dict[str, None] = {}
        self._sink = sink
        self._new: list[Entry] = []
        self._next: dict[tuple[str, str], int] = {}
        # Reentrant: the garbage collector may close an abandoned stream, which gives its place back, at any allocation.
        self._lock = threading.RLock()

    @property
    def new(self) -> tuple[Entry, ...]:
        """What was answered in this run, in the order in which it was asked for where that is one order."""
        with self._lock:
            return tuple(sorted(self._new, key=lambda entry: entry.place))

    def check(self) -> None:
        """Raise where answers have to be kept and cannot be."""
        if self._sink is not None:
            self._sink.check()

    def ask(self, key: str, lane: str, name: str) -> Asked:
        """Look a call up, as the next one of its key and lane."""
        with self._lock:
            ordinal = self._next.get((key, lane), 0)
            self._next[key, lane] = ordinal + 1
            found = self.memo.find(key, lane, ordinal)
            if found is not None and found.reason is None:
                self.hits += 1
        return Asked(self, Entry(key, lane, ordinal, name), found)

    def add(self, entry: Entry) -> None:
        """Take an answer."""
        if self._sink is not None:
            self._sink.keep(entry)
        with self._lock:
            self._new.append(entry)
            if entry.reason is not None:
                self.notes[f"{entry.name}: {entry.reason}"] = None

    def release(self, entry: Entry) -> None:
        """Give the place of a call back that got no answer, so that the one made in its stead finds it."""
        with self._lock:
            if self._next.get((entry.key, entry.lane)) == entry.ordinal + 1:
                self._next[entry.key, entry.lane] = entry.ordinal


class Asked:
    """One call that was looked up, and is made now if it is not known. Either `keep` or `drop` has an effect, once.

    Attributes:
        found: What the Memo knows of it; None where it does not.
    """

    def __init__(self, book: Book, blank: Entry, found: Entry | None) -> None:
        self.found = found
        self._book, self._blank = book, blank
        self._open = found is None or found.reason is not None
        self._start = book.clock()

    @property
    def place(self) -> tuple[str, str, int]:
        """What tells the call apart from all others of its example."""
        return self._blank.place

    def keep(self, value: JSON, reason: str | None = None) -> None:
        """Remember what it gave, or why that cannot be remembered."""
        if self._open:
            self._open = False
            if self.found is None:
                took = round(self._book.clock() - self._start, 6)
                self._book.add(replace(self._blank, value=value, reason=reason, seconds=max(took, 0.0)))

    def drop(self) -> None:
        """It gave nothing."""
        if self._open:
            self._open = False
            self._book.release(self._blank)
