"""A deep agent that gives two tasks to subagents at once (deepagents)."""

from __future__ import annotations

from deepagents import SubAgent, create_deep_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

INPUTS = {"messages": [HumanMessage("Compare tea and coffee.", id="asked")]}
PROMPT = "You taste what you are asked to taste."


@tool
def taste(drink: str) -> str:
    """Taste a drink."""
    return f"{drink} is bitter and warm"


def reply(messages):
    system, last = messages[0].text, messages[-1]
    if "You taste" in system:
        if last.type == "human":
            drink = last.text.split()[-1]
            return AIMessage("", tool_calls=[{"name": "taste", "args": {"drink": drink}, "id": f"call_{drink}"}])
        return f"I found that {last.text}."
    if last.type == "human":
        calls = [
            {
                "name": "task",
                "args": {"description": f"Taste {drink}", "subagent_type": "taster"},
                "id": f"call_{drink}s",
            }
            for drink in ("tea", "coffee")
        ]
        return AIMessage("", tool_calls=calls)
    return "Both: " + " ".join(message.text for message in messages if message.type == "tool")


def build(model):
    taster: SubAgent = {"name": "taster", "description": "Tastes a drink.", "system_prompt": PROMPT, "tools": [taste]}
    return create_deep_agent(model, [taste], system_prompt="You compare drinks.", subagents=[taster])
