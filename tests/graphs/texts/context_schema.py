"""A system prompt in the runtime context, whose dataclass has a default for it."""

from dataclasses import dataclass

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from .one_node import graph_of, to_answer


@dataclass
class Context:
    system_prompt: str = "You are the voice of the bicycle shop. Speak of {customer} by name."
    tone: str = "warm"


def build(model):
    def node(state, runtime: Runtime[Context]):
        system = runtime.context.system_prompt.format(customer=state["customer"])
        return to_answer(model.invoke([SystemMessage(system), HumanMessage(state["topic"])]))

    return graph_of(node, context=Context)
