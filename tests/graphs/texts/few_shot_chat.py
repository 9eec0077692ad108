"""Examples as turns of a conversation, before the real question."""

from langchain_core.prompts import ChatPromptTemplate, FewShotChatMessagePromptTemplate

from .one_node import graph_of, to_answer

EXAMPLES = [
    {"asked": "The chain is loose", "said": "drivetrain"},
    {"asked": "The lamp is dark", "said": "lights"},
]
TURNS = FewShotChatMessagePromptTemplate(
    examples=EXAMPLES, example_prompt=ChatPromptTemplate.from_messages([("human", "{asked}"), ("ai", "{said}")])
)
PROMPT = ChatPromptTemplate.from_messages([("system", "Name the part of the bicycle."), TURNS, ("human", "{topic}")])


def build(model):
    return graph_of(PROMPT | model | to_answer)
