"""`create_react_agent` with a function that makes the messages of each call from the state."""

from langchain_core.messages import SystemMessage
from langgraph.prebuilt import create_react_agent
from langgraph.prebuilt.chat_agent_executor import AgentState


class State(AgentState):
    customer: str


def prompt(state):
    return [SystemMessage(f"You write to {state['customer']} on behalf of the workshop."), *state["messages"]]


def build(model):
    return create_react_agent(model, [], prompt=prompt, state_schema=State)
