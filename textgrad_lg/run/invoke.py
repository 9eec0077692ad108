"""How a graph that somebody else wrote is run once, whether its nodes are sync, async or both."""

# LangGraph ships no stubs, and leaves type arguments open.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langgraph.pregel import Pregel

from textgrad_lg.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from textgrad_lg.run.schedule import Schedule


def as_graph(graph: object) -> Pregel[Any, Any, Any, Any]:
    """`graph` as a compiled graph.

    Raises:
        GraphError: It is not one.
    """
    if isinstance(graph, Pregel):
        return cast("Pregel[Any, Any, Any, Any]", graph)
    if hasattr(graph, "compile"):
        raise GraphError(f"this is a {type(graph).__name__} that is not compiled yet; pass graph.compile()")
    raise GraphError(
        f"a {type(graph).__name__} is not a LangGraph graph; pass what .compile() or create_agent() returned"
    )


async def invoke(
    graph: Pregel[Any, Any, Any, Any], inputs: Any, config: Mapping[str, Any], thread: str, schedule: Schedule
) -> Any:
    """The graph's output for `inputs`.

    Args:
        graph: The graph.
        inputs: Its input.
        config: What the caller wants each run to be given, in the shape of a `RunnableConfig`; its key "context", if
            any, goes to the graph's runtime context.
        thread: The thread id of this run, set where the graph has a checkpointer, so that runs do not share memory.
        schedule: Where a sync graph finds its thread.
    """
    options = dict(config)
    context = {"context": options.pop("context")} if "context" in options else {}
    if graph.checkpointer:
        options["configurable"] = {**options.get("configurable", {}), "thread_id": thread}
    if any(_async_only(part) for part in _parts(graph)):
        return await graph.ainvoke(inputs, cast("Any", options), **context)
    return await schedule.in_thread(lambda: graph.invoke(inputs, cast("Any", options), **context))


def _parts(graph: Pregel[Any, Any, Any, Any]) -> Iterator[object]:
    """Everything inside the graph that could be sync or async, subgraphs and tools included."""
    todo: list[object] = [node.bound for node in graph.nodes.values()]
    while todo:
        part = todo.pop()
        yield part
        if isinstance(part, Pregel):
            todo.extend(node.bound for node in cast("Pregel[Any, Any, Any, Any]", part).nodes.values())
        todo.extend(getattr(part, "steps", ()))
        todo.extend(getattr(part, "tools_by_name", {}).values())


def _async_only(part: object) -> bool:
    """Whether a function or tool can be awaited and cannot be called."""
    has_async = getattr(part, "afunc", None) is not None or getattr(part, "coroutine", None) is not None
    return has_async and getattr(part, "func", None) is None
