"""What of a graph cannot be reached, named with what to do about it."""

from __future__ import annotations

import concurrent.futures
import threading
from concurrent.futures import ThreadPoolExecutor as Pool
from types import ModuleType
from typing import Any, TypedDict

import openai
import pytest
from inline_snapshot import snapshot
from langchain.agents import create_agent
from langchain_core.messages import SystemMessage
from langchain_core.runnables.config import ContextThreadPoolExecutor, run_in_executor
from langgraph.graph import END, START, StateGraph
from openai import OpenAI

from textgrad_lg.errors import NoPromptFound
from textgrad_lg.record import discover, record
from textgrad_lg.record.unreachable import unreachable
from textgrad_lg.testing import ScriptedChatModel


class State(TypedDict, total=False):
    topic: str
    answer: str


MODEL = ScriptedChatModel(replies=lambda messages: "fine")
CLIENT = OpenAI(api_key="none", base_url="http://127.0.0.1:9")

CLIENT_WORDS = (
    "calls a model through the package `{}`, past langchain-core: such calls are not recorded and get no new text. "
    "Call the model through a LangChain chat model"
)
THREAD_WORDS = (
    "starts threads of its own (`{}`): a model call in them is outside the recording and the overlay. Use "
    "asyncio.to_thread or LangChain's ContextThreadPoolExecutor, or run the graph under textgrad_lg.carry_context()"
)
UNVISITED_WORDS = "no recorded run reached node `{}`, which calls a model, and its code shows no prompt; add an example that reaches it"


class Completion:
    """Stands for a client of a package that is not installed."""

    __module__ = "litellm.main"

    def __call__(self, **kwargs: Any) -> str:
        return "Do not look into libraries such as this one."


litellm = ModuleType("litellm")
litellm.completion = Completion()  # type: ignore[attr-defined]
completion = Completion()


class Holder:
    def __init__(self):
        self.held = CLIENT

    def __call__(self, state):
        return {"answer": str(self.held.chat)}


def by_module(state):
    return openai.chat.completions.create(model="x", messages=[])


def by_object(state):
    return CLIENT.chat.completions.create(model="x", messages=[])


def by_function(state):
    return completion(model="x", messages=[])


def by_fake_module(state):
    return litellm.completion(model="x")


def by_import(state):
    from openai import AsyncOpenAI

    return AsyncOpenAI()


def by_nested_import(state):
    def inner():
        from google import genai  # pyright: ignore[reportAttributeAccessIssue, reportMissingImports]

        return genai.Client()

    return inner()


def by_helper(state):
    return by_object(state)


def in_a_thread(state):
    threading.Thread(target=print).start()


def in_a_pool(state):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(print)


def in_an_alias(state):
    with Pool() as pool:
        pool.submit(print)


def in_an_imported_pool(state):
    from concurrent.futures import ThreadPoolExecutor

    ThreadPoolExecutor().submit(print)


async def in_the_loop(state):
    import asyncio

    await asyncio.get_running_loop().run_in_executor(None, print)


async def in_threads_with_context(state):
    await run_in_executor(None, print)
    with ContextThreadPoolExecutor() as pool, threading.Lock():
        pool.submit(print)


def graph_of(**nodes: Any) -> Any:
    build: Any = StateGraph(State)
    for name, node in nodes.items():
        build.add_node(name, node)
    for first, then in zip((START, *nodes), (*nodes, END), strict=True):
        build.add_edge(first, then)
    return build.compile()


@pytest.mark.parametrize(
    ("node", "package", "where"),
    [
        (by_module, "openai", "by_module"),
        (by_object, "openai", "by_object"),
        (by_function, "litellm", "by_function"),
        (by_fake_module, "litellm", "by_fake_module"),
        (by_import, "openai", "by_import"),
        (by_nested_import, "google.genai", "by_nested_import"),
        (by_helper, "openai", "by_object"),
        (Holder(), "openai", "Holder.__call__"),
    ],
)
def test_a_raw_client_is_named_with_its_node(node, package, where):
    assert unreachable(graph_of(desk=node)) == (f"node `desk` (`{__name__}.{where}`) {CLIENT_WORDS.format(package)}",)


@pytest.mark.parametrize(
    ("node", "starter"),
    [
        (in_a_thread, "Thread"),
        (in_a_pool, "ThreadPoolExecutor"),
        (in_an_alias, "ThreadPoolExecutor"),
        (in_an_imported_pool, "ThreadPoolExecutor"),
        (in_the_loop, "run_in_executor"),
    ],
)
def test_raw_threads_are_named_with_their_node(node, starter):
    assert unreachable(graph_of(desk=node)) == (
        f"node `desk` (`{__name__}.{node.__name__}`) {THREAD_WORDS.format(starter)}",
    )


def test_what_can_be_reached_is_not_named():
    def ask(state):
        return {"answer": MODEL.invoke([SystemMessage("Be brief about it."), state["topic"]]).text}

    assert unreachable(graph_of(ask=ask, threads=in_threads_with_context)) == ()
    agent = create_agent(ScriptedChatModel(replies=["x"]), [])
    assert unreachable(agent) == ()


def hidden(state):
    return {"answer": MODEL.invoke(state["topic"]).text}


def by_name(state):
    from langchain.chat_models import init_chat_model

    return {"answer": init_chat_model("openai:x").invoke(state["topic"]).text}


class TestPromptsThatCodeDoesNotShow:
    @pytest.mark.parametrize("node", [hidden, by_name])
    def test_before_a_run(self, node):
        (text,) = unreachable(graph_of(desk=node))
        assert text.endswith("calls a model, and its code shows no prompt; a run will tell what it sends")

    def test_after_runs_only_where_none_came(self):
        graph = graph_of(desk=hidden)
        assert unreachable(graph, {("desk",)}) == ()
        assert unreachable(graph, {("other",)}) == (UNVISITED_WORDS.format("desk"),)


class TestDiscovery:
    def test_warns_of_each_place(self):
        def ask(state):
            return {"answer": MODEL.invoke([SystemMessage("Be brief about it."), state["topic"]]).text}

        build: Any = StateGraph(State)
        for name, node in {"ask": ask, "far": hidden, "raw": by_object}.items():
            build.add_node(name, node)
        build.add_conditional_edges(START, lambda state: "ask", ["ask", "far", "raw"])
        graph = build.compile()
        assert [text.partition(" (")[0] for text in discover((), graph).warnings] == [
            "node `raw`",
            "node `far` calls a model, and its code shows no prompt; a run will tell what it sends",
        ]
        with record() as recording:
            graph.invoke({"topic": "x"})
        assert [text.partition(" (")[0] for text in discover(recording.traces, graph).warnings] == [
            "node `raw`",
            UNVISITED_WORDS.format("far"),
        ]

    def test_a_graph_with_nothing_else_says_so_too(self):
        with pytest.raises(NoPromptFound) as error:
            discover((), graph_of(desk=by_import))
        assert str(error.value) == snapshot(
            "no prompt was found; looked at the code of the graph's nodes. To find prompts that code does not show, run the graph inside `record()` and pass its traces. Also: node `desk` (`tests.record.test_unreachable.by_import`) calls a model through the package `openai`, past langchain-core: such calls are not recorded and get no new text. Call the model through a LangChain chat model."
        )
