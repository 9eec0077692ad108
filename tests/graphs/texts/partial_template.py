"""A template of which a part is filled when the graph is built: a name, which stays a slot, and rules, which are the author's."""

from langchain_core.prompts import ChatPromptTemplate

from .one_node import graph_of, to_answer

RULES = "Never promise a date. Never name a price."
PROMPT = ChatPromptTemplate.from_messages(
    [("system", "You work for {company}. {rules} You now talk to {customer}."), ("human", "{topic}")]
).partial(company="Spokes", rules=RULES)


def build(model):
    return graph_of(PROMPT | model | to_answer)
