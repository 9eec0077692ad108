"""`create_agent` with its system prompt as a message."""

from langchain.agents import create_agent
from langchain_core.messages import SystemMessage

PROMPT = SystemMessage("You check the bills of a bicycle shop.")


def build(model):
    return create_agent(model, [], system_prompt=PROMPT)
