"""An agent that calls two tools at once, and then answers."""

from __future__ import annotations

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

INPUTS = {"messages": [HumanMessage("Weather and tide in Hull?", id="asked")]}
PROMPT = "You know the coast."


@tool
def weather(town: str) -> str:
    """Tell the weather of a town."""
    return f"fog over {town}"


@tool
def tide(town: str) -> str:
    """Tell the tide of a town."""
    return f"high water at {town}"


def reply(messages):
    if messages[-1].type == "human":
        calls = [{"name": name, "args": {"town": "Hull"}, "id": f"call_{name}"} for name in ("weather", "tide")]
        return AIMessage("", tool_calls=calls)
    return "Now: " + " and ".join(message.text for message in messages if message.type == "tool")


def build(model):
    return create_agent(model, [weather, tide], system_prompt=PROMPT, name="coast")
