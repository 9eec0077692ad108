"""A graph as a node that hands back what it was given: what its model said stays inside and is not used."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    question: str
    answer: str


class Inner(TypedDict, total=False):
    question: str
    verdict: str


INPUTS = {"question": "Where does the tram stop?"}
PROMPT = "Is the question polite?"


def reply(messages):
    return "it is" if "polite" in messages[0].text else f"By the bridge, as to: {messages[-1].text}"


def build(model):
    def judge(state: Inner):
        return {"verdict": model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text}

    inner = StateGraph(Inner)
    inner.add_node(judge)
    inner.add_edge(START, "judge")
    inner.add_edge("judge", END)

    def answer(state: State):
        return {"answer": model.invoke([SystemMessage("Answer."), HumanMessage(state["question"])]).text}

    graph = StateGraph(State)
    graph.add_node("check", inner.compile())
    graph.add_node(answer)
    graph.add_edge(START, "check")
    graph.add_edge("check", "answer")
    graph.add_edge("answer", END)
    return graph.compile()
