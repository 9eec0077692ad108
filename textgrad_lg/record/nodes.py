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
    if isinstance(run.error, GraphInterrupt):
        raised: Any = run.error.args[0] if run.error.args else ()
        attributes["interrupt"] = convert.json([getattr(at, "value", None) for at in raised], "interrupt")
    return attributes


def is_pushed(run: Run) -> bool:
    """Whether a task was handed a value of its own by `Send`."""
    path = run.metadata.get("langgraph_path") or ("",)
    return path[0] == "__pregel_push"


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
