"""A graph as a node of a graph as a node of a graph; each hands its whole state back."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    question: str
    plan: str
    draft: str
    answer: str


INPUTS = {"question": "How do I plant a pear tree?"}
PROMPT = "Make a plan."


def reply(messages):
    return f"{messages[0].text.split()[-1].strip('.')} for: {messages[-1].text}"


def _graph(*nodes):
    graph = StateGraph(State)
    before = START
    for name, node in nodes:
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    graph.add_edge(before, END)
    return graph.compile()


def build(model):
    def plan(state: State):
        return {"plan": model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text}

    def draft(state: State):
        return {"draft": model.invoke([SystemMessage("Write a draft."), HumanMessage(state["plan"])]).text}

    def polish(state: State):
        return {"answer": model.invoke([SystemMessage("Write the answer."), HumanMessage(state["draft"])]).text}

    desk = _graph(("plan", plan), ("draft", draft))
    house = _graph(("desk", desk), ("polish", polish))
    return _graph(("house", house), ("sign", lambda state: {"answer": state["answer"] + " (signed)"}))
