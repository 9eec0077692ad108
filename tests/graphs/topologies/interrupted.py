"""A draft that a person has to approve: the run stops, and a second run resumes it."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt


class State(TypedDict, total=False):
    question: str
    draft: str
    remark: str
    answer: str


INPUTS = {"question": "a letter to the mayor"}
RESUME = Command(resume="make it kinder")
PROMPT = "Write a draft."


def reply(messages):
    return f"{messages[0].text.split()[-1].strip('.')}: {messages[-1].text}"


def build(model, checkpointer):
    def write(state: State):
        return {"draft": model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text}

    def ask(state: State):
        return {"remark": interrupt({"approve": state["draft"]})}

    def finish(state: State):
        said = model.invoke([SystemMessage("Write the letter."), HumanMessage(f"{state['draft']}; {state['remark']}")])
        return {"answer": said.text}

    graph = StateGraph(State)
    graph.add_node(write)
    graph.add_node(ask)
    graph.add_node(finish)
    graph.add_edge(START, "write")
    graph.add_edge("write", "ask")
    graph.add_edge("ask", "finish")
    graph.add_edge("finish", END)
    return graph.compile(checkpointer=checkpointer)
