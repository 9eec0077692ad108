"""`ChatPromptTemplate | model` as a node."""

from langchain_core.prompts import ChatPromptTemplate

from .one_node import graph_of, to_answer

PROMPT = ChatPromptTemplate.from_messages(
    [("system", "You help {customer}. Say at most two sentences."), ("human", "{topic}")]
)


def build(model):
    return graph_of(PROMPT | model | to_answer)
