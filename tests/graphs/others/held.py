"""Every text that a graph's objects hold, read without this library: the proof that nothing of them was changed."""

from __future__ import annotations

import types
from collections import deque
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

_METHODS = ("generate", "agenerate", "stream", "astream", "_chat_model_stream_v3", "_achat_model_stream_v3")
_SKIPPED = (types.ModuleType, type, bytes, int, float, complex, type(None), BaseMessage)


def texts_held(graph: Any, model: Any) -> dict[str, tuple[int, str]]:
    """The texts reachable from a graph by attribute, item and closure: path to identity and text.

    The model is left out: the test double notes what it is sent.
    """
    found: dict[str, tuple[int, str]] = {}
    seen = {id(model)}
    todo = deque([("graph", graph)])
    kept = [graph]
    while todo:
        path, item = todo.popleft()
        if isinstance(item, str):
            found[path] = (id(item), item)
            continue
        if isinstance(item, BaseMessage):
            found[path] = (id(item), repr(item.content))
            continue
        if isinstance(item, _SKIPPED) or id(item) in seen or path.count(".") > 12:
            continue
        seen.add(id(item))
        kept.append(item)
        todo.extend((f"{path}.{name}", part) for name, part in _parts(item))
    return found


def patches() -> dict[str, Any]:
    """The methods that an overlay wraps, as they are now."""
    return {name: BaseChatModel.__dict__.get(name) for name in _METHODS}


def _parts(item: Any) -> list[tuple[str, Any]]:
    if isinstance(item, dict):
        return [(repr(key), part) for key, part in item.items()]
    if isinstance(item, (list, tuple, set, frozenset, deque)):
        return [(str(at), part) for at, part in enumerate(item)]
    parts = list(vars(item).items()) if hasattr(item, "__dict__") else []
    parts += [
        (name, getattr(item, name, None)) for name in getattr(type(item), "__slots__", ()) if isinstance(name, str)
    ]
    if isinstance(item, types.FunctionType):
        parts += [(f"cell{at}", _content(cell)) for at, cell in enumerate(item.__closure__ or ())]
        parts += [("defaults", item.__defaults__), ("code", item.__code__.co_consts), ("doc", item.__doc__)]
        parts += [(f"global {name}", item.__globals__.get(name)) for name in item.__code__.co_names]
    if isinstance(item, types.MethodType):
        parts += [("function", item.__func__), ("self", item.__self__)]
    return parts


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
