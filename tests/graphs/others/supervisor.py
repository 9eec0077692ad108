"""langgraph-supervisor: a supervisor over two experts, and a supervisor over teams."""

from __future__ import annotations

from typing import Any

from tests.graphs.others.actor import Actor, Turn, calls
from tests.graphs.others.case import Built, Other

MATH = "You are a math expert. Always use one tool at a time."
RESEARCH = "You are a world class researcher with access to web search. Do not do any math."
LEAD = "You are a team supervisor. For current events ask research_expert, for sums ask math_expert."


def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


def web_search(query: str) -> str:
    """Search the web for information."""
    return "Meta has 67317 employees and Apple has 164000."


def _experts(model: Actor) -> list[Any]:
    from langgraph.prebuilt import create_react_agent

    math = create_react_agent(model, [add], name="math_expert", prompt=MATH)
    research = create_react_agent(model, [web_search], name="research_expert", prompt=RESEARCH)
    return [research, math]


def _act(turn: Turn) -> Any:
    if turn.told("You are a math expert"):
        return "Together 231317." if turn.did("add") else calls(("add", {"a": 67317, "b": 164000}))
    if turn.told("world class researcher"):
        return turn.last if turn.did("web_search") else calls(("web_search", {"query": "headcount"}))
    if not turn.did("transfer_to_research_expert"):
        return calls(("transfer_to_research_expert", {}))
    asked = next(message.text for message in turn.messages if message.type == "human")
    if "sum" in asked and not turn.did("transfer_to_math_expert"):
        return calls(("transfer_to_math_expert", {}))
    said = [message.text for message in turn.messages if message.type == "ai" and message.text]
    return f"The answer: {next((text for text in reversed(said) if 'ransferring' not in text), '')}"


def _flat(mode: Any) -> Built:
    from langgraph_supervisor import create_supervisor

    model = Actor(act=_act)
    graph = create_supervisor(_experts(model), model=model, prompt=LEAD, output_mode=mode).compile()
    return Built(graph, model)


def _teams(turn: Turn) -> Any:
    asked = next(message.text for message in turn.messages if message.type == "human")
    for boss, member in (("You run the firm", "desk"), ("You run the desk", "math_expert")):
        if turn.told(boss):
            return turn.last if turn.did(f"transfer_to_{member}") else calls((f"transfer_to_{member}", {}))
    if turn.did("add"):
        said = [message.text for message in turn.messages if message.type == "tool"]
        return f"Together {said[-1]}."
    return calls(("add", {"a": 1, "b": len(asked)}))


def _nested() -> Built:
    from langgraph_supervisor import create_supervisor

    model = Actor(act=_teams)
    desk = create_supervisor(
        _experts(model), model=model, prompt="You run the desk of experts.", supervisor_name="desk_supervisor"
    ).compile(name="desk")
    firm = create_supervisor(
        [desk], model=model, prompt="You run the firm. Hand all to the desk.", supervisor_name="firm_supervisor"
    )
    return Built(firm.compile(name="firm"), model)


CASES = [
    *(
        Other(
            f"supervisor with two experts, output mode {mode}",
            "langgraph-supervisor",
            lambda mode=mode: _flat(mode),
            [
                {"messages": [("user", "What is the sum of the headcounts of Meta and Apple?")]},
                {"messages": [("user", "How many people work for Meta?")]},
            ],
            ["supervisor", "research_expert", "math_expert"],
            {
                "supervisor/agent/system": LEAD,
                "research_expert/agent/system": RESEARCH,
                "math_expert/agent/system": MATH,
            },
        )
        for mode in ("last_message", "full_history")
    ),
    Other(
        "supervisor of a team with a supervisor",
        "langgraph-supervisor",
        _nested,
        [{"messages": [("user", "Add things up")]}, {"messages": [("user", "And those")]}],
        ["firm_supervisor", "desk_supervisor", "math_expert"],
        {
            "firm_supervisor/agent/system": "You run the firm. Hand all to the desk.",
            "desk/desk_supervisor/agent/system": "You run the desk of experts.",
            "desk/math_expert/agent/system": MATH,
        },
    ),
]
