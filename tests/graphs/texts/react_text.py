"""`create_react_agent` with its prompt as text."""

from langchain_core.tools import tool
from langgraph.prebuilt import create_react_agent


@tool
def find_order(number: str) -> str:
    """Find an order by its number."""
    return f"order {number} is on its way"


def build(model):
    return create_react_agent(model, [find_order], prompt="You sell spare parts for bicycles.")
