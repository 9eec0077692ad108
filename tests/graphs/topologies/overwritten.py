"""A list that two nodes fill and a third replaces: what was there before is gone for those that follow."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Overwrite


class State(TypedDict, total=False):
    question: str
    notes: Annotated[list[str], operator.add]
    answer: str


INPUTS = {"question": "what to pack for the alps"}
PROMPT = "Make a note."


def reply(messages):
    return f"{messages[0].text.split()[-1].strip('.')} on {messages[-1].text}"


def build(model):
    def first(state: State):
        return {"notes": [model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text]}

    def prune(state: State):
        return {"notes": Overwrite(["only boots"])}

    def more(state: State):
        return {"notes": ["and a rope"]}

    def answer(state: State):
        said = model.invoke([SystemMessage("Write the list."), HumanMessage(", ".join(state["notes"]))])
        return {"answer": said.text}

    graph = StateGraph(State)
    for before, node in ((START, first), ("first", prune), ("prune", more), ("more", answer)):
        graph.add_node(node)
        graph.add_edge(before, node.__name__)
    graph.add_edge("answer", END)
    return graph.compile()
