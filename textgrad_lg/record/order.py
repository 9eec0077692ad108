"""The order of runs that belong to one parent, the same whatever the timing.

Callbacks arrive in the order in which threads and tasks happened to run. Spans are numbered in an order that does not
know about that: tasks of a graph by step and by LangGraph's own order of tasks (the one in which it applies their
writes); runs inside a node as its code started them, and where the code forked, by what each branch was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.record.notes import Reply
from textgrad_lg.record.values import Converter, canonical
from textgrad_lg.types import JSON
from textgrad_lg.variable import leaf_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgrad_lg.record.runs import Lane, Run

_SHORTEST = 3


def tasks(runs: Sequence[Run]) -> list[list[list[Run]]]:
    """The tasks of one graph: a list for each step, in it a list for each task, in it the task's attempts.

    A retry is a further run in the namespace of the first.
    """
    attempts: dict[str, list[Run]] = {}
    for run in runs:
        attempts.setdefault(run.namespace, []).append(run)
    steps: dict[int, list[list[Run]]] = {}
    for task in attempts.values():
        steps.setdefault(step_of(task[0]), []).append(task)
    return [sorted(steps[step], key=lambda task: task_key(task[0])) for step in sorted(steps)]


def step_of(run: Run) -> int:
    """LangGraph's number of the step that a task ran in."""
    step = run.metadata.get("langgraph_step")
    return step if isinstance(step, int) else 0


def task_key(run: Run) -> str:
    """A text by which tasks of one step sort as LangGraph sorts them; its path, numbers padded, task ids left out."""
    return _path_text(run.metadata.get("langgraph_path") or ("", run.name))


def arranged(runs: Sequence[Run], main: Lane, convert: Converter) -> list[Run]:
    """The runs that a node, tool or chain started, in an order that does not depend on timing.

    Args:
        runs: In order of arrival.
        main: The lane of the parent itself.
        convert: Makes JSON of what the runs were given.
    """
    lanes: dict[Lane, list[Run]] = {}
    for run in runs:
        lanes.setdefault(run.lane, []).append(run)
    if len(lanes) <= 1:
        return list(runs)
    forks: dict[Lane, dict[int, list[Lane]]] = {}
    for lane in lanes:
        if lane.base is not None:
            forks.setdefault(lane.base, {}).setdefault(lane.at, []).append(lane)
    ordered: list[Run] = []
    # A stack of what is still to come, so that a fork of a fork of a fork needs no recursion.
    todo: list[Run | tuple[Lane, int]] = [(main, 0)]
    while todo:
        item = todo.pop()
        if not isinstance(item, tuple):
            ordered.append(item)
            continue
        lane, at = item
        own = lanes.get(lane, [])
        if at < len(own) or any(place >= at for place in forks.get(lane, {})):
            todo.append((lane, at + 1))
        if at < len(own):
            todo.append(own[at])
        todo.extend((fork, 0) for fork in reversed(_forked(forks.get(lane, {}).get(at, []), lanes, convert)))
    return ordered


def _forked(found: list[Lane], lanes: dict[Lane, list[Run]], convert: Converter) -> list[Lane]:
    """Lanes that forked at one point: by what they were given, except that what used another's result comes after it."""
    if len(found) <= 1:
        return found
    waves: list[list[Lane]] = [[]]
    results: list[tuple[float, str]] = []
    for lane in found:
        first = lanes[lane][0]
        given = _given(first, convert)
        if any(end <= first.start and text in given for end, text in results):
            waves.append([])
            results = []
        waves[-1].append(lane)
        results += [(run.end, text) for run in lanes[lane] if run.end is not None for text in _made(run, convert)]
    return [
        lane for wave in waves for lane in sorted(wave, key=lambda at: [_content(run, convert) for run in lanes[at]])
    ]


def _content(run: Run, convert: Converter) -> tuple[str, str, str, str, str]:
    made = canonical(_without_ids(convert.json(run.outputs, run.name))) if run.kind != "llm" else ""
    made = made or "\n".join(_made(run, convert))
    where = task_key(run) if run.is_node else ""
    return where, run.kind, run.name, _given(run, convert), made


def _given(run: Run, convert: Converter) -> str:
    return "\n".join(leaf_texts(_without_ids(convert.json(run.inputs, run.name))))


def _made(run: Run, convert: Converter) -> list[str]:
    value = reply_of(run) if run.kind == "llm" else run.outputs
    return [text for text in leaf_texts(_without_ids(convert.json(value, run.name))) if len(text) >= _SHORTEST]


def reply_of(run: Run) -> Any:
    """The message, or for the older models the text, that a model call gave; None where it gave nothing."""
    return run.outputs.message if isinstance(run.outputs, Reply) else None


def _without_ids(value: JSON) -> JSON:
    """The value without what is drawn at random for each run: ids, and the roles and types that all messages share."""
    if isinstance(value, dict):
        dropped = ("id", "tool_call_id", "role") if "content" in value else ("id",)
        return {key: _without_ids(item) for key, item in value.items() if key not in dropped}
    if isinstance(value, list):
        return [_without_ids(item) for item in value]
    return value


def _path_text(path: Any) -> str:
    if isinstance(path, (tuple, list)):
        return "~" + ", ".join(_path_text(part) for part in cast("tuple[Any, ...]", path))
    return f"{path:010d}" if type(path) is int else str(path)
