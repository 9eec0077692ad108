"""langgraph-swarm: two agents that hand the conversation over to each other."""

from __future__ import annotations

import itertools
from typing import Any

from tests.graphs.others.actor import Actor, Turn, calls
from tests.graphs.others.case import Built, Other

ALICE = "You are Alice, an addition expert."
BOB = "You are Bob, you speak like a pirate."


def add(a: int, b: int) -> int:
    """Add two numbers"""
    return a + b


def _act(turn: Turn) -> Any:
    asked = next(message.text for message in reversed(turn.messages) if message.type == "human")
    if turn.told(ALICE):
        if "Bob" in asked:
            return calls(("transfer_to_bob", {}))
        return f"It is {turn.last}." if turn.did("add") else calls(("add", {"a": 5, "b": 7}))
    if "5 + 7" in asked and not turn.did("transfer_to_alice"):
        return calls(("transfer_to_alice", {}))
    return "Arr, Bob I be."


def _build() -> Built:
    from langchain.agents import create_agent
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph_swarm import create_handoff_tool, create_swarm

    model = Actor(act=_act)
    to_bob = create_handoff_tool(agent_name="Bob", description="Transfer to Bob")
    to_alice = create_handoff_tool(agent_name="Alice", description="Transfer to Alice, she can help with math")
    alice = create_agent(model, tools=[add, to_bob], system_prompt=ALICE, name="Alice")
    bob = create_agent(model, tools=[to_alice], system_prompt=BOB, name="Bob")
    graph = create_swarm([alice, bob], default_active_agent="Alice").compile(checkpointer=InMemorySaver())
    threads = itertools.count()
    return Built(graph, model, lambda: {"configurable": {"thread_id": str(next(threads))}})


CASES = [
    Other(
        "swarm of two agents",
        "langgraph-swarm",
        _build,
        [
            {"messages": [("user", "I'd like to speak to Bob")]},
            {"messages": [("user", "what's 5 + 7?")], "active_agent": "Bob"},
        ],
        ["Alice", "Bob"],
        {"Alice/model[Alice]/system": ALICE, "Bob/model[Bob]/system": BOB},
    )
]
