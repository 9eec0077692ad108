"""The parsers of the extra `readers`: imported when they are first needed, and an error with a cure where they are not there."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from textgrad_lg.errors import TextgradError


@contextmanager
def needed(what: str) -> Generator[None]:
    """Put around an import of the extra.

    Args:
        what: What it is needed for, as in "reading Parquet".

    Raises:
        TextgradError: It is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise TextgradError(
            f'{what} needs {error.name or "a package"}, which is not installed; run: pip install "textgrad-lg[readers]"'
        ) from error
