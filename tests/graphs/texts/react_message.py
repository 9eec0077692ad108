"""`create_react_agent` with its prompt as a message."""

from langchain_core.messages import SystemMessage
from langchain_core.tools import tool
from langgraph.prebuilt import create_react_agent


@tool
def find_order(number: str) -> str:
    """Find an order by its number."""
    return f"order {number} is on its way"


def build(model):
    return create_react_agent(model, [find_order], prompt=SystemMessage("You rent bicycles by the hour."))
