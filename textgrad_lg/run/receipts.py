"""Receipts: each answered call is in the journal before what asked for it sees the answer.

A kill then loses no call that was paid for and answered, in whatever it was made: a rollout, a judgement, a gradient or a
proposal. What was spent goes with it in one write, so that the Budget holds over all sessions of a run.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.errors import JournalError
from textgrad_lg.replay import Entry, Memo, Replay
from textgrad_lg.types import Tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from textgrad_lg.run.journal import Journal
    from textgrad_lg.types import JSON


class Receipts:
    """Keeps calls by scope: the one rollout, judgement, gradient or proposal in which they were made.

    Once a call could not be kept, no further one is let through: it would be paid for and lost. All methods may be called
    from any thread.

    Args:
        journal: Keeps them.
        spend: Gives what was spent up to now, as JSON.
    """

    def __init__(self, journal: Journal, spend: Callable[[], JSON]) -> None:
        self.journal = journal
        self._spend = spend
        # One writer at a time, or an older spend could be written over a newer one.
        self._lock = threading.Lock()
        self._failed: JournalError | None = None

    def replay(self, scope: str) -> Replay:
        """A Replay of the model calls that were answered in a scope before it was cut off; it keeps those to come."""
        return Replay(self.known(scope), tools=Tools.RUN, sink=self.sink(scope))

    def known(self, scope: str) -> Memo:
        """What was answered in a scope so far.

        Raises:
            JournalError: It cannot be read.
        """
        rows = [row for _, row in self.journal.items(_kind(scope))]
        with self.journal.reading(_kind(scope)):
            return Memo.from_rows(rows)

    def count(self, scope: str) -> int:
        """How many calls were kept of a scope."""
        return self.journal.count(_kind(scope))

    def sink(self, scope: str) -> Sink:
        """Where a Replay puts what is answered in a scope."""
        return Sink(self, scope)

    def keep(self, scope: str, entry: Entry) -> None:
        """Keep what one call answered.

        Raises:
            JournalError: It cannot be written; the call will have to be made again.
        """
        (row,) = Memo((entry,)).rows()
        with self._lock:
            try:
                self.journal.note((_kind(scope), json.dumps(entry.place), row), ("run", "spend", self._spend()))
            except JournalError as error:
                if not self.journal.is_open:
                    # Of a thread that outlives its run, whose meter lets no further call through: nothing is left to tell.
                    return
                self._failed = self._failed or error
                raise

    def keep_spend(self) -> None:
        """Keep what was spent up to now."""
        with self._lock:
            self.journal.put("run", "spend", self._spend())

    def check(self) -> None:
        """Raise what kept a call from being kept: a graph or an evaluator may have taken it for a failure of its own."""
        if self._failed is not None:
            raise self._failed


@dataclass(frozen=True, slots=True)
class Sink:
    """Keeps the calls of one scope; see `replay.book.Sink`."""

    receipts: Receipts
    scope: str

    def check(self) -> None:
        """Raise where nothing can be kept any more."""
        self.receipts.check()

    def keep(self, entry: Entry) -> None:
        """Keep what a call answered."""
        self.receipts.keep(self.scope, entry)


def _kind(scope: str) -> str:
    return f"calls of {scope}"
