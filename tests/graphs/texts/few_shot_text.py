"""Examples as lines of one text."""

from langchain_core.prompts import FewShotPromptTemplate, PromptTemplate

from .one_node import graph_of, to_answer

PROMPT = FewShotPromptTemplate(
    prefix="Name the part of the bicycle that each complaint is about.",
    examples=[{"asked": "The chain is loose", "said": "drivetrain"}, {"asked": "The lamp is dark", "said": "lights"}],
    example_prompt=PromptTemplate.from_template("Complaint: {asked}\nPart: {said}"),
    suffix="Complaint: {topic}\nPart:",
    input_variables=["topic"],
)


def build(model):
    return graph_of(PROMPT | model | to_answer)
