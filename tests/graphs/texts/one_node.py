"""What these graphs share: a state, and a graph of one node."""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    customer: str
    topic: str
    answer: str


def graph_of(node: Any, name: str = "desk", *, state: Any = State, context: Any = None, **options: Any) -> Any:
    """A compiled graph whose one node is `node`."""
    build: Any = StateGraph(state, context_schema=context)
    build.add_node(name, node)
    build.add_edge(START, name)
    build.add_edge(name, END)
    return build.compile(**options)


def to_answer(reply: Any) -> dict[str, str]:
    """A model's reply as what a node writes."""
    return {"answer": reply.text}
