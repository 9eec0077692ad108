"""Memos: what models, and tools where wanted, have answered on each example, over all rollouts of a run.

A candidate differs from what was run before in one text or a few. Its rollout replays the calls of earlier rollouts of
the same example, and pays for those that depend on what has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textgrad_lg.errors import JournalError, ReplayError
from textgrad_lg.replay import Memo, Replay
from textgrad_lg.types import Tools

if TYPE_CHECKING:
    from textgrad_lg.run.journal import Journal
    from textgrad_lg.run.settings import Settings
    from textgrad_lg.types import JSON

_KIND = "calls"


class Memos:
    """One Memo an example, kept in the journal.

    They need no bound of their own: a call is kept once an example, and its reply is in the trace of its rollout too,
    which the journal keeps as well.

    Args:
        journal: Keeps them.
        settings: Whether to replay at all, and what becomes of tools.
    """

    def __init__(self, journal: Journal, settings: Settings) -> None:
        self._journal, self._settings = journal, settings
        self._memos: dict[str, Memo] | None = None
        self._parts = 0

    def open(self, example: str, *, complete: bool) -> Replay | None:
        """A Replay for one rollout of an example; None where nothing is to be replayed.

        Args:
            example: The example's id.
            complete: Whether a rollout of it has run to its end. Until then, tools have to run.
        """
        settings = self._settings
        if not settings.replay:
            return None
        tools = Tools.RECORD if settings.tools is Tools.REPLAY and not complete else settings.tools
        return Replay(self._load().get(example), tools=tools, pure=settings.pure_tools)

    def keep(self, example: str, replay: Replay | None) -> None:
        """Keep what was answered in a rollout, even if it was cut off: it is paid for."""
        if replay is None or not replay.new:
            return
        memos = self._load()
        self._journal.put(_KIND, f"{example}/{self._parts}", [example, Memo(replay.new).rows()])
        self._parts += 1
        memos[example] = memos.get(example, Memo()).with_entries(replay.new)

    def _load(self) -> dict[str, Memo]:
        if self._memos is None:
            found: dict[str, Memo] = {}
            for key, part in self._journal.items(_KIND):
                try:
                    example, rows = cast("list[JSON]", part)
                    found[str(example)] = found.get(str(example), Memo()).with_entries(Memo.from_rows(rows).entries)
                except (TypeError, ValueError, ReplayError) as error:
                    raise JournalError(f"the journal's calls {key!r} cannot be read: {error}") from error
                self._parts += 1
            self._memos = found
        return self._memos
