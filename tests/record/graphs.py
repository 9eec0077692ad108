"""Graphs that the tests of the recorder share, and ways to print a Trace."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import SystemMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Send

from textgrad_lg import record as recording
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.trace import Trace

record: Any = recording.record
"""`record`, untyped: the values in a Trace are JSON, which a type checker would want narrowed at every step of a test."""


class State(TypedDict, total=False):
    question: str
    label: str
    draft: str
    answer: str
    count: int
    flag: bool
    data: Any
    parts: Annotated[list[Any], operator.add]


def echo(prefix: str = "reply to") -> ScriptedChatModel:
    """A model whose reply quotes the last message it was sent."""
    return ScriptedChatModel(replies=lambda messages: f"{prefix} {messages[-1].text}")


def says(*replies: Any) -> ScriptedChatModel:
    """A model that says each of `replies` in turn."""
    return ScriptedChatModel(replies=list(replies))


def blank(state: Any = State) -> Any:
    """A graph to build on, untyped: these tests give it nodes of all kinds."""
    return StateGraph(state)


def chain(*nodes: tuple[str, Any], state: Any = State, **options: Any) -> Any:
    """A compiled graph that runs `nodes` one after the other."""
    build = blank(state)
    last = START
    for name, node in nodes:
        build.add_node(name, node)
        build.add_edge(last, name)
        last = name
    return build.compile(**options)


def linear() -> Any:
    """classify -> answer, one model call each."""
    labels, answers = says("Label: BILLING"), echo()

    def classify(state):
        reply = labels.invoke([SystemMessage("Classify the question."), ("human", state["question"])])
        return {"label": reply.text.split()[-1].lower()}

    def answer(state):
        reply = answers.invoke(
            [("system", f"You answer questions about {state['label']}."), ("human", state["question"])]
        )
        return {"answer": reply.text}

    return chain(("classify", classify), ("answer", answer))


def routed(label: str = "refund", *, path_map: dict[Any, str] | None = None, route: Any = None) -> Any:
    """classify -> refund | other, chosen by a router that reads `label`."""
    model, answers = says(label), echo()
    build = blank(State)
    build.add_node("classify", lambda state: {"label": model.invoke([("system", "Classify.")]).text})
    build.add_node("refund", lambda state: {"answer": answers.invoke([("system", "Refunds."), state["question"]]).text})
    build.add_node("other", lambda state: {"answer": "something else"})

    def choose(state):
        return "refund" if state["label"] == "refund" else "other"

    build.add_edge(START, "classify")
    if path_map is None:
        build.add_conditional_edges("classify", route or choose, ["refund", "other"])
    else:
        build.add_conditional_edges("classify", route or choose, path_map)
    return build.compile()


def fan_out(wait: Any = lambda name: None) -> Any:
    """Three branches in one step, each with a model call, and a node that joins them."""
    model = echo()

    def branch(name):
        def node(state):
            wait(name)
            return {
                "parts": [model.invoke([("system", f"Branch {name}."), ("human", state["question"] + " " + name)]).text]
            }

        return node

    build = blank(State)
    for name in ("red", "green", "blue"):
        build.add_node(name, branch(name))
        build.add_edge(START, name)
        build.add_edge(name, "join")
    build.add_node("join", lambda state: {"answer": " / ".join(state["parts"])})
    return build.compile()


def map_reduce(wait: Any = lambda name: None) -> Any:
    """split -> Send to `work` for each item -> join."""
    model = echo("done")

    def work(state):
        wait(state["item"])
        return {"parts": [model.invoke([("system", "Work."), ("human", state["item"])]).text]}

    build = blank(State)
    build.add_node("split", lambda state: {"data": state["question"].split(", ")})
    build.add_node("work", work)
    build.add_node("join", lambda state: {"answer": "; ".join(state["parts"])})
    build.add_edge(START, "split")
    build.add_conditional_edges(
        "split", lambda state: [Send("work", {"item": item}) for item in state["data"]], ["work"]
    )
    build.add_edge("work", "join")
    return build.compile()


def looping(turns: int) -> Any:
    """A chat with itself: each turn reads all messages so far."""
    model = ScriptedChatModel(replies=lambda messages: f"turn {len(messages)} of the talk")
    build = blank(MessagesState)
    build.add_node("talk", lambda state: {"messages": [model.invoke([("system", "Go on."), *state["messages"]])]})
    build.add_edge(START, "talk")
    build.add_conditional_edges("talk", lambda state: END if len(state["messages"]) > turns else "talk", ["talk", END])
    return build.compile()


def edges(trace: Trace) -> set[tuple[str, str, str]]:
    """The edges as (source, target, via); unconfirmed ones with a question mark behind `via`."""
    return {(e.source, e.target, e.via if e.weight == 1.0 else f"{e.via}?") for e in trace.edges}


def into(trace: Trace, target: str) -> dict[str, str]:
    """The edges into one Variable: source to via, with a question mark where unconfirmed."""
    return {source: via for source, at, via in sorted(edges(trace)) if at == target}


def printed(trace: Trace) -> str:
    """All of a Trace that is the same in each run of the same graph."""
    lines = [
        f"{span.id} {span.kind} {span.name} in {span.parent} at {'/'.join(span.path)}#{span.visit} {span.error or ''}".strip()
        for span in trace.spans
    ]
    lines += [f"{v.id} = {steady(v.value)} ({v.role}){f' {v.site}' if v.site else ''}" for v in trace.variables]
    lines += [f"{e.source} -> {e.target} by {e.span} {e.via}{'' if e.weight == 1.0 else '?'}" for e in trace.edges]
    return "\n".join(lines)


def steady(value: Any) -> Any:
    """A value without the ids that are drawn for each run."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key not in ("id", "run_id", "task")}
    return [steady(item) for item in value] if isinstance(value, list) else value


def span_of(trace: Trace, name: str, visit: int = 0, kind: str = "node") -> Any:
    """The Span of that name, visit and kind."""
    return next(s for s in trace.spans if s.name == name and s.visit == visit and s.kind == kind)
