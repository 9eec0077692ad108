"""openevals: its judges are no graphs; here one stands in a node, with a prompt that the package ships."""

from __future__ import annotations

from typing import Any, TypedDict

from tests.graphs.others.actor import Actor, Turn
from tests.graphs.others.case import Built, Other

WRITER = "You write short answers."


class _State(TypedDict, total=False):
    question: str
    answer: str
    score: Any
    why: Any


def _act(turn: Turn) -> Any:
    if turn.told(WRITER):
        return f"About {turn.last}: yes."
    return {"reasoning": "It is to the point.", "score": True}


def _build() -> Built:
    from langgraph.graph import StateGraph
    from openevals.llm import create_llm_as_judge
    from openevals.prompts import CONCISENESS_PROMPT

    model = Actor(act=_act)
    judge: Any = create_llm_as_judge(prompt=CONCISENESS_PROMPT, judge=model, feedback_key="conciseness")

    def write(state: _State) -> _State:
        return {"answer": model.invoke([("system", WRITER), ("user", state["question"])]).text}

    def grade(state: _State) -> _State:
        told = judge(inputs=state["question"], outputs=state["answer"])
        return {"score": told["score"], "why": told["comment"]}

    build = StateGraph(_State).add_node(write).add_node(grade)
    return Built(build.add_edge("__start__", "write").add_edge("write", "grade").compile(), model)


CASES = [
    Other(
        "create_llm_as_judge in a node",
        "openevals",
        _build,
        [{"question": "Is Rome old?"}, {"question": "Is Emma a novel?"}],
        ["write", "judge"],
        {"write/system": WRITER, "grade/human": "You are an expert data labeler"},
    )
]
