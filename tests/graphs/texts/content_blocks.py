"""A system message of several text blocks, the first of which a provider is asked to cache."""

from langchain_core.messages import HumanMessage, SystemMessage

from .one_node import graph_of, to_answer

MANUAL = "The manual says: oil the chain every month."


def build(model):
    def node(state):
        blocks = [
            {"type": "text", "text": MANUAL, "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": f"You help {state['customer']} with the manual."},
        ]
        return to_answer(model.invoke([SystemMessage(blocks), HumanMessage(state["topic"])]))

    return graph_of(node)
