"""A `Command` whose goto is a list of Sends."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send


class State(TypedDict, total=False):
    topic: str
    count: int
    facts: Annotated[list[str], operator.add]
    answer: str


class Item(TypedDict):
    item: str


INPUTS = {"topic": "rivers"}
PROMPT = "List two things about the topic, parted by a comma."


def reply(messages):
    return "deep bends, wide mouths" if messages[0].text.startswith("List") else f"a fact on {messages[-1].text}"


def build(model):
    def plan(state: State):
        items = model.invoke([SystemMessage(PROMPT), HumanMessage(state["topic"])]).text.split(", ")
        return Command(update={"count": len(items)}, goto=[Send("dig", {"item": item}) for item in items])

    def dig(state: Item):
        return {"facts": [model.invoke([SystemMessage("Find a fact."), HumanMessage(state["item"])]).text]}

    def join(state: State):
        return {"answer": f"{state['count']} facts: " + ", ".join(state["facts"])}

    graph = StateGraph(State)
    graph.add_node("plan", plan, destinations=("dig",))
    graph.add_node(dig)
    graph.add_node(join)
    graph.add_edge(START, "plan")
    graph.add_edge("dig", "join")
    graph.add_edge("join", END)
    return graph.compile()
