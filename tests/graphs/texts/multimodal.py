"""A human message with a picture between two texts."""

from langchain_core.messages import HumanMessage

from .one_node import graph_of, to_answer

PICTURE = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}


def build(model):
    def node(state):
        blocks: list[str | dict[str, str]] = [
            {"type": "text", "text": f"This picture was sent by {state['customer']}."},
            PICTURE,
            {"type": "text", "text": "Which part of the bicycle is broken?"},
        ]
        return to_answer(model.invoke([HumanMessage(blocks)]))

    return graph_of(node)
