"""A writer and a critic, until the critic is content."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    topic: str
    draft: str
    verdict: str
    notes: Annotated[list[str], operator.add]
    rounds: int


INPUTS = {"topic": "the tides of the northern sea", "rounds": 0}
PROMPT = "Write one line on the topic, and mind the notes."


def reply(messages):
    if messages[0].text.startswith("Judge"):
        return "approved" if "round three" in messages[-1].text else f"{messages[-1].text[:9]} is too short"
    return (
        f"round {('one', 'two', 'three')[messages[-1].text.count('too short')]} on {messages[-1].text.splitlines()[0]}"
    )


def build(model):
    def write(state: State):
        asked = "\n".join([state["topic"], *state["notes"]])
        said = model.invoke([SystemMessage(PROMPT), HumanMessage(asked)])
        return {"draft": said.text, "rounds": state["rounds"] + 1}

    def judge(state: State):
        said = model.invoke([SystemMessage("Judge the draft."), HumanMessage(state["draft"])]).text
        return {"verdict": said, "notes": [] if said == "approved" else [said]}

    def again(state: State):
        return END if state["verdict"] == "approved" else "write"

    graph = StateGraph(State)
    graph.add_node(write)
    graph.add_node(judge)
    graph.add_edge(START, "write")
    graph.add_edge("write", "judge")
    graph.add_conditional_edges("judge", again, ["write", END])
    return graph.compile()
