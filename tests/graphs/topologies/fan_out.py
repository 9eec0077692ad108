"""Three experts at once, and one who joins what they said."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    question: str
    views: Annotated[list[str], operator.add]
    answer: str


INPUTS = {"question": "Should the bridge be rebuilt?"}
PROMPT = "You are the law expert."


def reply(messages):
    return f"{messages[0].text.split()[3]} view: {messages[-1].text.splitlines()[0]}"


def build(model):
    def expert(name):
        def node(state: State):
            said = model.invoke([SystemMessage(f"You are the {name} expert."), HumanMessage(state["question"])])
            return {"views": [said.text]}

        return node

    def join(state: State):
        said = model.invoke([SystemMessage("You are the joining expert."), HumanMessage("\n".join(state["views"]))])
        return {"answer": said.text}

    graph = StateGraph(State)
    for name in ("money", "law", "steel"):
        graph.add_node(name, expert(name))
        graph.add_edge(START, name)
    graph.add_node(join)
    graph.add_edge(["money", "law", "steel"], "join")
    graph.add_edge("join", END)
    return graph.compile()
