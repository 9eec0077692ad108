"""Output schemas: by tool call, by a JSON schema in `response_format`, in an agent and in a node."""

from __future__ import annotations

from typing import Any, TypedDict

from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langgraph.graph import START, StateGraph
from pydantic import BaseModel, Field


class Reason(BaseModel):
    """One reason."""

    words: str = Field(description="A quote.")


class Answer(BaseModel):
    """What the review says."""

    label: str = Field(description="The label.")
    reasons: list[Reason] = Field(default=[], description="Why.")


class State(TypedDict, total=False):
    review: str
    label: str


def by_tool(model: Any) -> Any:
    return create_agent(model, response_format=ToolStrategy(Answer), system_prompt="You judge reviews.")


def by_schema(model: Any) -> Any:
    return create_agent(model, response_format=ProviderStrategy(Answer), system_prompt="You judge reviews.")


def in_a_node(model: Any) -> Any:
    form = {"type": "json_schema", "json_schema": {"name": "Answer", "schema": Answer.model_json_schema()}}
    bound = model.bind(response_format=form)

    def judge(state: State) -> State:
        reply = bound.invoke([("system", "You judge reviews."), ("human", state["review"])])
        return {"label": Answer.model_validate_json(reply.text).label}

    build: Any = StateGraph(State)
    build.add_node("judge", judge)
    build.add_edge(START, "judge")
    return build.compile(name="judges")
