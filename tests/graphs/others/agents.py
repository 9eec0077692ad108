"""langchain's create_agent with the middleware that it ships, and langgraph's create_react_agent."""

from __future__ import annotations

import itertools
from typing import Any

from tests.graphs.others.actor import Actor, Turn, calls
from tests.graphs.others.case import Built, Other

CLERK = "You are a clerk who plans trips. Keep to the budget."


def find_train(place: str) -> str:
    """Find a train to a place."""
    return f"the 9:14 to {place}"


def book(train: str) -> str:
    """Book a seat."""
    return f"booked {train}"


def weather(place: str) -> str:
    """Tell the weather of a place."""
    return "rain"


def _selecting(turn: Turn) -> bool:
    return "ToolSelectionResponse" in turn.offered


def _plan(turn: Turn) -> Any:
    if _selecting(turn):
        return {"tools": ["find_train", "book"]}
    if turn.told("ROLE\nContext Extraction Assistant") or turn.told("context extraction"):
        return "They wanted a train to Rome."
    if turn.told("emulating a tool call"):
        return "booked, as a rehearsal"
    if not turn.did("write_todos"):
        return calls(("write_todos", {"todos": [{"content": "find a train", "status": "in_progress"}]}))
    if not turn.did("find_train"):
        return calls(("find_train", {"place": "Rome"}))
    return turn.last if turn.did("book") else calls(("book", {"train": "9:14"}))


def _middleware() -> Built:
    from langchain.agents import create_agent
    from langchain.agents.middleware import LLMToolEmulator, LLMToolSelectorMiddleware, TodoListMiddleware

    model = Actor(act=_plan)
    middleware: list[Any] = [
        TodoListMiddleware(),
        LLMToolSelectorMiddleware(model=model, max_tools=2, always_include=["write_todos"]),
        LLMToolEmulator(tools=["book"], model=model),
    ]
    graph = create_agent(model, [find_train, book, weather], system_prompt=CLERK, middleware=middleware, name="clerk")
    return Built(graph, model)


def _talk(turn: Turn) -> Any:
    if not turn.told(CLERK):
        return "They wanted a train to Rome."
    return calls(("find_train", {"place": "Rome"})) if turn.messages[-1].type == "human" else f"Take {turn.last}."


def _summary() -> Built:
    from langchain.agents import create_agent
    from langchain.agents.middleware import SummarizationMiddleware

    model = Actor(act=_talk)
    graph = create_agent(
        model,
        [find_train],
        system_prompt=CLERK,
        middleware=[SummarizationMiddleware(model, trigger=("messages", 6), keep=("messages", 2))],
        name="clerk",
    )
    return Built(graph, model)


def _approve(turn: Turn) -> Any:
    return calls(("book", {"train": "9:14"})) if turn.messages[-1].type == "human" else f"Done: {turn.last}."


def _human() -> Built:
    from langchain.agents import create_agent
    from langchain.agents.middleware import HumanInTheLoopMiddleware
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command

    model = Actor(act=_approve)
    graph = create_agent(
        model,
        [book],
        system_prompt=CLERK,
        middleware=[HumanInTheLoopMiddleware({"book": True})],
        checkpointer=InMemorySaver(),
        name="clerk",
    )
    threads = itertools.count()
    resume = Command(resume={"decisions": [{"type": "approve"}]})
    return Built(graph, model, lambda: {"configurable": {"thread_id": str(next(threads))}}, follow=resume)


def _react() -> Built:
    from langgraph.prebuilt import create_react_agent
    from pydantic import BaseModel, Field

    class Trip(BaseModel):
        """A trip that was planned."""

        train: str = Field(description="The train to take.")

    def act(turn: Turn) -> Any:
        if turn.offered == ("Trip",):
            return {"train": "9:14"}
        return f"Take {turn.last}." if turn.did("find_train") else calls(("find_train", {"place": "Rome"}))

    model = Actor(act=act)
    graph = create_react_agent(
        model, [find_train], prompt=CLERK, response_format=("Now fill in the trip form.", Trip), name="clerk"
    )
    return Built(graph, model)


_LONG = [(role, f"{word} {n}") for n in range(4) for role, word in (("user", "question"), ("assistant", "answer"))]

CASES = [
    Other(
        "create_agent with to-do list, tool selector, tool emulator",
        "langchain",
        _middleware,
        [{"messages": [("user", "a train to Rome, please")]}, {"messages": [("user", "book me to Rome")]}],
        ["clerk", "tool selector", "tool emulator"],
        {
            "model[clerk]/system": "Your goal is to select the most relevant tools",
            "model[clerk]/system#1": CLERK,
            "model[clerk]/system#2": "tool to help you manage and plan complex objectives",
            "tools[clerk]/human": "You are emulating a tool call for testing purposes.",
        },
    ),
    Other(
        "create_agent with summarization",
        "langchain",
        _summary,
        [
            {"messages": [*_LONG, ("user", "a train to Rome, please")]},
            {"messages": [*_LONG, ("user", "and to Paris?")]},
        ],
        ["clerk", "summarizer"],
        {
            "SummarizationMiddleware.before_model[clerk]/human": "Context Extraction Assistant",
            "model[clerk]/system": CLERK,
            "model[clerk]/human": "Here is a summary of the conversation to date:\n\n{summary}",
        },
    ),
    Other(
        "create_agent with human in the loop",
        "langchain",
        _human,
        [{"messages": [("user", "book the 9:14")]}, {"messages": [("user", "book a seat")]}],
        ["clerk"],
        {"model[clerk]/system": CLERK},
    ),
    Other(
        "create_react_agent with a response format",
        "langgraph-prebuilt",
        _react,
        [{"messages": [("user", "a train to Rome, please")]}, {"messages": [("user", "to Rome")]}],
        ["clerk", "form"],
        {"agent/system": CLERK, "generate_structured_response/system": "Now fill in the trip form."},
    ),
]
