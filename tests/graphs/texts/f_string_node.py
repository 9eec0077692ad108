"""An f-string in the node."""

from langchain_core.messages import SystemMessage

from .one_node import graph_of, to_answer


def build(model):
    def node(state):
        prompt = f"You write to {state['customer']}. The matter is: {state['topic']}. Be brief."
        return to_answer(model.invoke([SystemMessage(prompt), ("human", state["topic"])]))

    return graph_of(node)
