"""An agent with middleware that writes an instruction into the state before each call."""

from langchain.agents import create_agent
from langchain.agents.middleware import before_model
from langchain_core.messages import SystemMessage


@before_model
def remind(state, runtime):
    return {"messages": [SystemMessage("Answer in the language of the customer.")]}


def build(model):
    return create_agent(model, [], system_prompt="You translate letters.", middleware=[remind])
