"""Graphs for a LangGraph Server: by context, by configurable, with a subgraph and a tool; two that read neither.

Their model is simulated: it gives the bare label if and only if its messages tell it to.
"""

import re
from dataclasses import dataclass
from typing import Annotated, TypedDict

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph, add_messages
from langgraph.runtime import Runtime

import textgrad_lg
from textgrad_lg.testing import Rule, SimulatedChatModel

ALONE = "Reply with the label alone."


def _answer(messages):
    mood = "positive" if "good" in messages[-1].text else "negative"
    return f"I think this is {mood}, all things considered."


def _alone(reply, _):
    return re.search(r"is (\w+),", reply)[1]


model = SimulatedChatModel(answer=_answer, rules=[Rule(ALONE, _alone)])


class State(TypedDict, total=False):
    review: str
    label: str


@dataclass
class Context:
    system_prompt: str = "You label film reviews for the front page."
    tone: str = "calm"
    limit: int = 3


def _judge(system, state):
    if "explode" in state["review"]:
        raise ValueError("this review cannot be judged")
    return {"label": model.invoke([SystemMessage(system), HumanMessage(f"The review: {state['review']}")]).text}


def by_context(state: State, runtime: Runtime[Context]):
    return _judge(runtime.context.system_prompt, state)


def by_configurable(state: State, config: RunnableConfig):
    return _judge(config["configurable"].get("instructions", "You label film reviews by habit."), state)


def by_itself(state: State):
    return _judge("You label film reviews and nothing tells you how.", state)


def _graph(node, name, **options):
    return StateGraph(State, **options).add_node("judge", node).add_edge(START, "judge").compile(name=name)


desk = _graph(by_context, "desk", context_schema=Context)
legacy = _graph(by_configurable, "legacy")


# An agent with a tool in a subgraph, whose system text is a field of the context.


@tool
def price_of(item: str) -> str:
    """The price of an item in the shop."""
    return f"{item} costs {len(item)} coins"


def _serve(messages):
    if messages[-1].type == "tool":
        return messages[-1].text
    return AIMessage(
        "", tool_calls=[{"name": "price_of", "args": {"item": "tea"}, "id": "call-1", "type": "tool_call"}]
    )


class Talk(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


clerk = create_agent(SimulatedChatModel(answer=_serve), tools=[price_of], system_prompt="You serve.", name="clerk")


def greet(state: Talk, runtime: Runtime[Context]):
    system = SystemMessage(f"{runtime.context.system_prompt} Be {runtime.context.tone}.")
    return {"messages": [model.invoke([system, *state["messages"]])]}


shop = (
    StateGraph(Talk, context_schema=Context)
    .add_node("greet", greet)
    .add_node("clerk", clerk)
    .add_edge(START, "greet")
    .add_edge("greet", "clerk")
    .compile(name="shop")
)


# Two that read neither context nor configurable: the registry's texts are laid over them here.

attached = _graph(by_itself, "attached")
textgrad_lg.attach(attached, every=0.1)

FOLLOWER = textgrad_lg.Follower(every=0.1)


async def made():
    """A graph for each request, made inside the server's event loop."""
    graph = _graph(by_itself, "made")
    FOLLOWER.attach(graph)
    return graph
