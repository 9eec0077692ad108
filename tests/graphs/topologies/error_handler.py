"""A node that fails, and the error handler that stands in for it and says where to go on."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.errors import NodeError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command


class State(TypedDict, total=False):
    question: str
    query: str
    found: str
    answer: str


INPUTS = {"question": "Who built the lighthouse?"}
PROMPT = "Turn the question into a query."


def reply(messages):
    return f"{messages[0].text.split()[0].lower()}ed: {messages[-1].text}"


def build(model):
    def plan(state: State):
        return {"query": model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text}

    def search(state: State):
        raise LookupError(f"no index for {state['query']}")

    def guess(state: State, error: NodeError) -> Command[Literal["sign"]]:
        asked = f"{state['query']} ({error.error})"
        said = model.invoke([SystemMessage("Guess instead."), HumanMessage(asked)])
        return Command(update={"found": said.text}, goto="sign")

    def sign(state: State):
        return {"answer": f"{state['found']}, we think"}

    graph = StateGraph(State)
    graph.add_node(plan)
    handler: Any = guess  # the types of add_node know no handler that asks for the error
    graph.add_node("search", search, error_handler=handler)
    graph.add_node(sign)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "search")
    graph.add_edge("search", "sign")
    graph.add_edge("sign", END)
    return graph.compile()
