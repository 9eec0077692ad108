"""An f-string in a function of another module."""

from .one_node import graph_of, to_answer
from .wording import briefing


def build(model):
    def node(state):
        return to_answer(model.invoke(briefing(state["customer"], state["topic"])))

    return graph_of(node)
