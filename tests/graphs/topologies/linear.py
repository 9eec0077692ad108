"""Three nodes, one after the other. The second reads nothing of the first's but its label."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    question: str
    label: str
    draft: str
    answer: str


INPUTS = {"question": "Why was my card charged twice?"}
PROMPT = "Classify the question in one word."


def reply(messages):
    if messages[0].text.startswith("Classify"):
        return "BILLING"
    return f"Dear customer, about {messages[0].text.split()[-1]}: {messages[-1].text}"


def build(model):
    def classify(state: State):
        said = model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])])
        return {"label": said.text.lower()}

    def draft(state: State):
        said = model.invoke([SystemMessage(f"Draft an answer about {state['label']}"), HumanMessage(state["question"])])
        return {"draft": said.text}

    def sign(state: State):
        return {"answer": f"{state['draft']}\nThe desk"}

    graph = StateGraph(State)
    graph.add_node(classify)
    graph.add_node(draft)
    graph.add_node(sign)
    graph.add_edge(START, "classify")
    graph.add_edge("classify", "draft")
    graph.add_edge("draft", "sign")
    graph.add_edge("sign", END)
    return graph.compile()
