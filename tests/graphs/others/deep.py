"""deepagents: a research agent with two subagents, a skill and a memory file."""

from __future__ import annotations

from typing import Any

from tests.graphs.others.actor import Actor, Turn, calls
from tests.graphs.others.case import Built, Other

LEAD = "You are an expert researcher. Conduct thorough research, and then write a polished report."
SEARCHER = "You are a dedicated researcher. Answer the one question you are given, with sources."
CRITIC = "You are a dedicated editor. Critique the report that you are given in two sentences."


def internet_search(query: str, max_results: int = 5) -> str:
    """Run a web search."""
    return f"found for {query!r}: LangGraph is a library for stateful agents"


def _act(turn: Turn) -> Any:
    if turn.told(SEARCHER):
        return turn.last if turn.did("internet_search") else calls(("internet_search", {"query": "langgraph"}))
    if turn.told(CRITIC):
        return "The report is sound. It names no date."
    if not turn.did("write_todos"):
        return calls(("write_todos", {"todos": [{"content": "search", "status": "in_progress"}]}))
    if not turn.did("task"):
        return calls(
            ("task", {"description": "What is LangGraph made for?", "subagent_type": "research-agent"}),
            ("task", {"description": "Critique: agents need state", "subagent_type": "critique-agent"}),
        )
    if not turn.did("write_file"):
        return calls(("write_file", {"file_path": "/report.md", "content": f"# Report\n{turn.last}"}))
    said = [message.text for message in turn.messages if message.type == "tool"]
    return f"The report is written. {next(text for text in said if 'found for' in text)} {next(text for text in said if 'sound' in text)}"


def _build() -> Built:
    from deepagents import create_deep_agent

    model = Actor(act=_act)
    graph = create_deep_agent(
        model,
        [internet_search],
        system_prompt=LEAD,
        subagents=[
            {
                "name": "research-agent",
                "description": "Researches one question in depth.",
                "system_prompt": SEARCHER,
                "tools": [internet_search],
            },
            {"name": "critique-agent", "description": "Critiques a report.", "system_prompt": CRITIC, "tools": []},
        ],
        name="lead",
    )
    return Built(graph, model)


def _remember(turn: Turn) -> Any:
    if not turn.did("read_file"):
        return calls(("read_file", {"file_path": "/skills/tables/SKILL.md"}))
    return f"As the skill says: {turn.last}"


def _with_files() -> Built:
    from deepagents import create_deep_agent

    model = Actor(act=_remember)
    graph = create_deep_agent(model, system_prompt=LEAD, memory=["/AGENTS.md"], skills=["/skills/"], name="lead")
    return Built(graph, model)


def _file(text: str) -> dict[str, Any]:
    day = "2026-01-01T00:00:00+00:00"
    return {"content": text, "encoding": "utf-8", "created_at": day, "modified_at": day}


_FILES = {
    "/AGENTS.md": _file("Reports end with a table of sources."),
    "/skills/tables/SKILL.md": _file("---\nname: tables\ndescription: How to draw tables.\n---\nUse three columns.\n"),
}

CASES = [
    Other(
        "deep agent with two subagents",
        "deepagents",
        _build,
        [{"messages": [("user", "what is langgraph?")]}, {"messages": [("user", "write about langgraph")]}],
        ["lead", "research-agent", "critique-agent"],
        {
            "model[lead]/system": LEAD,
            "tools/model[research-agent]/system": SEARCHER,
            "tools/model[critique-agent]/system": CRITIC,
        },
    ),
    Other(
        "deep agent with a memory file and a skill",
        "deepagents",
        _with_files,
        [
            {"messages": [("user", "what is langgraph?")], "files": _FILES},
            {"messages": [("user", "draw me a table")], "files": _FILES},
        ],
        ["lead"],
        {
            "model[lead]/system": LEAD,
            "model[lead]/system#1": "You have access to a skills library",
            "model[lead]/system#2": "<agent_memory>",
        },
        ways=("invoke", "astream"),
    ),
]
