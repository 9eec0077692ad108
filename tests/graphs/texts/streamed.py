"""A node that reads its model's reply as a stream."""

from langchain_core.messages import HumanMessage, SystemMessage

from .one_node import graph_of


def build(model):
    def node(state):
        messages = [SystemMessage(f"You sing to {state['customer']}."), HumanMessage(state["topic"])]
        return {"answer": "".join(chunk.text for chunk in model.stream(messages))}

    return graph_of(node)
