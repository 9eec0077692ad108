"""A node that fails at its first two attempts and is tried again."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy


class State(TypedDict, total=False):
    question: str
    draft: str
    answer: str


INPUTS = {"question": "What is the weight of a swallow?"}
PROMPT = "Answer in grams."


def reply(messages):
    return f"{len(messages)} times ten grams: {messages[-1].text}"


def build(model):
    def draft(state: State, runtime: Runtime):
        attempt = runtime.execution_info.node_attempt
        said = model.invoke([SystemMessage(PROMPT), *[HumanMessage(state["question"])] * attempt])
        if attempt < 3:
            raise ConnectionError(f"attempt {attempt} was lost")
        return {"draft": said.text}

    def sign(state: State):
        return {"answer": f"{state['draft']} -- the desk"}

    graph = StateGraph(State)
    graph.add_node("draft", draft, retry_policy=RetryPolicy(max_attempts=3, initial_interval=0, jitter=False))
    graph.add_node(sign)
    graph.add_edge(START, "draft")
    graph.add_edge("draft", "sign")
    graph.add_edge("sign", END)
    return graph.compile()
