"""A system prompt that the caller may set in `configurable`, with one in the code where none is set."""

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig

from .one_node import graph_of, to_answer


def build(model):
    def node(state, config: RunnableConfig):
        system = config["configurable"].get("system", "You advise the customers of the shop.")
        return to_answer(model.invoke([SystemMessage(system), HumanMessage(state["topic"])]))

    return graph_of(node)
