"""A template with the conversation so far in the middle."""

from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langgraph.graph import MessagesState

from .one_node import graph_of

PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "You remember what {customer} said before."),
        MessagesPlaceholder("history"),
        ("human", "Now sum up the talk with {customer}."),
    ]
)


class State(MessagesState):
    customer: str


def build(model):
    def node(state):
        chain = PROMPT | model
        return {"messages": [chain.invoke({"customer": state["customer"], "history": state["messages"]})]}

    return graph_of(node, state=State)
