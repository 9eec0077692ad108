"""A node that returns a list of Commands: two writes, and two nodes to go to at once."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command


class State(TypedDict, total=False):
    question: str
    tone: str
    notes: Annotated[list[str], operator.add]
    answer: str


INPUTS = {"question": "a poem for the harbour"}
PROMPT = "Pick a tone."


def reply(messages):
    return "solemn" if messages[0].text.startswith("Pick") else f"{messages[0].text} {messages[-1].text}"


def build(model):
    def plan(state: State):
        tone = model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text
        return [
            Command(update={"tone": tone, "notes": ["a first note"]}, goto="rhyme"),
            Command(update={"notes": ["a second note"]}, goto="metre"),
        ]

    def rhyme(state: State):
        said = model.invoke([SystemMessage(f"Rhyme, {state['tone']}."), HumanMessage(state["question"])])
        return {"notes": [said.text]}

    def metre(state: State):
        return {"notes": [f"metre after {state['notes'][1]}"]}

    def join(state: State):
        return {"answer": " | ".join(state["notes"])}

    graph = StateGraph(State)
    graph.add_node("plan", plan, destinations=("rhyme", "metre"))
    graph.add_node(rhyme)
    graph.add_node(metre)
    graph.add_node(join)
    graph.add_edge(START, "plan")
    graph.add_edge(["rhyme", "metre"], "join")
    graph.add_edge("join", END)
    return graph.compile()
