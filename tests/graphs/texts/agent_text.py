"""`create_agent` with its system prompt as text, and a tool."""

from langchain.agents import create_agent
from langchain_core.tools import tool


@tool
def find_order(number: str) -> str:
    """Find an order by its number."""
    return f"order {number} is on its way"


def build(model):
    return create_agent(model, [find_order], system_prompt="You help customers of a bicycle shop.", name="clerk")
