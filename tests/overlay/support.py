"""Shared by the tests of this folder: graphs that hold their prompts in the four ways people use, and what their calls look like from outside."""

from __future__ import annotations

import asyncio
import warnings
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired, TypedDict

from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from textgrad_lg.errors import BudgetExhausted
from textgrad_lg.overlay import Replacement
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.types import ModelCall


class State(TypedDict):
    question: str
    answer: NotRequired[str]


class Chat(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    question: str


def change(old, new, **kwargs):
    slots = kwargs.get("slots", ())
    return Replacement(Template(old, slots), Template(new, slots, kwargs.get("demos", ())))


def one_node(node, name="ask", **kwargs) -> Any:
    graph = StateGraph(State)
    graph.add_node(name, node, **kwargs)
    graph.add_edge(START, name)
    graph.add_edge(name, END)
    return graph.compile()


OLD = "You are a terse judge."


def by_constant(model) -> Any:
    def node(state: State):
        reply = model.invoke([SystemMessage(OLD), HumanMessage(state["question"], id="q")])
        return {"answer": reply.text}

    return one_node(node)


def by_fstring(model) -> Any:
    def node(state: State):
        prompt = f"Question: {state['question']}. Answer in one line."
        return {"answer": model.invoke([HumanMessage(prompt)]).text}

    return one_node(node)


def by_template(model) -> Any:
    chain = ChatPromptTemplate.from_messages([("system", "Be {tone}."), ("human", "{question}")]) | model

    def node(state: State):
        return {"answer": chain.invoke({"tone": "calm", "question": state["question"]}).text}

    return one_node(node)


@tool
def lookup(key: str) -> str:
    """Look a key up."""
    return f"value of {key}"


def by_agent(model) -> Any:
    agent = create_agent(model, [lookup], system_prompt=OLD, name="clerk")
    graph = StateGraph(Chat)
    graph.add_node("desk", agent)
    graph.add_edge(START, "desk")
    graph.add_edge("desk", END)
    return graph.compile()


@dataclass(frozen=True)
class Case:
    """A graph, its input, the texts laid over it, and the requests that must then be sent."""

    build: Any
    inputs: Any
    texts: Any
    sent: list[str]
    replies: Any = ("fine",)


CASES = {
    "constant": Case(
        by_constant,
        {"question": "Why?"},
        {Site(("ask",), "system"): change(OLD, "You are a kind judge.")},
        ["system: You are a kind judge.\nhuman: Why?"],
    ),
    "fstring": Case(
        by_fstring,
        {"question": "Why?"},
        {
            Site(("ask",), "human"): change(
                "Question: {q}. Answer in one line.", "Answer {q} in {{two}} lines, {q}.", slots=("q",)
            )
        },
        ["human: Answer Why? in {{two}} lines, Why?."],
    ),
    "template": Case(
        by_template,
        {"question": "Why?"},
        {
            Site(("ask",), "system"): change("Be {tone}.", "Stay {tone}, always.", slots=("tone",)),
            Site(("ask",), "human"): change("{question}", "{question} Think first.", slots=("question",)),
        },
        ["system: Stay calm, always.\nhuman: Why? Think first."],
    ),
    "agent": Case(
        by_agent,
        {"messages": [("human", "Why?")]},
        {Site(("desk", "model"), "system", agent="clerk"): change(OLD, f"{OLD} Use the tool.")},
        [
            f"system: {OLD} Use the tool.\nhuman: Why?\ntools: lookup",
            f"system: {OLD} Use the tool.\nhuman: Why?\nai: \ntool: value of k\ntools: lookup",
        ],
        ({"key": "k"}, "fine"),
    ),
}


def _drain(items):
    for _ in items:
        pass


async def _adrain(items):
    async for _ in items:
        pass


def _events_v3(graph, inputs, config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return graph.stream_events(inputs, config, version="v3").output


async def _aevents_v3(graph, inputs, config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = await graph.astream_events(inputs, config, version="v3")
        return await run.output()


WAYS = {
    "invoke": lambda g, x, c: g.invoke(x, c),
    "batch": lambda g, x, c: g.batch([x], c),
    "stream messages": lambda g, x, c: _drain(g.stream(x, c, stream_mode="messages", subgraphs=True)),
    "stream updates": lambda g, x, c: _drain(g.stream(x, c, stream_mode="updates")),
    "stream events v3": _events_v3,
    "ainvoke": lambda g, x, c: asyncio.run(g.ainvoke(x, c)),
    "astream messages": lambda g, x, c: asyncio.run(_adrain(g.astream(x, c, stream_mode="messages", subgraphs=True))),
    "astream updates": lambda g, x, c: asyncio.run(_adrain(g.astream(x, c, stream_mode="updates"))),
    "astream events v2": lambda g, x, c: asyncio.run(_adrain(g.astream_events(x, c, version="v2"))),
    "astream events v3": lambda g, x, c: asyncio.run(_aevents_v3(g, x, c)),
}


class Watcher(BaseCallbackHandler):
    """Notes the messages of each call as a callback handler sees them."""

    run_inline = True

    def __init__(self):
        self.calls = []

    def on_chat_model_start(self, serialized, messages, **kwargs):
        self.calls += [[(message.type, message.text) for message in prompt] for prompt in messages]


def sent(model):
    return [[(message.type, message.text) for message in request.messages] for request in model.requests]


@dataclass
class CountingMeter:
    """Admits up to `limit` calls, and notes how each was settled."""

    limit: int = 1_000
    admitted: list[ModelCall] = field(default_factory=list)
    settled: list[tuple[int | None, int | None]] = field(default_factory=list)

    def admit(self, call):
        if len(self.admitted) >= self.limit:
            raise BudgetExhausted(f"only {self.limit} calls are allowed")
        self.admitted.append(call)
        return _Ticket(self)


@dataclass
class _Ticket:
    meter: CountingMeter
    open: bool = True

    def settle(self, input_tokens, output_tokens):
        assert self.open, "settled twice"
        self.open = False
        self.meter.settled.append((input_tokens, output_tokens))


def scripted(*replies, **kwargs):
    return ScriptedChatModel(replies=replies or (lambda messages: "fine"), **kwargs)


def reply(text, usage=None):
    return AIMessage(text, usage_metadata=usage)
