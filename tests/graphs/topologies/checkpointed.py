"""A talk that a checkpointer keeps: the second run on a thread goes on where the first ended."""

from __future__ import annotations

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, MessagesState, StateGraph


class State(MessagesState):
    mood: str


INPUTS = {"messages": [HumanMessage("I lost my keys.", id="first")]}
AGAIN = {"messages": [HumanMessage("And now my hat.", id="second")]}
PROMPT = "Console the user."


def reply(messages):
    if messages[0].text.startswith("Name"):
        return f"mood after {len(messages)} lines"
    return f"There, there, for the {len(messages) // 2}. time: {messages[-1].text}"


def build(model, checkpointer):
    def feel(state: State):
        return {"mood": model.invoke([SystemMessage("Name the mood."), *state["messages"]]).text}

    def talk(state: State):
        return {"messages": [model.invoke([SystemMessage(PROMPT), *state["messages"]])]}

    graph = StateGraph(State)
    graph.add_node(feel)
    graph.add_node(talk)
    graph.add_edge(START, "feel")
    graph.add_edge("feel", "talk")
    graph.add_edge("talk", END)
    return graph.compile(checkpointer=checkpointer)
