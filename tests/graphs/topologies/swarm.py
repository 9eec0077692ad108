"""Two agents that hand over to each other (langgraph-swarm); the second run goes on with the one who was active."""

from __future__ import annotations

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph_swarm import create_handoff_tool, create_swarm

INPUTS = {"messages": [HumanMessage("I want a refund for the lamp.", id="first")]}
AGAIN = {"messages": [HumanMessage("And when will it come?", id="second")]}
PROMPT = "You are at the front desk."


def reply(messages):
    if messages[0].text.startswith("You are at"):
        return AIMessage("", tool_calls=[{"name": "transfer_to_refunds", "args": {}, "id": "call_over"}])
    asked = [message.text for message in messages if message.type == "human"][-1]
    return f"Refund noted: {asked}"


def build(model, checkpointer):
    front = create_agent(
        model, [create_handoff_tool(agent_name="refunds")], system_prompt="You are at the front desk.", name="front"
    )
    refunds = create_agent(
        model, [create_handoff_tool(agent_name="front")], system_prompt="You pay refunds.", name="refunds"
    )
    return create_swarm([front, refunds], default_active_agent="front").compile(checkpointer=checkpointer)
