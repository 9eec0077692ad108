"""A node that awaits its model."""

from langchain_core.messages import HumanMessage, SystemMessage

from .one_node import graph_of, to_answer


def build(model):
    async def node(state):
        messages = [SystemMessage(f"You listen to {state['customer']}."), HumanMessage(state["topic"])]
        return to_answer(await model.ainvoke(messages))

    return graph_of(node)
