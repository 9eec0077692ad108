"""A system prompt that an operator keeps in the graph's store."""

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore

from .one_node import graph_of, to_answer


def build(model):
    store = InMemoryStore()
    store.put(("prompts",), "desk", {"text": "You know every screw of a bicycle."})

    def node(state, runtime: Runtime):
        system = runtime.store.get(("prompts",), "desk").value["text"]
        return to_answer(model.invoke([SystemMessage(system), HumanMessage(state["topic"])]))

    return graph_of(node, store=store)
