"""A human message that a node writes into the state, where every later call of the conversation sends it again."""

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, MessagesState, StateGraph


class State(MessagesState):
    customer: str


def greet(state):
    return {"messages": [HumanMessage(f"Here is a letter from {state['customer']} that has to be answered.")]}


def build(model):
    def talk(state):
        return {"messages": [model.invoke([SystemMessage("You answer letters."), *state["messages"]])]}

    def check(state):
        return {"messages": [model.invoke(state["messages"])]}

    build = StateGraph(State)
    build.add_node("greet", greet)
    build.add_node("talk", talk)
    build.add_node("check", check)
    build.add_edge(START, "greet")
    build.add_edge("greet", "talk")
    build.add_edge("talk", "check")
    build.add_edge("check", END)
    return build.compile()
