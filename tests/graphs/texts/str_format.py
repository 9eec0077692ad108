"""A constant that `format` fills."""

from langchain_core.messages import HumanMessage

from .one_node import graph_of, to_answer

LETTER = """Write a letter to {name}.

Subject: {topic}
Close with "Yours, the {{shop}}"."""


def build(model):
    def node(state):
        return to_answer(model.invoke([HumanMessage(LETTER.format(name=state["customer"], topic=state["topic"]))]))

    return graph_of(node)
