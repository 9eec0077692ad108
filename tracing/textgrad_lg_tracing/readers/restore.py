"""What the tasks of a graph wrote, where the producer wrote it badly: told by what came after them.

LangSmith puts what is no mapping under a key of its own; OpenInference writes a state of one text without the channel's
name; others write a `Command` as Python prints it. What a later step read says what was meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import BaseMessage

from textgrad_lg.record.nodes import is_pushed
from textgrad_lg.record.order import step_of
from textgrad_lg_tracing.readers.dialects.told import ABSENT
from textgrad_lg_tracing.readers.revive import is_lost

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textgrad_lg_tracing.readers.runs import Node

_WRAPPERS = {"inputs": "input", "outputs": "output"}


def restore(graph: Node) -> list[str]:
    """Restore the inputs and outputs of a graph's tasks; returns what had to be guessed or could not be, in words."""
    tasks = [child for child in graph.children if child.is_task]
    every = [graph, *tasks]
    if graph.told.wrapped:
        _unwrap(every)
    said = _name_channels(every) if graph.told.unwrapped else []
    return [*said, *_find_writes(graph, tasks)]


def _unwrap(every: Sequence[Node]) -> None:
    """Take states from under the key of the producer's own."""
    channels = {key for node in every for value in (node.run.inputs, node.run.outputs) for key in _state(value)}
    for node in every:
        for side, wrapper in _WRAPPERS.items():
            value = _state(getattr(node.run, side))
            # A channel may have the wrapper's name; then it stands beside others somewhere.
            if list(value) == [wrapper] and not _beside(wrapper, channels, every):
                setattr(node.run, side, value[wrapper])


def _beside(wrapper: str, channels: set[str], every: Sequence[Node]) -> bool:
    states = (_state(value) for node in every for value in (node.run.inputs, node.run.outputs))
    return wrapper in channels and any(wrapper in state and len(state) > 1 for state in states)


def _name_channels(every: Sequence[Node]) -> list[str]:
    """Give a state of one text the name of its channel, if there is one that holds the text elsewhere."""
    said: list[str] = []
    names: dict[str, dict[str, None]] = {}
    for node in every:
        for value in (node.run.inputs, node.run.outputs):
            for key, item in _state(value).items():
                if isinstance(item, str):
                    names.setdefault(item, {})[key] = None
    for node in every:
        for side in _WRAPPERS:
            text = getattr(node.run, side)
            if not isinstance(text, str):
                continue
            own = _state(node.run.inputs) if side == "outputs" else {}
            found = names.get(text, {})
            # What it was given already it did not write; unless that is all there is.
            likely = [key for key in found if own.get(key) != text] or list(found)
            if len(likely) == 1:
                setattr(node.run, side, {likely[0]: text})
            else:
                what = "what it wrote" if side == "outputs" else "the state that it was given"
                said.append(f"`{node.run.name}`: {what} is a text whose channel is not in the spans")
    return said


def _find_writes(graph: Node, tasks: Sequence[Node]) -> list[str]:
    """Find what tasks wrote whose outputs were printed, in the state after them."""
    said: list[str] = []
    steps: dict[int, list[Node]] = {}
    for task in tasks:
        steps.setdefault(_step(task), []).append(task)
    for number, step in steps.items():
        for task in step:
            if task.told.outputs is ABSENT or not is_lost(task.run.outputs):
                continue
            task.run.outputs = None
            after = _after(graph, tasks, number)
            if len(step) > 1 or after is None:
                said.append(f"what `{task.run.name}` wrote is not in its span in a form that can be read")
            else:
                task.run.outputs = _added(task.run.inputs, after)
                said.append(f"what `{task.run.name}` wrote was told from the state after it")
    return said


def _state(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _after(graph: Node, tasks: Iterable[Node], number: int) -> dict[str, Any] | None:
    """The state after a step: what the tasks of the next step read, or the graph's output."""
    later = [task for task in tasks if _step(task) > number and not is_pushed(task.run)]
    following = min(map(_step, later), default=0)
    found: dict[str, Any] = {}
    for task in later:
        if _step(task) == following:
            found |= _state(task.run.inputs)
    return found or _state(graph.run.outputs) or None


def _added(before: Any, after: dict[str, Any]) -> dict[str, Any]:
    """What of a state is new, compared with the one before; of a list what was not in it."""
    known = _state(before)
    found: dict[str, Any] = {}
    for key, value in after.items():
        if key in known and known[key] == value:
            continue
        if isinstance(value, list):
            old = cast("list[Any]", known[key]) if isinstance(known.get(key), list) else []
            items = [item for item in cast("list[Any]", value) if not any(_same(item, at) for at in old)]
            if items:
                found[key] = items
        else:
            found[key] = value
    return found


def _same(item: Any, other: Any) -> bool:
    if isinstance(item, BaseMessage) and isinstance(other, BaseMessage) and item.id:
        return item.id == other.id
    return bool(item == other)


def _step(task: Node) -> int:
    return step_of(task.run)
