"""Two branches of different length, and a node that waits until both have ended."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    question: str
    outline: str
    parts: Annotated[list[str], operator.add]
    answer: str


INPUTS = {"question": "the history of the loom"}
PROMPT = "Give an outline."


def reply(messages):
    return f"{messages[0].text.split()[-1].strip('.')} of {messages[-1].text}"


def build(model):
    def quick(state: State):
        return {"parts": [model.invoke([SystemMessage("Give a summary."), HumanMessage(state["question"])]).text]}

    def outline(state: State):
        return {"outline": model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text}

    def fill(state: State):
        return {"parts": [f"filled in: {state['outline']}"]}

    def join(state: State):
        return {"answer": "; ".join(state["parts"])}

    graph = StateGraph(State)
    graph.add_node(quick)
    graph.add_node(outline)
    graph.add_node(fill)
    graph.add_node("join", join, defer=True)
    graph.add_edge(START, "quick")
    graph.add_edge(START, "outline")
    graph.add_edge("outline", "fill")
    graph.add_edge("quick", "join")
    graph.add_edge("fill", "join")
    graph.add_edge("join", END)
    return graph.compile()
