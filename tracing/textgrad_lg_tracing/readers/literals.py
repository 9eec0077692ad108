"""Arguments of tools, which tracers write as Python prints them; they are read as data, and nothing of them is run."""

from __future__ import annotations

import ast
from typing import cast

from textgrad_lg.types import JSON
from textgrad_lg_tracing.readers.dialects.told import parsed

_LONGEST = 100_000
"""Characters of a printed value that is worth reading."""


def arguments(value: JSON) -> JSON:
    """A tool's arguments, from JSON, from what Python prints for a dict, or as they are."""
    known = parsed(value)
    if not isinstance(known, str) or not known.startswith("{") or len(known) > _LONGEST:
        return cast("JSON", known)
    try:
        found = ast.literal_eval(known)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return known
    return cast("JSON", found) if _is_json(found) else known


def _is_json(value: object) -> bool:
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            entries = cast("dict[object, object]", item)
            if not all(isinstance(key, str) for key in entries):
                return False
            todo += entries.values()
        elif isinstance(item, list):
            todo += cast("list[object]", item)
        elif not isinstance(item, str | int | float | None):
            return False
    return True
