"""Journal: the durable record of one run, from which a killed run goes on without paying for anything twice."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from textgrad_lg.errors import JournalError, ReplayError, TraceError
from textgrad_lg.registry.schema import Schema

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Mapping, Sequence
    from types import TracebackType

    from textgrad_lg.types import JSON

FILE = "journal.sqlite3"
"""The journal's file in the run directory."""

SCHEMA = Schema(
    what="run journal",
    application=0x74676C6A,  # "tglj"
    # 2: calls are kept one by one, as they are answered; 1 kept them when a rollout had ended.
    version=2,
    tables=(
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        """CREATE TABLE entries (
            id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
            UNIQUE (kind, key)
        ) STRICT""",
    ),
    error=JournalError,
)


class Journal:
    """A durable memo: JSON values by kind and key.

    What `put` has returned from is on the disk: neither a killed process nor a power cut loses it. What `note` has
    returned from is with the operating system: a killed process loses nothing of it, a power cut what was noted since
    the last `put`. That costs some hundred times less, so it is done at every model call. One process at a
    time holds a run directory; the operating system gives it free when the process ends, however it ends. A file that
    is damaged, or that something else wrote, is refused and never changed. Every method may be called from any thread.

    Args:
        run_dir: The run directory; it is made where it does not exist. None for a journal in memory, lost at `close`.
        settings: What the run was called with, as JSON. The first to open the journal with settings stores them; who
            comes later must bring the same. None where the journal is only looked at.

    Raises:
        JournalError: The directory is in use, the file is damaged or of another version, or the settings differ.
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None, *, settings: Mapping[str, JSON] | None = None) -> None:
        self._name = "the journal in memory" if run_dir is None else str(Path(run_dir) / FILE)
        self._lock = threading.RLock()
        self._synchronous = "FULL"
        if run_dir is not None:
            try:
                Path(run_dir).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise JournalError(f"cannot make the run directory {run_dir}: {error}") from error
            SCHEMA.check_file(Path(run_dir) / FILE)
        file = ":memory:" if run_dir is None else self._name
        with _explained(self._name):
            # autocommit: each statement is its own transaction; timeout 0: another holder will not go away by waiting.
            self._db: sqlite3.Connection | None = sqlite3.connect(
                file, timeout=0, isolation_level=None, check_same_thread=False
            )
        try:
            with _explained(self._name):
                self._open()
            self._agree(settings)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether it can be read and written."""
        return self._db is not None

    def close(self) -> None:
        """Give the run directory free. A second time does nothing."""
        with self._lock:
            db, self._db = self._db, None
            if db is not None:
                db.close()

    @property
    def settings(self) -> dict[str, JSON]:
        """The settings of the run that the journal is of; empty where none were stored."""
        rows = self._execute("SELECT name, value FROM settings ORDER BY rowid")
        return {name: self._load(value) for name, value in rows}

    def get(self, kind: str, key: str) -> JSON | None:
        """The value that was put under `kind` and `key`, or None."""
        rows = self._execute("SELECT value FROM entries WHERE kind = ? AND key = ?", (kind, key))
        return self._load(rows[0][0]) if rows else None

    def put(self, kind: str, key: str, value: JSON) -> None:
        """Keep `value`; an earlier value of the same kind and key gives it its place.

        Raises:
            JournalError: `value` is null, which `get` could not tell from nothing, or not JSON; or it cannot be written.
        """
        self._write("FULL", ((kind, key, value),))

    def note(self, *rows: tuple[str, str, JSON]) -> None:
        """Keep several values, all or none, each as `put` does; safe from a kill at once, and from a power cut later.

        Args:
            rows: Of each value its kind, its key and the value.

        Raises:
            JournalError: As in `put`.
        """
        self._write("NORMAL", rows)

    def items(self, kind: str) -> tuple[tuple[str, JSON], ...]:
        """All keys and values of a kind, in the order in which the keys were first put."""
        rows = self._execute("SELECT key, value FROM entries WHERE kind = ? ORDER BY id", (kind,))
        return tuple((key, self._load(value)) for key, value in rows)

    def count(self, kind: str) -> int:
        """How many values of a kind there are."""
        return self._execute("SELECT count(*) FROM entries WHERE kind = ?", (kind,))[0][0]

    @contextmanager
    def reading(self, kind: str) -> Generator[None]:
        """Raise what a value of `kind` that is not what it should be makes its reader raise, as damage of the journal.

        Raises:
            JournalError: In the place of an error of the reader.
        """
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError, TraceError, ReplayError) as error:
            why = f"of what it keeps as {kind!r} something cannot be read: {type(error).__name__}: {error}"
            raise JournalError(f"{self._name} is damaged ({why}). {_CURE}") from error

    def _write(self, synchronous: str, rows: Sequence[tuple[str, str, JSON]]) -> None:
        values: list[str] = []
        for kind, key, value in rows:
            if value is None:
                raise JournalError(f"cannot keep {kind} {key!r}: null would read as if nothing was kept")
            values += (kind, key, _dump(kind, value, key))
        places = ", ".join(["(?, ?, ?)"] * len(rows))
        with self._lock:
            if self._synchronous != synchronous:
                self._execute(f"PRAGMA synchronous = {synchronous}")
                self._synchronous = synchronous
            # One statement, which is a transaction of its own.
            self._execute(
                f"INSERT INTO entries (kind, key, value) VALUES {places} "  # noqa: S608  nothing but question marks
                "ON CONFLICT DO UPDATE SET value = excluded.value",
                tuple(values),
            )

    def _open(self) -> None:
        self._execute("PRAGMA locking_mode = EXCLUSIVE")
        # Taken and given back, because it makes the connection keep the lock from here on; it changes no byte.
        self._execute("BEGIN EXCLUSIVE")
        assert self._db is not None
        fits = SCHEMA.fits(self._db, self._name)
        self._execute("ROLLBACK")
        if fits:
            (verdict,) = self._execute("PRAGMA quick_check(1)")[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            self._execute("SELECT 1 FROM settings, entries LIMIT 0")
        self._execute("PRAGMA journal_mode = WAL")
        self._execute(f"PRAGMA synchronous = {self._synchronous}")
        if not fits:
            self._execute("BEGIN IMMEDIATE")
            SCHEMA.create(self._db)
            self._execute("COMMIT")

    def _agree(self, settings: Mapping[str, JSON] | None) -> None:
        """Store the settings, or compare them with those that are stored."""
        if settings is None:
            return
        given = {name: json.loads(_dump(f"setting {name}", value)) for name, value in settings.items()}
        stored = self.settings
        if not stored:
            self._execute("BEGIN IMMEDIATE")
            for name, value in given.items():
                self._execute("INSERT INTO settings (name, value) VALUES (?, ?)", (name, json.dumps(value)))
            self._execute("COMMIT")
        elif stored != given:
            names = [name for name in {**stored, **given} if _shown(stored, name) != _shown(given, name)]
            differ = "; ".join(f"{name} was {_shown(stored, name)} and is {_shown(given, name)}" for name in names)
            raise JournalError(
                f"{self._name} is of a run with other settings: {differ}. Use the same settings to go on with it, or "
                "another run_dir to begin anew"
            )

    def _execute(self, statement: str, values: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, _explained(self._name):
            if self._db is None:
                raise JournalError(f"{self._name} is closed")
            return self._db.execute(statement, values).fetchall()

    def _load(self, text: str) -> JSON:
        try:
            return cast("JSON", json.loads(text))
        except ValueError as error:
            raise JournalError(f"{self._name} is damaged ({error}). {_CURE}") from error


_CURE = "It was not changed; restore it from a backup, or begin anew with another run_dir"


@contextmanager
def _explained(name: str) -> Generator[None]:
    """Turn SQLite's errors into JournalErrors that say what to do."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise JournalError(f"{name}: a kind or key is not valid Unicode: {error.reason}") from error
    except UnicodeDecodeError as error:  # which SQLite itself takes for granted
        raise JournalError(f"{name} is damaged ({error}). {_CURE}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise JournalError(
                f"{name} is in use: another process, or another run in this one, has it open. Wait until it has ended, "
                "or use another run_dir"
            ) from error
        if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}:
            raise JournalError(
                f"{name} cannot be written: {error}. What it holds is safe; make room or give write permission, and go "
                "on with the same run_dir"
            ) from error
        raise JournalError(f"{name} is damaged ({error}). {_CURE}") from error


_ENCODER = json.JSONEncoder(allow_nan=False)
"""Writes ASCII: any text at all comes back as it was. Made once, because `json.dumps` makes one for each value."""


def _dump(what: str, value: JSON, key: str | None = None) -> str:
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError) as error:
        name = what if key is None else f"{what} {key!r}"
        raise JournalError(f"cannot keep {name}: it is not JSON ({error})") from error


def _shown(settings: Mapping[str, JSON], name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False, sort_keys=True) if name in settings else "not set"
