"""Shared by the tests of this folder: models that never say the same twice, graphs on them, and what a run looked like."""

from __future__ import annotations

import itertools
import operator
import re
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph

from textgrad_lg.overlay import Replacement
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel

USED: Any = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}


def noisy(**options) -> ScriptedChatModel:
    """A model that numbers its replies: an answer from memory and a new one cannot be mistaken for each other."""
    number = itertools.count(1)
    return ScriptedChatModel(
        replies=lambda messages: AIMessage(
            f"reply {next(number)} to <{messages[-1].text}>",
            usage_metadata=USED,
            response_metadata={"finish_reason": "stop"},
        ),
        **options,
    )


class NoStreaming(ScriptedChatModel):
    """A model whose `stream` falls back to `invoke`."""

    _stream = BaseChatModel._stream
    _astream = BaseChatModel._astream


class State(TypedDict, total=False):
    question: str
    said: Annotated[dict[str, str], operator.or_]


def speaker(model, name, reads=(), call=lambda model, messages: model.invoke(messages)):
    """A node with a prompt of its own that passes on what other nodes said."""

    def node(state: State):
        given = " | ".join([state["question"], *(state["said"][each] for each in reads)])
        return {"said": {name: call(model, [SystemMessage(f"You are {name}."), HumanMessage(given)]).text}}

    return node


def network(model, reads, call=None) -> Any:
    """A graph with a node for each key of `reads`, which hears the nodes it is mapped to."""
    graph = StateGraph(State)
    options = {} if call is None else {"call": call}
    for name, heard in reads.items():
        graph.add_node(name, speaker(model, name, heard, **options))
    for name, heard in reads.items():
        graph.add_edge(list(heard) or START, name)
    for name in reads:
        if not any(name in heard for heard in reads.values()):
            graph.add_edge(name, END)
    return graph.compile()


def chain(model, length=6, **options) -> Any:
    """n1 -> n2 -> ... where each hears the one before it."""
    return network(model, {f"n{at}": [f"n{at - 1}"] if at > 1 else [] for at in range(1, length + 1)}, **options)


def edit(name, text=None):
    """The texts that change one node's prompt."""
    old = f"You are {name}."
    return {Site((name,), "system"): Replacement(Template(old), Template(text or f"{old} Be brief."))}


def plain(trace):
    """A Trace as JSON, without what differs from run to run: times, and ids made from LangChain's run ids."""
    text = re.sub(r"lc_run-[-0-9a-f]+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22,}", "ID", trace.to_json())
    text = re.sub(r'"(start|end|started)": ?[-0-9.e]+', r'"\1":0', text)
    return re.sub(r'"id": ?"[0-9a-f]{32}"', '"id":"TRACE"', text)
