"""A node inside a graph that writes to, and chooses the next node of, the graph around it."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command


class State(TypedDict, total=False):
    question: str
    hint: str
    label: str
    answer: str


INPUTS = {"question": "Where is my parcel?"}
PROMPT = "Which desk is asked?"


def reply(messages):
    return "tracking desk" if messages[0].text.startswith("Which") else f"{messages[0].text} {messages[-1].text}"


def build(model):
    def look(state: State):
        return {"hint": f"asked was: {state['question']}"}

    def decide(state: State):
        label = model.invoke([SystemMessage(PROMPT), HumanMessage(state["hint"])]).text
        return Command(graph=Command.PARENT, update={"label": label}, goto="tracking")

    inner = StateGraph(State)
    inner.add_node(look)
    inner.add_node(decide)
    inner.add_edge(START, "look")
    inner.add_edge("look", "decide")

    def tracking(state: State):
        said = model.invoke([SystemMessage(f"You are the {state['label']}."), HumanMessage(state["question"])])
        return {"answer": said.text}

    graph = StateGraph(State)
    graph.add_node("front", inner.compile(), destinations=("tracking",))
    graph.add_node(tracking)
    graph.add_edge(START, "front")
    graph.add_edge("tracking", END)
    return graph.compile()
