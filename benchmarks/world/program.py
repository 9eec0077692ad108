"""The programs that are optimised: ordinary LangGraph graphs, one for each kind of world."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast

from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Send

from benchmarks.world.orders import voucher_worth
from benchmarks.world.task import Kind
from benchmarks.world.world import FIRST_VISIT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from langchain_core.language_models import BaseChatModel
    from langgraph.graph.state import CompiledStateGraph

    Step = Callable[..., Awaitable[str]]

_LINE = re.compile(r"\d+ x \w+ at [\d.]+(?: \([a-z ]+\))?")


class State(TypedDict):
    """What the nodes read and write; each graph uses some of it."""

    question: str
    read: str
    price: str
    check: str
    answer: str
    visit: int
    line: str
    made: Annotated[list[str], operator.add]
    turns: Annotated[list[AnyMessage], add_messages]


@tool
def voucher(code: str) -> str:
    """Tell what a voucher is worth."""
    return voucher_worth(code)


def build(described: Mapping[str, Any], model: BaseChatModel) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The program of a world, as `GET /control/task` describes it, with `model` for its calls."""
    nodes = {node["name"]: node for node in described["nodes"]}

    async def say(name: str, text: str) -> str:
        node = nodes[name]
        reply = await model.ainvoke([SystemMessage(node["prompt"]), HumanMessage(f"{node['marker']}\n{text}")])
        return reply.text

    kind = Kind(described["kind"])
    builders = {Kind.LOOP: _loop, Kind.SEND: _send}
    if kind is Kind.TOOLS:
        return _tools(say, nodes["price"], model)
    return builders.get(kind, _pipeline)(say)


def _reading(say: Step) -> StateGraph[Any, Any, Any, Any]:
    """A graph with the node that all of them begin with."""

    async def read(state: State) -> dict[str, Any]:
        return {"read": await say("read", state["question"])}

    graph = StateGraph[Any, Any, Any, Any](State)
    graph.add_node("read", read)
    graph.add_edge(START, "read")
    return graph


def _pipeline(say: Step) -> CompiledStateGraph[Any, Any, Any, Any]:
    """read, price, reply."""

    async def price(state: State) -> dict[str, Any]:
        return {"price": await say("price", state["read"])}

    async def reply(state: State) -> dict[str, Any]:
        return {"answer": await say("reply", state["price"])}

    graph = _reading(say)
    graph.add_node("price", price)
    graph.add_node("reply", reply)
    graph.add_edge("read", "price")
    graph.add_edge("price", "reply")
    graph.add_edge("reply", END)
    return graph.compile()


def _loop(say: Step) -> CompiledStateGraph[Any, Any, Any, Any]:
    """read, price, check; from there back to price once, then to reply."""

    async def price(state: State) -> dict[str, Any]:
        visit = state.get("visit", 0) + 1
        remark = f"\n{state['check']}" if state.get("check") else ""
        return {"price": await say("price", state["read"] + remark), "visit": visit}

    async def check(state: State) -> dict[str, Any]:
        visit = FIRST_VISIT if state["visit"] == 1 else "[visit 2]"
        return {"check": await say("check", f"{visit}\n{state['price']}")}

    async def reply(state: State) -> dict[str, Any]:
        return {"answer": await say("reply", state["check"])}

    def back(state: State) -> str:
        return "price" if state["visit"] == 1 else "reply"

    graph = _reading(say)
    graph.add_node("price", price)
    graph.add_node("check", check)
    graph.add_node("reply", reply)
    graph.add_edge("read", "price")
    graph.add_edge("price", "check")
    graph.add_conditional_edges("check", back, ["price", "reply"])
    graph.add_edge("reply", END)
    return graph.compile()


def _send(say: Step) -> CompiledStateGraph[Any, Any, Any, Any]:
    """read, then one visit of `line` for each line of the order, then reply."""

    async def line(state: State) -> dict[str, Any]:
        return {"made": [await say("line", state["line"])]}

    async def reply(state: State) -> dict[str, Any]:
        return {"answer": await say("reply", "\n".join(state["made"]))}

    def fan_out(state: State) -> list[Send]:
        head = state["read"].partition(":")[0]
        return [Send("line", {"line": f"{head}: {one}."}) for one in _LINE.findall(state["read"])]

    graph = _reading(say)
    graph.add_node("line", line)
    graph.add_node("reply", reply)
    graph.add_conditional_edges("read", fan_out, ["line"])
    graph.add_edge("line", "reply")
    graph.add_edge("reply", END)
    return graph.compile()


def _tools(say: Step, node: Mapping[str, str], model: BaseChatModel) -> CompiledStateGraph[Any, Any, Any, Any]:
    """read; price, which may call a tool and is then asked again; reply."""
    with_tools = model.bind_tools([voucher])

    async def price(state: State) -> dict[str, Any]:
        messages = [SystemMessage(node["prompt"]), HumanMessage(f"{node['marker']}\n{state['read']}")]
        return {"turns": [cast("AnyMessage", await with_tools.ainvoke([*messages, *state.get("turns", ())]))]}

    async def reply(state: State) -> dict[str, Any]:
        return {"answer": await say("reply", state["turns"][-1].text)}

    def called(state: State) -> str:
        return "tools" if getattr(state["turns"][-1], "tool_calls", None) else "reply"

    graph = _reading(say)
    graph.add_node("price", price)
    graph.add_node("tools", ToolNode([voucher], messages_key="turns"))
    graph.add_node("reply", reply)
    graph.add_edge("read", "price")
    graph.add_conditional_edges("price", called, ["tools", "reply"])
    graph.add_edge("tools", "price")
    graph.add_edge("reply", END)
    return graph.compile()
