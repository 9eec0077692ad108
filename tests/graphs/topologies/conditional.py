"""A router that returns its own words, which a path map turns into nodes; one branch runs."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    question: str
    label: str
    answer: str


INPUTS = {"question": "I want my money back."}
PROMPT = "Say refund or other."


def reply(messages):
    return "refund" if messages[0].text.startswith("Say") else f"We will see to it: {messages[-1].text}"


def build(model):
    def triage(state: State):
        return {"label": model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text}

    def refund(state: State):
        said = model.invoke([SystemMessage("You handle refunds."), HumanMessage(state["question"])])
        return {"answer": said.text}

    def other(state: State):
        return {"answer": "Please call us."}

    def is_refund(state: State):
        return state["label"] == "refund"

    graph = StateGraph(State)
    graph.add_node(triage)
    graph.add_node(refund)
    graph.add_node(other)
    graph.add_edge(START, "triage")
    graph.add_conditional_edges("triage", is_refund, {True: "refund", False: "other"})
    graph.add_edge("refund", END)
    graph.add_edge("other", END)
    return graph.compile()
