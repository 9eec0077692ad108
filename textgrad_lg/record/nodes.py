"""What one task of a graph is, did and wrote, as LangGraph tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from langgraph.errors import GraphInterrupt

from textgrad_lg.record.order import step_of
from textgrad_lg.record.values import Converter, overwrites, same
from textgrad_lg.site import call_path
from textgrad_lg.types import JSON

if TYPE_CHECKING:
    from textgrad_lg.record.lineage import Scope
    from textgrad_lg.record.runs import Run


_HANDLER = "node_error_handler"


def quoted(name: str) -> str:
    """A field's name, for the role of a Variable."""
    return f"`{name}`" if name else "value"


def node_name(run: Run) -> str:
    """The name of the node or `@task` that a task ran."""
    return str(run.metadata.get("langgraph_node") or run.name)


def node_attributes(run: Run, convert: Converter) -> dict[str, JSON]:
    """What LangGraph says about a task: its namespace, step and triggers, and what it was interrupted with."""
    triggers = run.metadata.get("langgraph_triggers") or ()
    attributes: dict[str, JSON] = {
        "task": run.namespace,
        "step": step_of(run),
        "triggers": [str(trigger) for trigger in cast("Sequence[Any]", triggers)],
    }
    asked = interrupted_with(run)
    if asked is not None:
        attributes["interrupt"] = convert.json(asked, "interrupt")
    return attributes


def is_pushed(run: Run) -> bool:
    """Whether a task was handed a value of its own by `Send`."""
    return task_path(run)[0] == "__pregel_push"


def task_path(run: Run) -> tuple[object, ...]:
    """LangGraph's path of a task, as `("__pregel_pull", "plan")`."""
    return tuple(cast("Sequence[object]", run.metadata.get("langgraph_path") or ("",)))


def stands_for(run: Run) -> tuple[object, ...] | None:
    """The path of the failed task that a task is the error handler of; None for every other task."""
    path = task_path(run)
    return path[: path.index(_HANDLER)] if _HANDLER in path else None


def interrupted_with(run: Run) -> list[Any] | None:
    """What a node interrupted its run with, for a person to answer; None where it did not."""
    if not isinstance(run.error, GraphInterrupt):
        return None
    raised: Any = run.error.args[0] if run.error.args else ()
    return [getattr(at, "value", None) for at in raised]


def leaves(run: Run) -> bool:
    """Whether what a node raised is meant for a graph around its own."""
    if run.handoff is None:
        return False
    path, _ = call_path(run.metadata)
    return run.handoff.graph not in (run.namespace, "|".join(path), node_name(run), None)


def echoes(run: Run, values: dict[str, list[Any]], scope: Scope) -> bool:
    """Whether a node returned its whole state, so that what is unchanged in it is no write of its own.

    A node that is a subgraph always does. A function may, as in `return {**state, "label": label}`.
    """
    if _is_subgraph(run):
        return True
    return len(scope.values) > 1 and scope.values.keys() <= values.keys()


def _is_subgraph(run: Run) -> bool:
    graphs = [child for child in run.children if any(at.is_node for at in child.children)]
    outputs: Any = run.outputs
    return len(graphs) == 1 and isinstance(outputs, dict) and same(graphs[0].outputs, outputs)


def joined(parts: list[Any]) -> Any:
    """Several writes of one node to one channel as one: lists end to end, of anything else the last."""
    values = [overwrites(part)[1] for part in parts]
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return values[-1]
