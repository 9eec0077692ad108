"""One graph that a node calls twice: the second time with what the first time gave."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph


class Part(TypedDict, total=False):
    text: str
    short: str


class State(TypedDict, total=False):
    text: str
    answer: str


INPUTS = {"text": "a long tale of ships and storms"}
PROMPT = "Make it shorter."


def reply(messages):
    return f"in short, {messages[-1].text[:-6]}"


def build(model):
    def shorten(state: Part):
        return {"short": model.invoke([SystemMessage(PROMPT), HumanMessage(state["text"])]).text}

    inner = StateGraph(Part)
    inner.add_node(shorten)
    inner.add_edge(START, "shorten")
    inner.add_edge("shorten", END)
    press = inner.compile()

    def outer(state: State):
        once = press.invoke({"text": state["text"]})
        twice = press.invoke({"text": once["short"]})
        return {"answer": twice["short"]}

    def sign(state: State):
        return {"answer": f"{state['answer']}, signed"}

    graph = StateGraph(State)
    graph.add_node(outer)
    graph.add_node(sign)
    graph.add_edge(START, "outer")
    graph.add_edge("outer", "sign")
    graph.add_edge("sign", END)
    return graph.compile()
