"""An agent whose system prompt is made for each call by `dynamic_prompt`."""

from langchain.agents import create_agent
from langchain.agents.middleware import AgentState, dynamic_prompt


class State(AgentState):
    customer: str


@dynamic_prompt
def greeting(request):
    customer = request.state["customer"]
    return f"You speak with {customer}, who has written before. Stay polite."


def build(model):
    return create_agent(model, [], middleware=[greeting], state_schema=State)
