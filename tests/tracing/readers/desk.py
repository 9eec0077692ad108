"""The graph whose production traces stand in `data/`: plan, an agent with a tool, two critics in parallel, and a join."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Send

from textgrad_lg.testing import ScriptedChatModel

PLAN = "You are a careful planner of research on {topic}. Name the one fact that must be looked up first."
RESEARCH = "You are a researcher. Use the search tool once, and then say what you have found in one sentence."
CRITIC = "You are a strict reviewer of short reports. Say what is wrong with the {angle} of the report."
JOIN = "You write the final answer for a customer from a report and its reviews. Be brief and polite."
QUESTION = "How high is the Zugspitze?"
METADATA = {"example_id": "example-7", "tenant": "acme"}


class State(MessagesState):
    topic: str
    plan: str
    report: str
    reviews: Annotated[list[str], operator.add]
    answer: str


@tool
def search(query: str) -> str:
    """Look up facts in the atlas of mountains."""
    return f"The atlas says of {query}: 2,962 metres above sea level."


def researched(messages: Any) -> Any:
    """The agent's model: calls the tool, and then quotes its result."""
    if messages[-1].type == "tool":
        return f"Report: {messages[-1].text}"
    call = {"name": "search", "args": {"query": "Zugspitze altitude"}, "id": "call_1"}
    return AIMessage("", tool_calls=[call])


def build(*, model: Any = ScriptedChatModel) -> Any:
    """The compiled graph."""
    prompt = ChatPromptTemplate([("system", PLAN), ("human", "{question}")]).with_config(
        metadata={"lc_hub_owner": "acme", "lc_hub_repo": "planner", "lc_hub_commit_hash": "0123abcd"}
    )
    planner = prompt | model(replies=lambda messages: "First look up the altitude of the Zugspitze.")
    critics = model(replies=lambda messages: f"The report could be clearer. ({messages[0].text.split()[-4]})")
    writer = model(replies=lambda messages: "The Zugspitze is 2,962 metres high.")

    def plan(state: State) -> dict[str, Any]:
        question = state["messages"][-1].text
        return {"plan": planner.invoke({"topic": state["topic"], "question": question}).text}

    def fan(state: State) -> list[Send]:
        report = state["messages"][-1].text
        return [Send("critic", {"angle": angle, "report": report}) for angle in ("wording", "evidence")]

    def critic(state: dict[str, str]) -> dict[str, Any]:
        asked = [SystemMessage(CRITIC.format(angle=state["angle"])), HumanMessage(state["report"])]
        return {"reviews": [critics.invoke(asked).text]}

    def join(state: State) -> dict[str, Any]:
        told = "\n".join([state["messages"][-1].text, *state["reviews"]])
        return {"answer": writer.invoke([("system", JOIN), ("human", told)]).text}

    builder: Any = StateGraph(State)
    builder.add_node("plan", plan)
    builder.add_node("research", create_agent(model(replies=researched), [search], system_prompt=RESEARCH))
    builder.add_node("critic", critic)
    builder.add_node("join", join)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "research")
    builder.add_conditional_edges("research", fan, ["critic"])
    builder.add_edge("critic", "join")
    builder.add_edge("join", END)
    return builder.compile(name="desk")


def inputs() -> dict[str, Any]:
    """What the graph is given."""
    return {"messages": [HumanMessage(QUESTION)], "topic": "mountains"}


def config() -> dict[str, Any]:
    """How it is called in production."""
    return {"configurable": {"thread_id": "thread-1"}, "metadata": METADATA}
