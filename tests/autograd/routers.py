"""Graphs in which a model decides what runs next: the words of its decision flow into nothing."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send
from pydantic import BaseModel

from textgrad_lg.testing import Rule, SimulatedChatModel

TRIAGE = "You choose a desk: one or two."
WANTED = "Rules and permits belong to two."


class State(TypedDict, total=False):
    q: str
    desk: str
    count: int
    answer: str


def _answer(messages):
    said = messages[0].text
    if TRIAGE in said:
        return "one"
    return "It costs four." if "You know prices" in said else "It is allowed."


def _choose(reply, messages):
    return "two" if reply == "one" and "May" in messages[-1].text else reply


class Desks(SimulatedChatModel):
    """Chooses desk one, unless told what belongs to two; each desk knows its own field."""

    def _message(self, messages, options):
        made = super()._message(messages, options)
        # Where a schema is bound, the choice is its one field.
        if [at["function"]["name"] for at in options.get("tools") or ()] == ["Desk"]:
            call = {"name": "Desk", "args": {"desk": made.text}, "id": "c1", "type": "tool_call"}
            return AIMessage("", tool_calls=[call])
        return made


def model(**options):
    """The model of all these graphs."""
    return Desks(answer=_answer, rules=[Rule(WANTED, _choose)], **options)


def _asking(llm):
    def ask(prompt, q):
        return llm.invoke([SystemMessage(prompt), HumanMessage(q)]).text

    return ask


def _with_desks(llm, start: type = State):
    """A graph under construction that has the two desks between which is chosen."""
    ask = _asking(llm)
    graph: Any = StateGraph(start)
    graph.add_node("one", lambda state: {"answer": ask("You know prices.", state["q"])})
    graph.add_node("two", lambda state: {"answer": ask("You know rules.", state["q"])})
    return graph, ask


def by_edge(llm):
    """A conditional edge, which reads what the model wrote into the state."""
    graph, ask = _with_desks(llm)
    graph.add_node("triage", lambda state: {"desk": ask(TRIAGE, state["q"])})
    graph.add_edge(START, "triage")
    graph.add_conditional_edges("triage", lambda state: state["desk"], {"one": "one", "two": "two"})
    return graph.compile(name="by edge")


def by_router(llm):
    """A conditional edge whose router asks the model itself."""
    graph, ask = _with_desks(llm)
    graph.add_conditional_edges(START, lambda state: ask(TRIAGE, state["q"]), ["one", "two"])
    return graph.compile(name="by router")


def by_command(llm):
    """`Command(goto=...)`."""
    graph, ask = _with_desks(llm)

    def triage(state: State) -> Command[Literal["one", "two"]]:
        return Command(goto=ask(TRIAGE, state["q"]))  # pyright: ignore[reportArgumentType]  a model's words

    graph.add_node("triage", triage)
    graph.add_edge(START, "triage")
    return graph.compile(name="by command")


def by_schema(llm):
    """`Command(goto=...)` from structured output."""

    class Desk(BaseModel):
        """The desk to go to."""

        desk: Literal["one", "two"]

    graph, _ = _with_desks(llm)
    choosing = llm.with_structured_output(Desk)

    def triage(state: State):
        return Command(goto=choosing.invoke([SystemMessage(TRIAGE), HumanMessage(state["q"])]).desk)

    graph.add_node("triage", triage, destinations=("one", "two"))
    graph.add_edge(START, "triage")
    return graph.compile(name="by schema")


def by_send(llm):
    """`Send`, with nothing of the decision in what is sent."""
    graph, ask = _with_desks(llm)
    graph.add_node("triage", lambda state: {"desk": ask(TRIAGE, state["q"])})
    graph.add_edge(START, "triage")
    graph.add_conditional_edges("triage", lambda state: [Send(state["desk"], {"q": state["q"]})], ["one", "two"])
    return graph.compile(name="by send")


def by_handoff(llm):
    """A handoff tool, called in a subgraph, which leaves no message behind."""

    def hand_over(name):
        def go() -> Command:
            return Command(goto=name, graph=Command.PARENT)

        return tool(f"to_{name}", description=f"Go to desk {name}.")(go)

    tools = [hand_over("one"), hand_over("two")]

    def call(message):
        named = {"name": f"to_{message.text}", "args": {}, "id": "c1", "type": "tool_call"}
        return {"messages": [AIMessage("", tool_calls=[named])]}

    front: Any = StateGraph(MessagesState)
    front.add_node("ask", lambda state: call(llm.bind_tools(tools).invoke([SystemMessage(TRIAGE), *state["messages"]])))
    front.add_node("tools", ToolNode(tools))
    front.add_edge(START, "ask")
    front.add_edge("ask", "tools")

    class Both(MessagesState, total=False):
        q: str
        answer: str

    graph, _ = _with_desks(llm, Both)
    graph.add_node("triage", front.compile())
    graph.add_node("take", lambda state: {"messages": [HumanMessage(state["q"])]})
    graph.add_edge(START, "take")
    graph.add_edge("take", "triage")
    return graph.compile(name="by handoff")


def by_end(llm):
    """The first desk drafts; the model decides whether that is the end, or the second desk has to answer."""
    graph, ask = _with_desks(llm)
    graph.add_node("triage", lambda state: {"desk": ask(TRIAGE, state["q"])})
    graph.add_edge(START, "one")
    graph.add_edge("one", "triage")
    graph.add_conditional_edges(
        "triage", lambda state: "good" if state["desk"] == "one" else "again", {"good": END, "again": "two"}
    )
    return graph.compile(name="by end")


def by_detour(llm):
    """What the chosen node writes is not seen in what the node after it makes."""
    graph, ask = _with_desks(llm)
    graph.add_node("triage", lambda state: {"desk": ask(TRIAGE, state["q"])})
    graph.add_node("before_one", lambda _: {"count": 1})
    graph.add_node("before_two", lambda _: {"count": 2})
    graph.add_edge(START, "triage")
    graph.add_conditional_edges("triage", lambda state: f"before_{state['desk']}", ["before_one", "before_two"])
    graph.add_edge("before_one", "one")
    graph.add_edge("before_two", "two")
    return graph.compile(name="by detour")


def by_loop(llm):
    """The model decides twice; on its second visit it was to say what it said on its first."""
    graph, ask = _with_desks(llm)

    def triage(state) -> Command[Literal["one", "two"]]:
        return Command(goto=ask(TRIAGE, f"{state['q']} Turn {state.get('count', 0)}."))  # pyright: ignore[reportArgumentType]

    graph.add_node("triage", triage)
    graph.add_node("turn", lambda state: {"count": state.get("count", 0) + 1})
    graph.add_edge(START, "triage")
    graph.add_edge("one", "turn")
    graph.add_edge("two", "turn")
    graph.add_conditional_edges("turn", lambda state: END if state["count"] > 1 else "triage", ["triage", END])
    return graph.compile(name="by loop")


def into_an_error(llm):
    """The chosen node raises."""
    graph, ask = _with_desks(llm)

    def triage(state) -> Command[Literal["boom", "two"]]:
        return Command(goto="boom" if ask(TRIAGE, state["q"]) == "one" else "two")

    def boom(state):
        raise ValueError("this desk is closed")

    graph.add_node("triage", triage)
    graph.add_node("boom", boom)
    graph.add_edge(START, "triage")
    return graph.compile(name="into an error")


FORMS = {
    made.__name__: made
    for made in (by_edge, by_router, by_command, by_schema, by_send, by_handoff, by_end, by_detour, into_an_error)
}
"""One model call decides, and the run ends with what it chose."""
