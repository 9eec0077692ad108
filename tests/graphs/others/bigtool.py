"""langgraph-bigtool: an agent that looks its tools up in a store, under a supervisor.

The agent itself holds no prompt: what it says to the model are the descriptions of its tools.
"""

from __future__ import annotations

import math
import types
from typing import Any

from tests.graphs.others.actor import Actor, Turn, calls
from tests.graphs.others.case import Built, Other

LEAD = "You lead a desk of calculators. Hand every sum to math."


def _act(turn: Turn) -> Any:
    if turn.told(LEAD):
        return f"The desk says: {turn.last}" if turn.did("transfer_to_math") else calls(("transfer_to_math", {}))
    if not turn.did("retrieve_tools"):
        return calls(("retrieve_tools", {"query": "arc cosine"}))
    found = next(message.text for message in turn.messages if message.text.startswith("Available tools"))
    return f"I would use one of these. {found}"


def agent(model: Actor) -> Any:
    """The agent of the README, over the functions of `math`."""
    from langgraph.store.memory import InMemoryStore
    from langgraph_bigtool import create_agent
    from langgraph_bigtool.utils import convert_positional_only_function_to_tool

    functions = [at for at in map(math.__dict__.get, dir(math)) if isinstance(at, types.BuiltinFunctionType)]
    tools = [tool for at in functions if (tool := convert_positional_only_function_to_tool(at))]
    registry: Any = {f"tool-{tool.name}": tool for tool in tools}
    index: Any = {"embed": _embed, "dims": 4, "fields": ["description"]}
    store = InMemoryStore(index=index)
    for key, tool in registry.items():
        store.put(("tools",), key, {"description": f"{tool.name}: {tool.description}"})
    return create_agent(model, registry).compile(store=store, name="math")


def _embed(texts: list[str]) -> list[list[float]]:
    return [[float(text.lower().count(part)) + 0.01 for part in ("cosine", "arc", "sin", "log")] for text in texts]


def _build() -> Built:
    from langgraph_supervisor import create_supervisor

    model = Actor(act=_act)
    desk = agent(model)
    return Built(create_supervisor([desk], model=model, prompt=LEAD).compile(store=desk.store), model)


CASES = [
    Other(
        "supervisor over an agent with the functions of math",
        "langgraph-bigtool",
        _build,
        [
            {"messages": [("user", "Use available tools to calculate arc cosine of 0.5.")]},
            {"messages": [("user", "What is the arc cosine of one half?")]},
        ],
        ["supervisor", "math"],
        {"supervisor/agent/system": LEAD},
        note=(
            "its agent holds no prompt, only descriptions; a call of a tool that it found fails in the package itself, "
            "which uses ToolNode.inject_tool_args, gone from langgraph-prebuilt"
        ),
    )
]
