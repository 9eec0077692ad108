"""A module constant, sent as it is."""

from langchain_core.messages import HumanMessage, SystemMessage

from .one_node import graph_of, to_answer

HOUSE_RULES = "You answer for the bicycle shop. Never promise a date."


def build(model):
    def node(state):
        return to_answer(model.invoke([SystemMessage(HOUSE_RULES), HumanMessage(state["topic"])]))

    return graph_of(node)
