"""A graph of three model calls that a real client makes, and a server that obeys the prompts it is sent."""

from __future__ import annotations

import re
from typing import Any, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from textgrad_lg import Evals

WANTED = "Reply with the label alone."
JUDGE = "You judge the facts of a review."


class State(TypedDict, total=False):
    review: str
    facts: str
    label: str
    page: str


def answer(body: dict[str, Any]) -> Any:
    """What the model says: it obeys the judge's instruction where it was given, and as a critic it asks for it."""
    system, last = str(body["messages"][0]["content"]), str(body["messages"][-1]["content"])
    if system.startswith("You extract"):
        return f"facts: {last}"
    if JUDGE in system:
        label = "positive" if "good" in last else "negative"
        return label if WANTED in system else f"I think this is {label}, all things considered."
    if system.startswith("You write"):
        return f"<p>{last}</p>"
    if "alternative" in system or "alternative" in last:
        text = re.search(r"<<<DATA the text now [0-9a-f]+>>>\n(.*?)\n<<<END", last, re.DOTALL)
        return {"alternatives": [{"why": "the feedback asks for it", "text": f"{text[1] if text else ''}\n\n{WANTED}"}]}
    shown = re.search(r"<<<DATA reply of the call [0-9a-f]+>>>\n(.*?)\n<<<END", last, re.DOTALL)
    mine = shown is not None and shown[1].startswith("I think")
    about = [{"id": "P1", "feedback": f"Ask for this: {WANTED}"}] if mine else []
    return {"about_this": about, "about_inputs": [] if mine else [{"id": "V1", "feedback": "The label alone, please."}]}


def graph(model: Any, *, asynchronous: bool = False) -> Any:
    """extract -> judge -> publish."""

    def prompts(state: State, node: str) -> list[Any]:
        system, key = {
            "extract": ("You extract the facts.", "review"),
            "judge": (JUDGE, "facts"),
            "publish": ("You write the page.", "label"),
        }[node]
        return [SystemMessage(system), HumanMessage(state[key])]

    made = StateGraph(State)
    before = START
    for node, key in (("extract", "facts"), ("judge", "label"), ("publish", "page")):

        def call(state: State, node=node, key=key):
            return {key: model.invoke(prompts(state, node)).text}

        async def acall(state: State, node=node, key=key):
            return {key: (await model.ainvoke(prompts(state, node))).text}

        made.add_node(node, acall if asynchronous else call)
        made.add_edge(before, node)
        before = node
    return made.compile(name="pages")


def right(outputs, reference_outputs):
    """Whether the page is right, and what it should be."""
    want = reference_outputs["page"]
    return outputs["page"] == want, f"expected {want!r}, got {outputs['page']!r}"


def evals(count: int) -> Evals:
    """Half of the reviews are good."""
    data = [
        {
            "inputs": {"review": f"{'good' if at % 2 else 'bad'} film number {at}"},
            "reference_outputs": {"page": f"<p>{'positive' if at % 2 else 'negative'}</p>"},
        }
        for at in range(count)
    ]
    return Evals(data, [right], goal="Publish the label of a review.")
