"""A node that reads its model's reply as an async stream."""

from langchain_core.messages import HumanMessage, SystemMessage

from .one_node import graph_of


def build(model):
    async def node(state):
        messages = [SystemMessage(f"You hum to {state['customer']}."), HumanMessage(state["topic"])]
        return {"answer": "".join([chunk.text async for chunk in model.astream(messages)])}

    return graph_of(node)
