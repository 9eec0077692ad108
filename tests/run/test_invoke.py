from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime

from textgrad_lg.errors import GraphError
from textgrad_lg.run.invoke import as_graph, invoke
from textgrad_lg.run.schedule import Schedule
from textgrad_lg.testing import ScriptedChatModel


class State(TypedDict, total=False):
    x: int
    seen: str


def compiled(node, **options):
    context: Any = dict if options.pop("context", False) else None
    graph: Any = StateGraph(State, context_schema=context)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    return graph.compile(**options)


async def run(graph, config=None, thread="t1"):
    with Schedule(2) as schedule:
        return await invoke(graph, {"x": 1}, config or {}, thread, schedule)


async def test_sync_and_async_graphs_run():
    async def only_async(state: State):
        return {"seen": "async"}

    assert (await run(compiled(lambda state: {"seen": "sync"})))["seen"] == "sync"
    assert (await run(compiled(only_async)))["seen"] == "async"


async def test_async_inside_a_subgraph_and_in_a_tool_is_found():
    async def only_async(state: State):
        return {"seen": "inner"}

    outer = StateGraph(State)
    outer.add_node("sub", compiled(only_async))
    outer.add_edge(START, "sub")
    assert (await run(outer.compile()))["seen"] == "inner"

    async def look(query: str) -> str:
        """Look something up."""
        return f"found {query}"

    model = ScriptedChatModel(replies=[{"query": "cats"}, "done"])
    agent = create_agent(model, tools=[StructuredTool.from_function(coroutine=look)])
    with Schedule(1) as schedule:
        out = await invoke(agent, {"messages": [("human", "go")]}, {}, "t", schedule)
    assert [message.text for message in out["messages"]] == ["go", "", "found cats", "done"]


async def test_each_run_has_its_own_thread_where_there_is_a_checkpointer():
    def node(state: State, config: RunnableConfig):
        return {"seen": f"{config['configurable']['thread_id']}/{config['configurable']['tenant']}"}

    graph = compiled(node, checkpointer=InMemorySaver())
    assert (await run(graph, {"configurable": {"tenant": "a"}}, "t1"))["seen"] == "t1/a"
    assert (await run(graph, {"configurable": {"tenant": "a"}}, "t2"))["seen"] == "t2/a"


async def test_the_runtime_context_reaches_the_graph():
    def node(state: State, runtime: Runtime):
        return {"seen": runtime.context["tenant"]}

    assert (await run(compiled(node, context=True), {"context": {"tenant": "b"}}))["seen"] == "b"


def test_what_is_no_compiled_graph_is_refused_with_the_cure():
    with pytest.raises(GraphError, match=r"not compiled yet; pass graph.compile\(\)"):
        as_graph(StateGraph(State))
    with pytest.raises(GraphError, match="a str is not a LangGraph graph"):
        as_graph("graph")
