"""A prompt as LangSmith's client gives it after a pull: with where it came from in its metadata."""

from langchain_core.prompts import ChatPromptTemplate

from .one_node import graph_of, to_answer

COMMIT = "50442af133e61576e74536c6556cefe1fac147cad032f4377b60c436e6cdcb6e"
PULLED = ChatPromptTemplate.from_messages([("system", "You grade what {customer} wrote."), ("human", "{topic}")])
PULLED.metadata = {
    "lc_hub_owner": "spokes",
    "lc_hub_repo": "grader",
    "lc_hub_commit_hash": COMMIT,
}


def build(model):
    return graph_of(PULLED | model | to_answer)
