"""Tools that return a `Command`: one writes to the state beside its message, one hands over to another node of the graph around it."""

from __future__ import annotations

from typing import Annotated, Any

from langchain_core.messages import AIMessage, SystemMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, tools_condition
from langgraph.types import Command


class Desk(MessagesState):
    note: str


@tool
def take_note(text: Annotated[str, "What to remember."], call: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Remember something."""
    return Command(update={"note": f"noted: {text}", "messages": [ToolMessage("noted", tool_call_id=call)]})


@tool
def hand_over(
    reason: Annotated[str, "Why."],
    call: Annotated[str, InjectedToolCallId],
    state: Annotated[Any, InjectedState],
) -> Command[Any]:
    """Hand over to the boss."""
    messages = [*state["messages"], ToolMessage(f"handed over: {reason}", tool_call_id=call)]
    return Command(goto="boss", graph=Command.PARENT, update={"messages": messages})


def updates(model: Any) -> Any:
    """ask -> tools -> ask; the tool writes `note`, which the next prompt quotes."""
    bound = model.bind_tools([take_note])

    def ask(state: Desk) -> dict[str, Any]:
        prompt = SystemMessage(f"You take notes. The note now: {state.get('note', 'none')}")
        return {"messages": [bound.invoke([prompt, *state["messages"]])]}

    build: Any = StateGraph(Desk)
    build.add_node("ask", ask)
    build.add_node("tools", ToolNode([take_note]))
    build.add_edge(START, "ask")
    build.add_conditional_edges("ask", tools_condition)
    build.add_edge("tools", "ask")
    return build.compile()


def handoff(model: Any) -> Any:
    """desk (ask -> tools) -> boss: the tool ends the desk's run by a command to the graph around it."""
    bound = model.bind_tools([hand_over])

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [bound.invoke([SystemMessage("You are the desk."), *state["messages"]])]}

    def boss(state: MessagesState) -> dict[str, Any]:
        reply: AIMessage = model.invoke([SystemMessage("You are the boss."), *state["messages"]])
        return {"messages": [reply]}

    desk: Any = StateGraph(MessagesState)
    desk.add_node("ask", ask)
    desk.add_node("tools", ToolNode([hand_over]))
    desk.add_edge(START, "ask")
    desk.add_conditional_edges("ask", tools_condition)
    build: Any = StateGraph(MessagesState)
    build.add_node("desk", desk.compile(), destinations=("boss",))
    build.add_node("boss", boss)
    build.add_edge(START, "desk")
    return build.compile()
