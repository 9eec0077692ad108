"""A model that calls two tools at once: through `create_agent`, which sends each call to a task of its own, and through `ToolNode`."""

from __future__ import annotations

from typing import Annotated, Any

from langchain.agents import create_agent
from langchain_core.messages import SystemMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


@tool
def price(item: Annotated[str, "The item's name."]) -> str:
    """The price of an item."""
    return f"{item} costs {len(item)} coins"


@tool
def stock(item: Annotated[str, "The item's name."]) -> str:
    """How many of an item are there."""
    return f"{len(item) + 1} of {item} are left"


def agent(model: Any) -> Any:
    return create_agent(model, [price, stock], system_prompt="You serve in a shop.", name="clerk")


def tool_node(model: Any) -> Any:
    bound = model.bind_tools([price, stock])

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [bound.invoke([SystemMessage("You serve in a shop."), *state["messages"]])]}

    build: Any = StateGraph(MessagesState)
    build.add_node("ask", ask)
    build.add_node("tools", ToolNode([price, stock]))
    build.add_edge(START, "ask")
    build.add_conditional_edges("ask", tools_condition)
    build.add_edge("tools", "ask")
    return build.compile()
