"""MemoryRegistry: a registry that lives as long as the process; the reference for all others."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.errors import RegistryError
from textgrad_lg.registry import rules
from textgrad_lg.registry.base import Move, NewVersion, PromptVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from textgrad_lg.prompt import Template


@dataclass(frozen=True, slots=True)
class _Row:
    """A version as it is kept: the provenance as JSON text, so that no caller can reach into the history."""

    template: Template
    parent: int | None
    score: float | None
    provenance: str
    created: float


class MemoryRegistry:
    """A `PromptRegistry` in memory.

    Args:
        clock: Gives the Unix time in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[str, list[_Row]] = {}
        self._moves: dict[str, dict[str, list[Move]]] = {}

    def names(self) -> tuple[str, ...]:
        """See `PromptRegistry.names`."""
        with self._lock:
            return tuple(self._rows)

    def get(self, name: str, *, version: int | None = None, label: str | None = None) -> PromptVersion:
        """See `PromptRegistry.get`."""
        if version is not None and label is not None:
            raise RegistryError("give get() a version or a label, not both")
        with self._lock:
            rows = self._of(name)
            if label is not None:
                rules.check_name("label", label)
                version = self._now(name, label)
                if version is None:
                    raise rules.unknown_label(name, label, self._labels(name))
            at = len(rows) if version is None else version
            if not 1 <= at <= len(rows):
                raise rules.unknown_version(name, at, len(rows))
            return _version(name, at, rows[at - 1])

    def history(self, name: str) -> tuple[PromptVersion, ...]:
        """See `PromptRegistry.history`."""
        with self._lock:
            return tuple(_version(name, at, row) for at, row in enumerate(self._of(name), start=1))

    def labels(self, name: str) -> dict[str, int]:
        """See `PromptRegistry.labels`."""
        with self._lock:
            self._of(name)
            return self._labels(name)

    def moves(self, name: str, label: str) -> tuple[Move, ...]:
        """See `PromptRegistry.moves`."""
        with self._lock:
            self._of(name)
            rules.check_name("label", label)
            return tuple(self._moves[name].get(label, ()))

    def commit(
        self, new: Sequence[NewVersion], *, label: str, expect: Mapping[str, int | None]
    ) -> tuple[PromptVersion, ...]:
        """See `PromptRegistry.commit`."""
        rules.check_written([version.name for version in new], label, expect)
        provenances = [rules.dump_provenance(version) for version in new]
        with self._lock:
            self._check(label, expect)
            for version in new:
                rules.check_parent(version, len(self._rows.get(version.name, ())))
            # Nothing below this line can fail.
            created = self._clock()
            written: list[PromptVersion] = []
            for version, provenance in zip(new, provenances, strict=True):
                row = _Row(version.template, version.parent, version.score, provenance, created)
                rows = self._rows.setdefault(version.name, [])
                rows.append(row)
                self._add(version.name, label, Move(len(rows), created))
                written.append(_version(version.name, len(rows), row))
            return tuple(written)

    def move(self, label: str, to: Mapping[str, int], *, expect: Mapping[str, int | None]) -> None:
        """See `PromptRegistry.move`."""
        rules.check_written(list(to), label, expect)
        with self._lock:
            for name, version in to.items():
                newest = len(self._of(name))
                if not 1 <= version <= newest:
                    raise rules.unknown_version(name, version, newest)
            self._check(label, expect)
            created = self._clock()
            for name, version in to.items():
                if self._now(name, label) != version:
                    self._add(name, label, Move(version, created))

    def rollback(
        self, label: str, names: Sequence[str], *, expect: Mapping[str, int | None] | None = None
    ) -> dict[str, int | None]:
        """See `PromptRegistry.rollback`."""
        rules.check_written(names, label, dict.fromkeys(names) if expect is None else expect)
        with self._lock:
            for name in names:
                self._of(name)
            self._check(label, expect or {})
            back: dict[str, int | None] = {}
            for name in names:
                places = rules.positions(self._moves[name].get(label, ()))
                if not places:
                    raise rules.unknown_label(name, label, self._labels(name))
                back[name] = places[-2] if len(places) > 1 else None
            created = self._clock()
            for name, version in back.items():
                self._add(name, label, Move(version, created, rollback=True))
            return back

    def _of(self, name: str) -> list[_Row]:
        rules.check_name("prompt name", name)
        if name not in self._rows:
            raise rules.unknown_name(name, tuple(self._rows))
        return self._rows[name]

    def _now(self, name: str, label: str) -> int | None:
        places = rules.positions(self._moves.get(name, {}).get(label, ()))
        return places[-1] if places else None

    def _labels(self, name: str) -> dict[str, int]:
        found = ((label, self._now(name, label)) for label in self._moves[name])
        return {label: version for label, version in found if version is not None}

    def _check(self, label: str, expect: Mapping[str, int | None]) -> None:
        rules.check_expected(label, expect, {name: self._now(name, label) for name in expect})

    def _add(self, name: str, label: str, move: Move) -> None:
        self._moves.setdefault(name, {}).setdefault(label, []).append(move)


def _version(name: str, at: int, row: _Row) -> PromptVersion:
    provenance = rules.load_provenance(row.provenance)
    return PromptVersion(name, at, row.template, row.parent, row.score, provenance, row.created)
