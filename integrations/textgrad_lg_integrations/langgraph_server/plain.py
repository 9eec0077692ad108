"""Looking into JSON that came from elsewhere."""

from __future__ import annotations

from typing import Any, cast


def entries(value: object) -> dict[str, Any]:
    """`value` if it is a mapping; else nothing."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """`value` if it is a list; else nothing."""
    return cast("list[Any]", value) if isinstance(value, list) else []
