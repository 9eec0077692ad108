"""Sync calls go on with the event loop of the call before, so that the connections of models' clients stay of use."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypedDict

import pytest
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph

from textgrad_lg import Evals, Example, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg.sync import is_stale, run_sync

NUMBER = ContextVar("number", default=0)


async def here():
    return asyncio.get_running_loop()


# Connections of models' clients


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "yes"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices, "usage": usage}
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@contextmanager
def serving():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield ChatOpenAI(model="m", base_url=url, api_key=lambda: "none", max_retries=0)
        finally:
            server.shutdown()
            thread.join()


class State(TypedDict, total=False):
    question: str
    answer: str


def asking(model) -> Any:
    async def ask(state: State):
        reply = await model.ainvoke([("system", "You answer."), ("human", state["question"])])
        return {"answer": reply.text}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    return graph.compile(name="asking")


def optimized(graph):
    examples = [Example(str(at), {"question": f"Is it {at}?"}, {"answer": "yes"}) for at in range(12)]
    return optimize(
        graph,
        Evals(examples, [lambda outputs, reference_outputs: outputs["answer"] == reference_outputs["answer"]]),
        settings=Settings(steps=1, batch=3, concurrency=2, strategy=Strategy.STRUCTURAL),
        registry=MemoryRegistry(),
    )


# Run in processes of their own: nobody closes the client, so pytest would be told of its connections as left open.


def twice():
    with serving() as model:
        for _ in range(2):
            assert not optimized(asking(model)).raised


def twice_in_a_running_loop():
    async def notebook():
        twice()

    asyncio.run(notebook())


def after_asyncio_run():
    with serving() as model:
        graph = asking(model)
        asyncio.run(graph.abatch([{"question": "?"}] * 6))
        assert not optimized(graph).raised


@pytest.mark.loopback
@pytest.mark.parametrize("case", [twice, twice_in_a_running_loop, after_asyncio_run])
def test_connections_of_an_earlier_call_are_of_use(case):
    script = f"from tests import test_sync; test_sync.{case.__name__}()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


# The loop


def test_calls_from_the_main_thread_share_a_loop():
    assert run_sync(here()) is run_sync(here())


async def test_calls_from_within_a_running_loop_share_another():
    mine = asyncio.get_running_loop()
    first, second = run_sync(here()), run_sync(here())
    assert first is second
    assert first is not mine


def test_a_call_from_within_a_run_has_a_loop_of_its_own():
    async def outer():
        def inner():
            return run_sync(here())

        return [inner(), inner(), await asyncio.to_thread(inner), asyncio.get_running_loop()]

    async def within():
        return run_sync(outer())

    for loops in (run_sync(outer()), run_sync(within())):
        assert all(loop is not loops[-1] for loop in loops[:-1])


def test_a_call_from_another_thread_has_a_loop_that_is_closed_after_it():
    found = []
    thread = threading.Thread(target=lambda: found.append(run_sync(here())))
    thread.start()
    thread.join()
    assert found[0] is not run_sync(here())
    assert found[0].is_closed()


def test_what_the_coroutine_leaves_behind_is_cancelled():
    ended, kept = [], []

    async def left():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("left")

    async def leaves():
        kept.append(asyncio.create_task(left()))
        await asyncio.sleep(0)

    run_sync(leaves())
    assert ended == ["left"]


def test_an_error_is_the_very_object_and_the_loop_goes_on():
    error = ValueError("mine")

    async def fails():
        raise error

    before = run_sync(here())
    with pytest.raises(ValueError, match="mine") as caught:
        run_sync(fails())
    assert caught.value is error
    assert run_sync(here()) is before


def test_after_an_interrupt_there_is_another_loop():
    async def interrupted():
        raise KeyboardInterrupt

    before = run_sync(here())
    with pytest.raises(KeyboardInterrupt):
        run_sync(interrupted())
    assert before.is_closed()
    assert run_sync(here()) is not before


@pytest.mark.parametrize("inside", [False, True])
def test_the_callers_context_is_seen(inside):
    async def number():
        return NUMBER.get(), await asyncio.to_thread(NUMBER.get)

    async def within():
        return run_sync(number())

    NUMBER.set(7)
    try:
        assert (asyncio.run(within()) if inside else run_sync(number())) == (7, 7)
    finally:
        NUMBER.set(0)


def forked(before, results):
    loop = run_sync(here())
    results.put((id(loop) == before, os.getpid()))


def test_a_fork_has_a_loop_of_its_own():
    before = run_sync(here())
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=forked, args=(id(before), results))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    same, process = results.get()
    assert not same
    assert process != os.getpid()
    assert run_sync(here()) is before


def test_nothing_is_left_open_when_the_process_ends():
    script = "import asyncio; from textgrad_lg.sync import run_sync; run_sync(asyncio.sleep(0))"
    inside = "\nasync def f(): run_sync(asyncio.sleep(0))\nasyncio.run(f())"
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", script + inside]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    # asyncio also tells there what took long, which depends on the machine.
    told = [
        line for line in done.stderr.splitlines() if not re.fullmatch(r"Executing <Task .* took [\d.]+ seconds", line)
    ]
    assert (done.returncode, told) == (0, [])


def test_what_a_stale_connection_is():
    closed = RuntimeError("Event loop is closed")
    wrapped = ValueError("no connection")
    wrapped.__cause__ = closed
    assert is_stale(closed)
    assert is_stale(wrapped)
    assert not is_stale(RuntimeError("something else"))
    assert not is_stale(None)
    circle = ValueError("a")
    circle.__context__ = other = ValueError("b")
    other.__context__ = circle
    assert not is_stale(circle)
