"""langgraph-reflection: an assistant, and a judge whose critique goes back to it as a user message."""

from __future__ import annotations

from typing import Any

from tests.graphs.others.actor import Actor, Turn, calls
from tests.graphs.others.case import Built, Other

ASSISTANT = "You are a helpful assistant. Answer in full sentences."
JUDGE = """You are an expert judge of answers. Is this answer right, and does it name its source?

<response>
{outputs}
</response>"""


def _act(turn: Turn) -> Any:
    if turn.told("expert judge of answers"):
        return calls(("Finish", {"reason": "fine"})) if turn.told("Source:") else "Name your source."
    critique = any("Name your source" in message.text for message in turn.messages)
    return "Rome is the capital of Italy." + (" Source: an atlas." if critique else "")


def _build() -> Built:
    from langgraph.graph import MessagesState, StateGraph
    from pydantic import BaseModel

    class Finish(BaseModel):
        """Tool for the judge to indicate the response is acceptable."""

        reason: str

    model = Actor(act=_act)

    def call_model(state: MessagesState) -> Any:
        return {"messages": [model.invoke([{"role": "system", "content": ASSISTANT}, *state["messages"]])]}

    def judge_response(state: MessagesState) -> Any:
        said = JUDGE.format(outputs=state["messages"][-1].content)
        reply = model.bind_tools([Finish]).invoke([{"role": "user", "content": said}])
        return None if reply.tool_calls else {"messages": [{"role": "user", "content": reply.content}]}

    from langgraph_reflection import create_reflection_graph

    assistant = StateGraph(MessagesState).add_node(call_model).add_edge("__start__", "call_model").compile()
    judge = StateGraph(MessagesState).add_node(judge_response).add_edge("__start__", "judge_response").compile()
    graph = create_reflection_graph(assistant, judge, MessagesState).compile()
    return Built(graph, model)


CASES = [
    Other(
        "assistant and judge",
        "langgraph-reflection",
        _build,
        [{"messages": [("user", "What is the capital of Italy?")]}, {"messages": [("user", "Where is Rome?")]}],
        ["call_model", "judge_response"],
        {
            "graph/call_model/system": ASSISTANT,
            "reflection/judge_response/human": "You are an expert judge of answers.",
        },
    )
]
