"""Memos: what models, and tools where wanted, have answered on each example, over all rollouts of a run.

A candidate differs from what was run before in one text or a few. Its rollout replays the calls of earlier rollouts of
the same example, and pays for those that depend on what has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.replay import Memo, Replay
from textgrad_lg.types import Tools

if TYPE_CHECKING:
    from textgrad_lg.run.receipts import Receipts
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.types import JSON

_BEGUN, _MERGED = "rollout begun", "calls merged"


class Memos:
    """One Memo an example, kept in the journal call by call.

    A rollout that was cut off finds first what was answered in it before; then, if rollouts share their replies, what
    was in those before it. They need no bound of their own: a call is kept once a rollout, and its reply is in the
    trace of that too, which the journal keeps as well.

    Args:
        receipts: Keeps the calls.
        settings: Whether rollouts share their replies, and what becomes of tools.
    """

    def __init__(self, receipts: Receipts, settings: Settings) -> None:
        self.receipts = receipts
        self._settings = settings
        self._memos: dict[str, Memo] | None = None
        self._merges = 0

    def open(self, example: str, rollout: str, *, complete: bool, goes_on: bool) -> Replay:
        """A Replay for one rollout of an example.

        Args:
            example: The example's id.
            rollout: The rollout's name, the same in all sessions of a run.
            complete: Whether a rollout of the example has run to its end. Until then, tools have to run.
            goes_on: Whether it goes on with an earlier rollout of that name, should one have been cut off: by the rule
                for tools that held then, whatever else has ended since.
        """
        settings, scope = self._settings, _scope(rollout)
        if not settings.replay:
            return self.receipts.replay(scope)
        if settings.tools is Tools.REPLAY and goes_on:
            begun = self.receipts.journal.get(_BEGUN, rollout)
            if begun is None:
                self.receipts.journal.note((_BEGUN, rollout, {"complete": complete}))
            else:
                complete = begun == {"complete": True}
        tools = Tools.RECORD if settings.tools is Tools.REPLAY and not complete else settings.tools
        memo = self._load().get(example, Memo())
        own = self.receipts.known(scope)
        known = own.with_entries(memo.entries) if own else memo
        return Replay(known, tools=tools, pure=settings.pure_tools, sink=self.receipts.sink(scope))

    def keep(self, example: str, rollout: str, replay: Replay) -> None:
        """Give later rollouts of an example what was answered in one, even if it was cut off: it is paid for."""
        if not self._settings.replay:
            return
        memos = self._load()
        before = memos.get(example, Memo())
        after = before.with_entries(replay.memo.entries)
        if after is before:
            return
        memos[example] = after
        # Where two rollouts asked the same side by side, the reply of the one that ended first stands. So the order is
        # kept too, with the number of the calls: a later session then knows exactly what this one knew.
        merged: JSON = {"example": example, "rollout": rollout, "upto": self.receipts.count(_scope(rollout))}
        self.receipts.journal.note((_MERGED, str(self._merges), merged))
        self._merges += 1

    def _load(self) -> dict[str, Memo]:
        if self._memos is None:
            found: dict[str, Memo] = {}
            for _, row in self.receipts.journal.items(_MERGED):
                with self.receipts.journal.reading(_MERGED):
                    merged = cast("dict[str, Any]", row)
                    example, entries = merged["example"], self.receipts.known(_scope(merged["rollout"])).entries
                    found[example] = found.get(example, Memo()).with_entries(entries[: merged["upto"]])
                self._merges += 1
            self._memos = found
        return self._memos


def _scope(rollout: str) -> str:
    return f"rollout {rollout}"
