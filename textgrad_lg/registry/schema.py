"""What the library's SQLite files have in common: they say what they are, and are refused when they are something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.errors import TextgradError

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one kind of file.

    Attributes:
        what: What the file is, in words: "prompt registry".
        application: SQLite's application id, which tells the file from every other program's.
        version: The tables' version; kept as SQLite's user version.
        tables: The statements that make the tables.
        error: What to raise when a file cannot be used.
    """

    what: str
    application: int
    version: int
    tables: tuple[str, ...]
    error: type[TextgradError]

    def check_file(self, path: Path) -> None:
        """Refuse a file that is not SQLite's. SQLite itself takes one that is very short for an empty one of its own.

        Raises:
            TextgradError: As `error`: there is such a file.
        """
        try:
            with path.open("rb") as file:
                start = file.read(len(_MAGIC))
        except OSError:
            return  # none there, or SQLite will say what is wrong with it
        if start and start != _MAGIC:
            raise self.error(
                f"{path} is not a {self.what} of textgrad_lg, or is damaged: it is not a database. It was not changed; "
                "give another path, or restore it from a backup"
            )

    def fits(self, connection: sqlite3.Connection, path: Path | str) -> bool:
        """Whether the tables are there; False for a file that is still empty.

        Raises:
            TextgradError: As `error`: the file is not of this kind, or of a version that this release cannot read.
        """
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application == self.application and version == self.version:
            return True
        if application == self.application:
            raise self.error(
                f"{path} is a {self.what} of format {version}; this release of textgrad_lg reads format "
                f"{self.version}. It was not changed; use the release that wrote it, or give another path"
            )
        if application or version or connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise self.error(f"{path} is a SQLite file, and not a {self.what} of textgrad_lg; give another path")
        return False

    def create(self, connection: sqlite3.Connection) -> None:
        """Make the tables, inside the caller's transaction."""
        for statement in self.tables:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {self.application}")
        connection.execute(f"PRAGMA user_version = {self.version}")
