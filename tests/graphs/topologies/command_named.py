"""A handoff from two graphs down that names the node it is for, and so passes the graph between over.

A Command that a node returns can only name its own graph or the parent; one that is raised may name any node around it.
"""

from __future__ import annotations

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.errors import ParentCommand
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command


class State(TypedDict, total=False):
    question: str
    label: str
    answer: str


INPUTS = {"question": "Is the museum open on Monday?"}
PROMPT = "Name the department."


def reply(messages):
    return "opening hours" if messages[0].text.startswith("Name") else f"{messages[0].text} {messages[-1].text}"


def build(model):
    def decide(state: State):
        label = model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text
        raise ParentCommand(Command(graph="front", update={"label": label}, goto="hours"))

    innermost = StateGraph(State)
    innermost.add_node(decide)
    innermost.add_edge(START, "decide")

    middle = StateGraph(State)
    middle.add_node("find", innermost.compile())
    middle.add_node("never", lambda state: {"answer": "not reached"})
    middle.add_edge(START, "find")
    middle.add_edge("find", "never")

    def hours(state: State):
        said = model.invoke([SystemMessage(f"You know the {state['label']}."), HumanMessage(state["question"])])
        return {"answer": said.text}

    graph = StateGraph(State)
    graph.add_node("front", middle.compile(), destinations=("hours",))
    graph.add_node(hours)
    graph.add_edge(START, "front")
    graph.add_edge("hours", END)
    return graph.compile()
