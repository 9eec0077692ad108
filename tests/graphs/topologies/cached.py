"""A node whose results are cached: in the second run it does not run, and what it once wrote is written again."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.cache.memory import InMemoryCache
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy


class Question(TypedDict):
    question: str


class State(TypedDict, total=False):
    question: str
    user: str
    facts: str
    log: Annotated[list[str], operator.add]
    answer: str


INPUTS = {"question": "How high is the tower?", "user": "Ada"}
AGAIN = {"question": "How high is the tower?", "user": "Bob"}
PROMPT = "Collect the facts."


def reply(messages):
    return f"{messages[0].text.split()[-1].strip('.')} on {messages[-1].text}"


def build(model):
    def greet(state: State):
        return {"log": [f"greeted {state['user']}"]}

    def collect(state: Question):
        said = model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])])
        return {"facts": said.text, "log": ["collected the facts"]}

    def answer(state: State):
        asked = f"{state['facts']} for {state['user']}"
        return {"answer": model.invoke([SystemMessage("Write the answer."), HumanMessage(asked)]).text}

    graph = StateGraph(State)
    graph.add_node(greet)
    graph.add_node("collect", collect, cache_policy=CachePolicy())
    graph.add_node(answer)
    graph.add_edge(START, "greet")
    graph.add_edge("greet", "collect")
    graph.add_edge("collect", "answer")
    graph.add_edge("answer", END)
    return graph.compile(cache=InMemoryCache())
