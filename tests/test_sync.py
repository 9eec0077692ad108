"""Sync runs share one event loop: what they leave on it, and what becomes of them where it cannot be had."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypedDict

import pytest
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph

from textgrad_lg import Evals, Example, MemoryRegistry, Settings, Strategy, optimize, sync
from textgrad_lg.events import Warned
from textgrad_lg.sync import run_sync

NUMBER = ContextVar("number", default=0)


async def here():
    return asyncio.get_running_loop()


def shared():
    return run_sync(here())


@pytest.fixture
def ctrl_c(monkeypatch):
    """Makes the next waits of `run_sync` in this thread raise KeyboardInterrupt, each once its event is set."""
    wait, due, me = threading.Event.wait, [], threading.get_ident()

    def waiting(self, timeout=None):
        if timeout == sync._LOOK and due and threading.get_ident() == me:
            assert wait(due.pop(0), 60)
            raise KeyboardInterrupt
        return wait(self, timeout)

    monkeypatch.setattr(threading.Event, "wait", waiting)
    return due.append


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
        # Its connections are in a client that langchain_openai keeps for the process.
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


def optimized(graph, events=None):
    examples = [Example(str(at), {"question": f"Is it {at}?"}, {"answer": "yes"}) for at in range(12)]

    def right(outputs, reference_outputs):
        return outputs == {**outputs, **reference_outputs}

    return optimize(
        graph,
        Evals(examples, [right]),
        settings=Settings(steps=1, batch=3, concurrency=2, strategy=Strategy.STRUCTURAL),
        registry=MemoryRegistry(),
        callbacks=[] if events is None else [events.append],
    )


# The tests below are processes of their own: the client is never closed, so its connections would be told of as left open
# when pytest ends.


def twice():
    with serving() as model:
        for _ in range(2):
            result = optimized(asking(model))
            assert not result.raised
            assert result.spend.total.calls >= 3


def after_asyncio_run():
    with serving() as model:
        graph, events = asking(model), []
        asyncio.run(graph.abatch([{"question": "?"}] * 6))
        assert not optimized(graph, events).raised
        [warned] = [event.message for event in events if isinstance(event, Warned) and "event loop" in event.message]
        assert "asyncio.run" in warned


def explained():
    with serving() as model:
        asyncio.run(model.ainvoke("?"))
        with pytest.raises(RuntimeError, match="Event loop is closed") as raised:
            run_sync(model.ainvoke("?"))
        assert [note for note in raised.value.__notes__ if "asyncio.run" in note]
        assert run_sync(model.ainvoke("?")).text == "yes"


@pytest.mark.loopback
@pytest.mark.parametrize("work", [twice, after_asyncio_run, explained])
def test_connections_of_a_models_client(work):
    status, _, error = child(f"from tests import test_sync; test_sync.{work.__name__}()")
    assert status == 0, error


def test_a_closed_loop_is_found_behind_the_error_of_a_client():
    error = ConnectionError("Connection error.")
    error.__cause__ = RuntimeError("Event loop is closed")
    assert sync.is_stale(error)
    error.__cause__ = RuntimeError("Event loop is open")
    assert not sync.is_stale(error)
    assert not sync.is_stale(None)


# One loop


def test_all_calls_run_on_one_loop_in_a_thread_of_its_own():
    async def thread():
        return threading.current_thread()

    async def inside():
        return shared()

    first = shared()
    assert shared() is first
    assert asyncio.run(inside()) is first
    assert run_sync(thread()).daemon
    assert run_sync(thread()) is not threading.current_thread()


def test_threads_that_call_at_once_share_it():
    together = []
    everybody = threading.Event()

    async def meet():
        together.append(asyncio.get_running_loop())
        if len(together) == 3:
            everybody.set()
        await asyncio.to_thread(everybody.wait, 60)
        return len(together)

    with ThreadPoolExecutor(3) as pool:
        assert [future.result(60) for future in [pool.submit(run_sync, meet()) for _ in range(3)]] == [3, 3, 3]
    assert len({id(loop) for loop in together}) == 1


def test_the_callers_context_is_seen_and_not_changed():
    async def change():
        seen = NUMBER.get()
        NUMBER.set(seen + 1)
        return seen, await asyncio.to_thread(NUMBER.get)

    token = NUMBER.set(4)
    try:
        assert run_sync(change()) == (4, 5)
        assert NUMBER.get() == 4
    finally:
        NUMBER.reset(token)


def test_what_one_run_sets_on_the_loop_is_gone_in_the_next():
    async def spoil():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda *_, **__: pytest.fail("used"))
        loop.set_exception_handler(lambda *_: pytest.fail("used"))
        pool = ThreadPoolExecutor(1)
        loop.set_default_executor(pool)
        pool.shutdown()
        loop.stop()

    async def use():
        assert asyncio.get_running_loop().get_exception_handler() is None
        return await asyncio.create_task(asyncio.to_thread(lambda: 7))

    run_sync(spoil())
    assert run_sync(use()) == 7


# What a run leaves behind


async def for_ever(ended):
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        ended.append(1)


async def tasks():
    return len(asyncio.all_tasks())


@pytest.mark.parametrize("fails", [False, True])
def test_tasks_that_are_left_are_cancelled_and_waited_for(fails):
    ended, kept = [], []

    async def leave():
        loop = asyncio.get_running_loop()

        def without_context():
            asyncio.run_coroutine_threadsafe(for_ever(ended), loop)

        thread = threading.Thread(target=without_context)
        thread.start()
        kept.append(asyncio.create_task(for_ever(ended)))
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)
        if fails:
            raise KeyError

    if fails:
        with pytest.raises(KeyError):
            run_sync(leave())
    else:
        run_sync(leave())
    assert ended == [1, 1]
    assert run_sync(tasks()) == 1


def test_tasks_of_another_run_are_left_alone():
    ended, begun, go_on = [], threading.Event(), threading.Event()

    async def long():
        task = asyncio.create_task(for_ever(ended))
        await asyncio.sleep(0)
        begun.set()
        await asyncio.to_thread(go_on.wait, 60)
        return task.done()

    async def short():
        asyncio.get_running_loop().call_soon(asyncio.create_task, for_ever(ended))
        await asyncio.sleep(0)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(run_sync, long())
        assert begun.wait(60)
        run_sync(short())
        assert ended == [1]
        go_on.set()
        assert other.result(60) is False
    assert ended == [1, 1]


def test_what_a_task_raises_when_it_is_cancelled_is_logged(caplog):
    kept = []

    async def stubborn():
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("mine")

    async def leave():
        kept.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)
        return 7

    with caplog.at_level(logging.ERROR, "asyncio"):
        assert run_sync(leave()) == 7
    assert "KeyError: 'mine'" in caplog.text


def test_an_async_generator_that_is_not_read_on_is_closed():
    closed = threading.Event()

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.set()

    async def read():
        found = []
        async for number in numbers():
            found.append(number)
            break
        return found

    assert run_sync(read()) == [1]
    assert closed.wait(60)


def test_a_thread_that_is_left_starts_nothing_on_the_loop_any_more():
    """Where the loop had been the run's own, it found it closed."""
    go_on, found = threading.Event(), []

    def late(loop):
        assert go_on.wait(60)
        coroutine = here()
        try:
            asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)
        except BaseException as error:
            found.append(type(error).__name__)
        try:
            asyncio.run(in_pool())
        finally:
            coroutine.close()

    async def in_pool():
        found.append(await asyncio.to_thread(lambda: 7))

    async def leave():
        thread = threading.Thread(target=copy_context().run, args=(late, asyncio.get_running_loop()))
        thread.start()
        return thread

    thread = run_sync(leave())
    go_on.set()
    thread.join(60)
    assert found == ["CancelledError", 7]


