"""A list split up, one task for each item by `Send`, and the results put together."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send


class State(TypedDict, total=False):
    text: str
    parts: list[str]
    sums: Annotated[list[str], operator.add]
    answer: str


class Part(TypedDict):
    part: str


INPUTS = {"text": "tides and moons / winds and waves / sand and stone"}
PROMPT = "Sum up the part."


def reply(messages):
    return f"sum of {messages[-1].text}"


def build(model):
    def split(state: State):
        return {"parts": state["text"].split(" / ")}

    def work(state: Part):
        return {"sums": [model.invoke([SystemMessage(PROMPT), HumanMessage(state["part"])]).text]}

    def join(state: State):
        return {"answer": "; ".join(state["sums"])}

    def deal(state: State):
        return [Send("work", {"part": part}) for part in state["parts"]]

    graph = StateGraph(State)
    graph.add_node(split)
    graph.add_node(work)
    graph.add_node(join)
    graph.add_edge(START, "split")
    graph.add_conditional_edges("split", deal, ["work"])
    graph.add_edge("work", "join")
    graph.add_edge("join", END)
    return graph.compile()
