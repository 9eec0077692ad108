"""What of a graph neither a recording nor an overlay can reach, as far as its code shows it; and what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from textgrad_lg.record.static import walked

if TYPE_CHECKING:
    from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]  a package without py.typed

    from textgrad_lg.record.held import Findings

_CURES = {
    "client": (
        "calls a model through the package `{what}`, past langchain-core: such calls are not recorded and get no new text. "
        "Call the model through a LangChain chat model"
    ),
    "thread": (
        "starts threads of its own (`{what}`): a model call in them is outside the recording and the overlay. Use "
        "asyncio.to_thread or LangChain's ContextThreadPoolExecutor, or run the graph under textgrad_lg.carry_context()"
    ),
}


def unreachable(
    graph: Pregel[Any, Any, Any, Any], visited: Collection[tuple[str, ...]] | None = None
) -> tuple[str, ...]:
    """The places of a graph that cannot be trained, each with its reason and what the user can do.

    Named are nodes whose code refers to a model's raw client, nodes that start threads of their own, and nodes that call
    a model and whose prompt neither the code nor a run has shown. Only what the code refers to is seen: a plain HTTP
    request to a model looks like any other.

    Args:
        graph: The compiled graph; nothing of it is run.
        visited: The paths of the nodes that recorded runs reached; None where there are no runs.
    """
    return out_of_reach(walked(graph), visited)


def out_of_reach(found: Findings, visited: Collection[tuple[str, ...]] | None) -> tuple[str, ...]:
    """The same, of a walk that was made already; see `unreachable`."""
    spots = (f"{_node(at.path)} ({at.where}) {_CURES[at.kind].format(what=at.what)}" for at in found.blind if at.what)
    return tuple(dict.fromkeys((*spots, *_hidden(found, visited))))


def _hidden(found: Findings, visited: Collection[tuple[str, ...]] | None) -> Iterator[str]:
    """The nodes that call a model, with no text in their code, and that no run has shown."""
    shown = {text.path for text in found.texts if not text.shipped}
    for path in dict.fromkeys(at.path for at in found.blind if at.kind == "model"):
        if path in shown or path in (visited or ()):
            continue
        if visited is None:
            yield f"{_node(path)} calls a model, and its code shows no prompt; a run will tell what it sends"
        else:
            yield (
                f"no recorded run reached {_node(path)}, which calls a model, and its code shows no prompt; add an example "
                "that reaches it"
            )


def _node(path: tuple[str, ...]) -> str:
    return f"node `{'/'.join(path)}`"
