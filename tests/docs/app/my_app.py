"""The application that the README's example imports: a classifier on a simulated model."""

import re
from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from textgrad_lg.testing import Rule, SimulatedChatModel

ASKED = "Answer with one word: positive or negative."


class State(TypedDict, total=False):
    """One review and its label."""

    review: str
    label: str


def _answer(messages):
    return f"This sounds {'positive' if 'good' in messages[-1].text else 'negative'} to me."


def _one_word(reply, messages):
    return re.search("positive|negative", reply)[0]


model = SimulatedChatModel(answer=_answer, rules=[Rule(ASKED, _one_word)])


def triage(state: State):
    """Label one review."""
    return {"label": model.invoke([SystemMessage("You label reviews."), HumanMessage(state["review"])]).text}


builder = StateGraph(State)
builder.add_node("triage", triage)
builder.add_edge(START, "triage")
graph = builder.compile(name="reviews")
reviews = [
    {
        "inputs": {"review": f"a {'good' if at % 2 else 'bad'} film, number {at}"},
        "reference_outputs": {"label": "positive" if at % 2 else "negative"},
    }
    for at in range(40)
]
