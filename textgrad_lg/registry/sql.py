"""SQLiteRegistry: a registry in one file, shared by threads and processes."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from textgrad_lg.errors import RegistryError
from textgrad_lg.registry import rules
from textgrad_lg.registry.base import Move, NewVersion, PromptVersion
from textgrad_lg.registry.schema import Schema

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Mapping, Sequence

WAIT_SECONDS = 30.0
"""How long a writer waits for the writers before it."""

SCHEMA = Schema(
    what="prompt registry",
    application=0x74676C72,  # "tglr"
    version=1,
    tables=(
        """CREATE TABLE versions (
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, version INTEGER NOT NULL, template TEXT NOT NULL,
            parent INTEGER, score REAL, provenance TEXT NOT NULL, created REAL NOT NULL, UNIQUE (name, version)
        ) STRICT""",
        """CREATE TABLE moves (
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, label TEXT NOT NULL, version INTEGER,
            created REAL NOT NULL, rollback INTEGER NOT NULL
        ) STRICT""",
        "CREATE INDEX moves_by_name ON moves (name, label)",
    ),
    error=RegistryError,
)

_COLUMNS = "name, version, template, parent, score, provenance, created"


class SQLiteRegistry:
    """A `PromptRegistry` in one SQLite file.

    Each call opens the file, works in one transaction and closes it, so nothing needs closing, a fork is harmless and
    what another process wrote is seen at once. The file and its folder are made by the first write; until then the
    registry is empty.

    SQLite keeps its default rollback journal: transactions take milliseconds, so a write-ahead log would gain nothing;
    it cannot be switched on safely while several processes make the file, and it cannot be read in a folder that
    cannot be written, such as that of a container image.

    Args:
        path: The file.
        clock: Gives the Unix time in seconds.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._clock = clock

    def __repr__(self) -> str:
        return f"SQLiteRegistry({str(self._path)!r})"

    def names(self) -> tuple[str, ...]:
        """See `PromptRegistry.names`."""
        with self._read() as db:
            return _names(db)

    def get(self, name: str, *, version: int | None = None, label: str | None = None) -> PromptVersion:
        """See `PromptRegistry.get`."""
        if version is not None and label is not None:
            raise RegistryError("give get() a version or a label, not both")
        with self._read() as db:
            newest = _newest_of(db, name)
            if label is not None:
                rules.check_name("label", label)
                version = _now(db, name, label)
                if version is None:
                    raise rules.unknown_label(name, label, _labels(db, name))
            at = newest if version is None else version
            if not 1 <= at <= newest:
                raise rules.unknown_version(name, at, newest)
            query = f"SELECT {_COLUMNS} FROM versions WHERE name = ? AND version = ?"  # noqa: S608  a constant
            return _version(db.execute(query, (name, at)).fetchone())

    def history(self, name: str) -> tuple[PromptVersion, ...]:
        """See `PromptRegistry.history`."""
        with self._read() as db:
            _newest_of(db, name)
            query = f"SELECT {_COLUMNS} FROM versions WHERE name = ? ORDER BY version"  # noqa: S608  a constant
            return tuple(_version(row) for row in db.execute(query, (name,)))

    def labels(self, name: str) -> dict[str, int]:
        """See `PromptRegistry.labels`."""
        with self._read() as db:
            _newest_of(db, name)
            return _labels(db, name)

    def moves(self, name: str, label: str) -> tuple[Move, ...]:
        """See `PromptRegistry.moves`."""
        with self._read() as db:
            _newest_of(db, name)
            rules.check_name("label", label)
            return tuple(_moves(db, name, label))

    def commit(
        self, new: Sequence[NewVersion], *, label: str, expect: Mapping[str, int | None]
    ) -> tuple[PromptVersion, ...]:
        """See `PromptRegistry.commit`."""
        rules.check_written([version.name for version in new], label, expect)
        provenances = [rules.dump_provenance(version) for version in new]
        with self._write() as db:
            _check(db, label, expect)
            created = self._clock()
            written: list[PromptVersion] = []
            for item, provenance in zip(new, provenances, strict=True):
                newest = _newest(db, item.name)
                rules.check_parent(item, newest)
                template = rules.dump_template(item.template)
                row = (item.name, newest + 1, template, item.parent, item.score, provenance, created)
                db.execute(f"INSERT INTO versions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608  a constant
                _add(db, item.name, label, Move(newest + 1, created))
                written.append(_version(row))
            return tuple(written)

    def move(self, label: str, to: Mapping[str, int], *, expect: Mapping[str, int | None]) -> None:
        """See `PromptRegistry.move`."""
        rules.check_written(list(to), label, expect)
        with self._write() as db:
            for name, version in to.items():
                newest = _newest_of(db, name)
                if not 1 <= version <= newest:
                    raise rules.unknown_version(name, version, newest)
            _check(db, label, expect)
            created = self._clock()
            for name, version in to.items():
                if _now(db, name, label) != version:
                    _add(db, name, label, Move(version, created))

    def rollback(
        self, label: str, names: Sequence[str], *, expect: Mapping[str, int | None] | None = None
    ) -> dict[str, int | None]:
        """See `PromptRegistry.rollback`."""
        rules.check_written(names, label, dict.fromkeys(names) if expect is None else expect)
        with self._write() as db:
            for name in names:
                _newest_of(db, name)
            _check(db, label, expect or {})
            created = self._clock()
            back: dict[str, int | None] = {}
            for name in names:
                places = rules.positions(_moves(db, name, label))
                if not places:
                    raise rules.unknown_label(name, label, _labels(db, name))
                back[name] = places[-2] if len(places) > 1 else None
                _add(db, name, label, Move(back[name], created, rollback=True))
            return back

    @contextmanager
    def _read(self) -> Generator[sqlite3.Connection]:
        """A transaction that sees one state throughout; that of an empty registry where none was written yet."""
        SCHEMA.check_file(self._path)
        if self._path.exists():
            with self._transaction("mode=rw", "BEGIN") as db:
                if SCHEMA.fits(db, self._path):
                    yield db
                    return
        with self._transaction("mode=memory", "BEGIN") as db:
            SCHEMA.create(db)
            yield db

    @contextmanager
    def _write(self) -> Generator[sqlite3.Connection]:
        """A transaction that no other writer can come between, committed if the block ends without an exception."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryError(f"cannot make the folder of the prompt registry {self._path}: {error}") from error
        SCHEMA.check_file(self._path)
        with self._transaction("mode=rwc", "BEGIN IMMEDIATE") as db:
            if not SCHEMA.fits(db, self._path):
                SCHEMA.create(db)
            yield db

    @contextmanager
    def _transaction(self, mode: str, begin: str) -> Generator[sqlite3.Connection]:
        uri = f"file:{quote(str(self._path.absolute()))}?{mode}"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None)) as db:
                db.execute(begin)
                yield db
                db.execute("COMMIT")  # closing without it rolls back
        except sqlite3.Error as error:
            raise RegistryError(
                f"the prompt registry {self._path} cannot be used: {error}. Nothing was changed; check that the file is "
                "whole, that it may be written, and that no other process keeps it locked"
            ) from error


def _names(db: sqlite3.Connection) -> tuple[str, ...]:
    return tuple(name for (name,) in db.execute("SELECT name FROM versions WHERE version = 1 ORDER BY id"))


def _newest(db: sqlite3.Connection, name: str) -> int:
    (newest,) = db.execute("SELECT coalesce(max(version), 0) FROM versions WHERE name = ?", (name,)).fetchone()
    return newest


def _newest_of(db: sqlite3.Connection, name: str) -> int:
    rules.check_name("prompt name", name)
    newest = _newest(db, name)
    if not newest:
        raise rules.unknown_name(name, _names(db))
    return newest


def _moves(db: sqlite3.Connection, name: str, label: str) -> list[Move]:
    query = "SELECT version, created, rollback FROM moves WHERE name = ? AND label = ? ORDER BY id"
    return [Move(version, created, bool(rollback)) for version, created, rollback in db.execute(query, (name, label))]


def _now(db: sqlite3.Connection, name: str, label: str) -> int | None:
    places = rules.positions(_moves(db, name, label))
    return places[-1] if places else None


def _labels(db: sqlite3.Connection, name: str) -> dict[str, int]:
    query = "SELECT label FROM moves WHERE name = ? GROUP BY label ORDER BY min(id)"
    found = ((label, _now(db, name, label)) for (label,) in db.execute(query, (name,)).fetchall())
    return {label: version for label, version in found if version is not None}


def _check(db: sqlite3.Connection, label: str, expect: Mapping[str, int | None]) -> None:
    rules.check_expected(label, expect, {name: _now(db, name, label) for name in expect})


def _add(db: sqlite3.Connection, name: str, label: str, move: Move) -> None:
    row = (name, label, move.version, move.created, int(move.rollback))
    db.execute("INSERT INTO moves (name, label, version, created, rollback) VALUES (?, ?, ?, ?, ?)", row)


def _version(row: tuple[Any, ...]) -> PromptVersion:
    name, version, template, parent, score, provenance, created = row
    return PromptVersion(
        name, version, rules.load_template(template), parent, score, rules.load_provenance(provenance), created
    )
