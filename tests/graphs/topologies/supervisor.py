"""A supervisor that hands over to one of two agents and gets the talk back (langgraph-supervisor)."""

from __future__ import annotations

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph_supervisor import create_supervisor

INPUTS = {"messages": [HumanMessage("What is 17 and 25?", id="asked")]}
PROMPT = "You hand each question to one agent."


@tool
def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right


def reply(messages):
    system, last = messages[0].text, messages[-1]
    if system.startswith("You hand"):
        if last.type == "human":
            return AIMessage("", tool_calls=[{"name": "transfer_to_adder", "args": {}, "id": "call_over"}])
        said = next(m for m in messages if m.type == "ai" and m.text.startswith("The sum"))
        return f"Answered: {said.text}"
    if last.type != "tool" or last.name != "add":
        return AIMessage("", tool_calls=[{"name": "add", "args": {"left": 17, "right": 25}, "id": "call_add"}])
    return f"The sum is {last.text}."


def build(model):
    adder = create_agent(model, [add], system_prompt="You add numbers.", name="adder")
    poet = create_agent(model, [], system_prompt="You write verse.", name="poet")
    return create_supervisor([adder, poet], model=model, prompt=PROMPT).compile()
