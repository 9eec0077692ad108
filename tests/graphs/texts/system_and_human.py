"""A system and a human template in one prompt, of which both have words of the author's."""

from langchain_core.prompts import ChatPromptTemplate

from .one_node import graph_of, to_answer

PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", 'You are a patient mechanic. Return JSON such as {{"fault": "chain"}}.'),
        ("human", "The customer {customer} asks about {topic}. Name the fault."),
    ]
)


def build(model):
    def node(state):
        chain = PROMPT | model
        return to_answer(chain.invoke({"customer": state["customer"], "topic": state["topic"]}))

    return graph_of(node)
