"""Described: an optimizer and all its options in a few words, so that a run can tell whether it goes on with the same one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from textgrad_lg.optim.base import Optimizer
    from textgrad_lg.types import JSON

_SIMPLE = (str, int, float, bool, type(None))


def described(optimizer: Optimizer | None) -> str:
    """An optimizer's name, and a hash of all its options; "auto" for none."""
    if optimizer is None:
        return "auto"
    content = json.dumps(plain(optimizer), sort_keys=True)
    return f"{type(optimizer).__name__} with options {hashlib.sha256(content.encode()).hexdigest()[:12]}"


def plain(value: object) -> JSON:
    """A value as JSON: what it is, and what it holds; the same in each process.

    Plain values stand for themselves, functions and classes for their names, and any other object for its class with what
    its attributes hold. Objects that have no attributes to look at stand for their class alone.

    Args:
        value: An Optimizer, or anything that one holds.
    """
    return _plain(value, ())


def _plain(value: Any, within: tuple[int, ...]) -> JSON:  # noqa: PLR0911  one return a case reads best
    if isinstance(value, _SIMPLE):
        return value
    if id(value) in within:
        return "itself"
    inside = (*within, id(value))
    match value:
        case re.Pattern():
            return cast("re.Pattern[str]", value).pattern
        case type() | FunctionType() | BuiltinFunctionType() | MethodType():
            return f"{value.__module__}.{value.__qualname__}"
        case Mapping():
            items = cast("Mapping[object, object]", value).items()
            return {str(key): _plain(item, inside) for key, item in items}
        case Sequence():
            return [_plain(item, inside) for item in cast("Sequence[object]", value)]
        case set() | frozenset():
            return sorted((_plain(item, inside) for item in cast("set[object]", value)), key=repr)
        case _:
            held = {name: _plain(item, inside) for name, item in _held(value)}
            return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **held}


def _held(value: object) -> list[tuple[str, object]]:
    """The attributes of an object by name, those in slots included."""
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    names = [*slots, *getattr(value, "__dict__", {})]
    return [(name, getattr(value, name)) for name in sorted(dict.fromkeys(names)) if hasattr(value, name)]


def _slots(kind: type) -> tuple[str, ...]:
    found = cast("str | Sequence[str]", vars(kind).get("__slots__", ()))
    return tuple(name for name in ((found,) if isinstance(found, str) else found) if not name.startswith("__"))