# Exceptions that end the loop's turn


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("awaited", [True, False])
def test_exceptions_that_end_a_process_come_back_and_the_loop_goes_on(kind, awaited):
    error, ended, begun, go_on = kind(3), [], threading.Event(), threading.Event()
    loop = shared()

    async def raising():
        raise error

    async def run():
        task = asyncio.create_task(raising())
        await (task if awaited else for_ever(ended))

    async def other():
        begun.set()
        return await asyncio.to_thread(go_on.wait, 60)

    with ThreadPoolExecutor(1) as pool:
        unhurt = pool.submit(run_sync, other())
        assert begun.wait(60)
        with pytest.raises(kind) as raised:
            run_sync(run())
        go_on.set()
        assert unhurt.result(60)
    assert raised.value is error
    assert ended == [] if awaited else [1]
    assert shared() is loop


# Where the loop is held up


def test_a_coroutine_on_the_loop_calls_and_so_does_what_it_calls():
    loops = []

    async def innermost():
        loops.append(asyncio.get_running_loop())
        return 7

    async def inner():
        loops.append(asyncio.get_running_loop())
        # In a thread, and in a loop that waits meanwhile.
        return await asyncio.to_thread(lambda: run_sync(innermost())) + run_sync(innermost())

    async def outer():
        loops.append(asyncio.get_running_loop())
        return run_sync(inner()) + run_sync(inner())

    assert run_sync(outer()) == 28
    assert loops[0] is shared()
    assert loops[0] not in loops[1:]
    assert all(loop.is_closed() for loop in loops[1:])


