"""A node that writes and chooses the next node in one: `Command(goto=...)`."""

from __future__ import annotations

from typing import Literal, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command


class State(TypedDict, total=False):
    question: str
    label: str
    answer: str


INPUTS = {"question": "The lamp does not burn."}
PROMPT = "Which desk: repair or sales?"


def reply(messages):
    return "repair" if messages[0].text.startswith("Which") else f"On its way: {messages[-1].text}"


def build(model):
    def triage(state: State) -> Command[Literal["repair", "sales"]]:
        label = model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text
        return Command(update={"label": label}, goto="repair" if label == "repair" else "sales")

    def repair(state: State):
        return {"answer": model.invoke([SystemMessage("You repair."), HumanMessage(state["question"])]).text}

    def sales(state: State):
        return {"answer": "A new lamp is 20 crowns."}

    graph = StateGraph(State)
    graph.add_node(triage)
    graph.add_node(repair)
    graph.add_node(sales)
    graph.add_edge(START, "triage")
    graph.add_edge("repair", END)
    graph.add_edge("sales", END)
    return graph.compile()
