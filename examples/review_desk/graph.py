"""A desk that reads film reviews, labels them and drafts the next message. Plain LangGraph; nothing here knows of textgrad_lg.

The classifier's label decides who writes next: `thank` for "positive", `follow_up` (an agent with a tool) for "negative",
`escalate` for anything else.
"""

from __future__ import annotations

from typing import TypedDict

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

ESCALATE = "You leave notes for a colleague. Say in a few words what the review is about."


class Desk(TypedDict):
    """What the desk knows about one review."""

    review: str
    label: str
    message: str


@tool
def voucher_policy(reason: str) -> str:
    """Look up what the cinema offers to an unhappy guest."""
    return f"A free ticket within 30 days. Reason on file: {reason}"


def build_graph(model: BaseChatModel) -> CompiledStateGraph:
    """Build the desk on a chat model."""
    classifier = (
        ChatPromptTemplate.from_messages(
            [
                ("system", "You classify movie reviews."),
                ("human", "Classify the sentiment of this text.\n\n{review}"),
            ]
        )
        | model
    )
    agent = create_agent(
        model,
        tools=[voucher_policy],
        system_prompt="You answer guests who did not like the film. Be brief and kind.",
        name="follow_up",
    )

    def classify(state: Desk) -> dict[str, str]:
        return {"label": classifier.invoke({"review": state["review"]}).text}

    def route(state: Desk) -> str:
        return {"positive": "thank", "negative": "follow_up"}.get(state["label"], "escalate")

    def thank(state: Desk) -> dict[str, str]:
        prompt = f"Thank the guest in one short sentence for this review: {state['review']}"
        return {"message": model.invoke(prompt).text}

    def follow_up(state: Desk) -> dict[str, str]:
        answer = agent.invoke({"messages": [HumanMessage(state["review"])]})
        return {"message": answer["messages"][-1].text}

    def escalate(state: Desk) -> dict[str, str]:
        note = model.invoke([SystemMessage(ESCALATE), HumanMessage(state["review"])])
        return {"message": note.text}

    desk = StateGraph(Desk)
    desk.add_node("classify", classify)
    desk.add_node("thank", thank)
    desk.add_node("follow_up", follow_up)
    desk.add_node("escalate", escalate)
    desk.add_edge(START, "classify")
    desk.add_conditional_edges("classify", route, ["thank", "follow_up", "escalate"])
    for node in ("thank", "follow_up", "escalate"):
        desk.add_edge(node, END)
    return desk.compile(name="review_desk")