def test_a_coroutine_that_waits_for_a_thread_which_calls(monkeypatch):
    monkeypatch.setattr(sync, "_HELD_UP", 0.05)

    async def outer():
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda _: run_sync(here()), range(3)))

    loops = run_sync(outer())
    assert shared() not in loops
    assert all(loop.is_closed() for loop in loops)


def test_an_error_of_a_call_from_the_loop_is_the_very_object():
    error = KeyError("mine")

    async def raising():
        raise error

    async def outer():
        run_sync(raising())

    with pytest.raises(KeyError) as raised:
        run_sync(outer())
    assert raised.value is error


# Ctrl-C


def test_a_call_after_ctrl_c_has_threads_again(ctrl_c):
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def block():
        begun.set()
        return go_on.wait(60)

    async def blocked():
        try:
            await asyncio.gather(*(asyncio.to_thread(block) for _ in range(70)))
        finally:
            ended.append(1)

    async def again():
        return await asyncio.to_thread(lambda: 7)

    ctrl_c(begun)
    with pytest.raises(KeyboardInterrupt):
        run_sync(blocked())
    assert ended == [1]
    assert run_sync(again()) == 7
    assert run_sync(tasks()) == 1
    go_on.set()


def test_ctrl_c_reaches_a_call_that_holds_up_the_loop(ctrl_c, capsys):
    begun, ended = threading.Event(), []

    async def inner():
        begun.set()
        try:
            await for_ever(ended)
        except asyncio.CancelledError as error:
            error.add_note("go on like this")
            raise

    async def outer():
        run_sync(inner())

    ctrl_c(begun)
    with pytest.raises(KeyboardInterrupt):
        run_sync(outer())
    assert ended == [1]
    assert capsys.readouterr().err.count("go on like this") == 1


def test_a_second_ctrl_c_leaves_at_once_and_the_loop_comes_back(ctrl_c, monkeypatch):
    monkeypatch.setattr(sync, "_HELD_UP", 0.05)
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    loop = shared()

    async def blocking():
        begun.set()
        assert go_on.wait(60)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    ctrl_c(begun)
    ctrl_c(begun)
    with pytest.raises(KeyboardInterrupt):
        run_sync(blocking())
    assert not ended.is_set()
    assert shared() is not loop  # a call is made beside it
    go_on.set()
    assert ended.wait(60)
    while shared() is not loop:
        pass


def test_ctrl_c_before_the_run_has_begun(monkeypatch):
    wait, me = threading.Event.wait, threading.get_ident()
    begun, go_on = threading.Event(), threading.Event()

    async def blocking():
        begun.set()
        wait(go_on, 60)

    def interrupted(self, timeout=None):
        if timeout == 1234 and threading.get_ident() == me:
            raise KeyboardInterrupt
        return wait(self, timeout)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(run_sync, blocking())
        assert begun.wait(60)
        monkeypatch.setattr(sync, "_HELD_UP", 1234)
        monkeypatch.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_sync(here())  # no warning that it was never awaited
        go_on.set()
        other.result(60)


def test_a_run_that_is_stopped_before_its_first_step():
    job = sync._Job(here())
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        job.run()  # no warning that it was never awaited
    assert run_sync(tasks()) == 1


# Processes

PROGRAM = """
import asyncio, os, sys, warnings
import textgrad_lg.sync
assert not textgrad_lg.sync._LOOPS
from textgrad_lg.sync import run_sync

async def work():
    asyncio.create_task(asyncio.sleep(60))
    return await asyncio.to_thread(lambda: run_sync(asyncio.sleep(0, 6))) + run_sync(asyncio.sleep(0, 1))

assert run_sync(work()) == 7
"""
FORK = """
loop = textgrad_lg.sync._LOOPS[os.getpid()]
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # newer versions of Python say that there are threads
    child = os.fork()
if not child:
    assert run_sync(work()) == 7
    assert textgrad_lg.sync._LOOPS[os.getpid()] is not loop
    sys.exit(5)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
assert run_sync(work()) == 7
"""


def child(program, *options):
    command = [sys.executable, *options, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("program", [PROGRAM, PROGRAM + FORK], ids=["plain", "fork"])
def test_nothing_is_said_when_a_process_ends_and_a_fork_has_a_loop_of_its_own(program):
    assert child(program, "-W", "error", "-X", "dev") == (0, "", "")
