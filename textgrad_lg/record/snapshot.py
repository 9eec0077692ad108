"""What is copied of a state, so that a node that changes it in place does not change what was noted."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langgraph.types import Command
from pydantic import BaseModel

from textgrad_lg.record.notes import PREVIOUS

_PLAIN = frozenset((str, int, float, bool, type(None)))
"""What cannot be changed in place, and is met most."""


def snapshot(value: Any) -> Any:  # noqa: PLR0911  one for each form that a state may have
    """A copy of a state's or update's own fields, and of the lists and dicts directly in them.

    Nodes change their state in place (`state["notes"].append(...)`), so what they were given must be kept apart from
    what they made of it. Anything deeper, and every message, is a reference: copying that would cost more than running
    many a node, and changing it in place is an error in LangGraph as well.
    """
    if isinstance(value, dict):
        fields = dict(cast("dict[Any, Any]", value))
        for key, item in fields.items():
            if type(item) not in _PLAIN:
                fields[key] = _copy(item)
        return fields
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list):
        return [_copy(item) for item in cast("list[Any]", value)]
    if isinstance(value, (BaseMessage, Command)):
        return cast("Any", value)
    if isinstance(value, BaseModel):
        # Not `value.model_copy`, which a user's class may have overridden.
        return BaseModel.model_copy(value, update={key: _copy(item) for key, item in value.__dict__.items()})
    if is_dataclass(value) and not isinstance(value, type):
        # By its name, because its module need not be loaded.
        final = type(value).__qualname__ == "entrypoint.final"
        named = {"value": "", "save": PREVIOUS} if final else {key: key for key in value.__dataclass_fields__}
        # A mapping and not a copy: `__post_init__` and `init=False` stand in the way of copying.
        return {named[key]: _copy(getattr(value, key)) for key in named if hasattr(value, key)}
    return value


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return list(cast("list[Any]", value))
    if isinstance(value, dict):
        return dict(cast("dict[Any, Any]", value))
    return value
