"""A prompt that one node writes into the state and another one sends."""

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    customer: str
    topic: str
    instructions: str
    answer: str


def prepare(state):
    return {"instructions": f"You prepare a visit of {state['customer']} to the shop."}


def build(model):
    def send(state):
        messages = [SystemMessage(state["instructions"]), HumanMessage(state["topic"])]
        return {"answer": model.invoke(messages).text}

    build = StateGraph(State)
    build.add_node("prepare", prepare)
    build.add_node("send", send)
    build.add_edge(START, "prepare")
    build.add_edge("prepare", "send")
    build.add_edge("send", END)
    return build.compile()
