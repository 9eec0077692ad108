"""Memo: what models and tools have answered, as a value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self, cast

from textgrad_lg.errors import ReplayError
from textgrad_lg.types import JSON

_VERSION = 2
_READ = (1, 2)
_FIELDS = ("key", "lane", "ordinal", "name", "value", "reason", "seconds")


@dataclass(frozen=True, slots=True)
class Entry:
    """One call, and what it answered.

    Attributes:
        key: Equal for calls that ask the same; see `keys`.
        lane: Tells apart the parallel branches that ask the same, so that timing does not.
        ordinal: Counts the calls of one key and lane in one run, from 0.
        name: What was called, for people: a node's path or a tool's name.
        value: What it answered, as JSON; None where that cannot be said again.
        reason: Why not, in words; None where it can.
        seconds: How long the call took when it was made; 0 where version 1 wrote the entry, which did not say.
    """

    key: str
    lane: str
    ordinal: int
    name: str
    value: JSON = None
    reason: str | None = None
    seconds: float = 0.0

    @property
    def place(self) -> tuple[str, str, int]:
        """What tells it apart from all others."""
        return self.key, self.lane, self.ordinal


@dataclass(frozen=True, slots=True)
class Memo:
    """What models and tools have answered in one run or in several. A value: it does not change.

    Attributes:
        entries: In the order in which they were added; no two have the same place.
    """

    entries: tuple[Entry, ...] = ()
    _found: dict[tuple[str, str, int], Entry] = field(init=False, repr=False, compare=False)
    _lanes: dict[tuple[str, int], Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_found", {entry.place: entry for entry in self.entries})
        if len(self._found) < len(self.entries):
            raise ReplayError("this is not a memo: it says twice what one call answered")
        # By key and ordinal: the entry of the first lane, by name and not by the order of arrival.
        lanes: dict[tuple[str, int], Entry] = {}
        for entry in sorted(self.entries, key=lambda entry: entry.lane):
            lanes.setdefault((entry.key, entry.ordinal), entry)
        object.__setattr__(self, "_lanes", lanes)

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, key: str, lane: str, ordinal: int) -> Entry | None:
        """What a call answered: in its own lane or, where that never asked, in another.

        A fan-out that comes in another order finds its answers in the lanes where they were given. Lanes share them
        and do not compete for them, so which branch is faster decides nothing.
        """
        return self._found.get((key, lane, ordinal)) or self._lanes.get((key, ordinal))

    def with_entries(self, entries: Iterable[Entry]) -> Memo:
        """This Memo and more entries; where both know a call, this one's word stands."""
        more = {entry.place: entry for entry in entries if entry.place not in self._found}
        return Memo((*self.entries, *more.values())) if more else self

    def to_json(self) -> str:
        """The Memo as JSON; the same text for the same Memo."""
        return json.dumps({"version": _VERSION, "entries": self.rows()}, allow_nan=False)

    def rows(self) -> list[JSON]:
        """The entries as plain values, for those who keep them among others."""
        return [[getattr(entry, name) for name in _FIELDS] for entry in self.entries]

    @classmethod
    def from_rows(cls, rows: JSON) -> Self:
        """Read back what `rows` gave.

        Raises:
            ReplayError: They are not the entries of a Memo.
        """
        if not isinstance(rows, list):
            raise ReplayError("this is not a memo: its entries are not a list")
        return cls(tuple(_entry(row) for row in rows))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what `to_json` wrote.

        Raises:
            ReplayError: It is not the JSON of a Memo, or of another version.
        """
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ReplayError(f"this is not a memo: it is not JSON ({error})") from error
        if not isinstance(found, dict) or "entries" not in found:
            raise ReplayError('this is not a memo: a memo is a JSON object with "version" and "entries"')
        memo = cast("Mapping[str, JSON]", found)
        if memo.get("version") not in _READ:
            raise ReplayError(
                f"this memo is of version {memo.get('version')!r}, and this library reads versions {_READ[0]} to {_READ[-1]}; "
                "record the run again"
            )
        return cls.from_rows(memo["entries"])


def _entry(row: JSON) -> Entry:
    match row:
        case [str(key), str(lane), int(ordinal), str(name), value, None | str() as reason]:
            return Entry(key, lane, ordinal, name, value, reason)
        case [
            str(key),
            str(lane),
            int(ordinal),
            str(name),
            value,
            None | str() as reason,
            int() | float() as seconds,
        ] if 0 <= seconds < math.inf:
            return Entry(key, lane, ordinal, name, value, reason, float(seconds))
        case _:
            raise ReplayError(f"this is not a memo: an entry has the fields {', '.join(_FIELDS)}, and this is {row!r}")
