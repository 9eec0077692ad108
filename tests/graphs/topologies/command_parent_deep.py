"""A handoff from two graphs down to the graph around the inner one; the outermost takes part as usual."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command


class State(TypedDict, total=False):
    question: str
    label: str
    answer: str
    footer: str


INPUTS = {"question": "May I bring a dog?"}
PROMPT = "Which rule is meant?"


def reply(messages):
    return "the rule on animals" if messages[0].text.startswith("Which") else f"{messages[0].text} {messages[-1].text}"


def build(model):
    def decide(state: State):
        label = model.invoke([SystemMessage(PROMPT), HumanMessage(state["question"])]).text
        return Command(graph=Command.PARENT, update={"label": label}, goto="explain")

    innermost = StateGraph(State)
    innermost.add_node(decide)
    innermost.add_edge(START, "decide")

    def explain(state: State):
        said = model.invoke([SystemMessage(f"Explain {state['label']}."), HumanMessage(state["question"])])
        return {"answer": said.text}

    middle = StateGraph(State)
    middle.add_node("find", innermost.compile(), destinations=("explain",))
    middle.add_node(explain)
    middle.add_edge(START, "find")
    middle.add_edge("explain", END)

    def sign(state: State):
        return {"footer": f"{state['answer']} The house."}

    graph = StateGraph(State)
    graph.add_node("rules", middle.compile())
    graph.add_node(sign)
    graph.add_edge(START, "rules")
    graph.add_edge("rules", "sign")
    graph.add_edge("sign", END)
    return graph.compile()
