"""Ctrl-C stops a run soon, keeps what was done, and says how to go on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from tests.run import worlds
from textgrad_lg import Evals, MemoryRegistry, Settings, SQLiteRegistry, Strategy, aoptimize, optimize, sync
from textgrad_lg.events import ExampleScored, RunFinished
from textgrad_lg.executor import Threads
from textgrad_lg.run.journal import Journal
from textgrad_lg.sync import run_sync

LONG = 50  # seconds that a call takes in the tests below: nobody waits for it
SETTINGS = Settings(steps=1, batch=6, concurrency=2, strategy=Strategy.STRUCTURAL)


def start(kind, run_dir, fast_calls, seconds):
    environment = {**os.environ, "FAST_CALLS": str(fast_calls), "SECONDS": str(seconds)}
    command = [sys.executable, "-m", "tests.run.slow", kind, str(run_dir)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", ["sync", "mixed", "judge", "loop"])
def test_ctrl_c_ends_the_process_says_how_to_go_on_and_keeps_what_was_paid_for(kind, tmp_path):
    run_dir = tmp_path / "run"
    # Nine rollouts are through when the model becomes slow; a judge doubles the calls.
    fast = 18 if kind == "judge" else 9
    with start(kind, run_dir, fast, LONG) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        # Far less than one call takes: neither the run nor the interpreter's end waits for it.
        out, err = process.communicate(timeout=LONG / 2)
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("textgrad_lg: the run was stopped") == 1
    assert f"call optimize with the same arguments and run_dir={str(run_dir)!r}" in err
    calls = int(re.fullmatch(r"calls (\d+)\n", out)[1])
    with Journal(run_dir) as journal:
        kept = journal.count("rollout")
        spend: Any = journal.get("run", "spend")
    assert kept >= 8
    # The calls under way have left the process, so they count.
    assert sum(phase["calls"] for phase in spend["phases"].values()) == calls

    if kind not in {"sync", "judge"}:
        return
    with start(kind, run_dir, 10_000, 0) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    found = re.fullmatch(r"improved True, (\d+) rollouts, (\d+) calls in all sessions\ncalls (\d+)\n", out)
    rollouts, total, again = map(int, found.groups())
    assert total == calls + again
    # No rollout was made twice: each that was paid for now is new in the journal.
    with Journal(run_dir) as journal:
        assert journal.count("rollout") == kept + rollouts


def one_node(model):
    def judge(state: worlds.State):
        return {"page": f"<p>{model.invoke([SystemMessage(worlds.JUDGE), HumanMessage(state['review'])]).text}</p>"}

    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    return graph.compile(name="one")


def told(outputs, reference_outputs):
    return outputs["page"] == reference_outputs["page"], worlds.WANTED


async def test_a_cancelled_task_stops_the_same_way_and_prints_nothing(tmp_path, capfd):
    waiting, go_on = threading.Event(), threading.Event()
    model = worlds.review_model()
    answer, made, events = model.answer, [], []

    def slowly(messages):
        made.append(messages)
        if len(made) > 9:
            waiting.set()
            assert go_on.wait(60)
        return answer(messages)

    model.answer = slowly
    registry = SQLiteRegistry(tmp_path / "registry.sqlite3")
    options = {"settings": SETTINGS, "registry": registry, "run_dir": tmp_path / "run"}
    evals = Evals(worlds.reviews(), [told])
    task = asyncio.create_task(aoptimize(one_node(model), evals, callbacks=[events.append], **options))
    await asyncio.to_thread(waiting.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stopped = len(made)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].error == "CancelledError"
    go_on.set()
    # The threads that waited for the model end with their call: another one would have been refused.
    for thread in [each for each in threading.enumerate() if re.fullmatch(r"textgrad-lg-\d+", each.name)]:
        await asyncio.to_thread(thread.join, 60)
        assert not thread.is_alive()
    assert len(made) == stopped
    assert capfd.readouterr() == ("", "")

    fresh = worlds.review_model()
    again = []
    result = await aoptimize(one_node(fresh), evals, callbacks=[again.append], **options)
    assert result.improved
    assert result.spend.total.calls == len(made) + len(fresh.requests)
    cached = [event.example for event in again if isinstance(event, ExampleScored) and event.cached]
    assert len(cached) >= 8


async def test_a_thread_of_the_graph_makes_no_further_call_after_the_stop(tmp_path):
    """A node that catches every exception and asks again would go on for ever."""
    waiting, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    model = worlds.review_model()
    answer = model.answer

    def slowly(messages):
        waiting.set()
        assert go_on.wait(60)
        return answer(messages)

    model.answer = slowly

    def judge(state: worlds.State):
        try:
            while True:
                try:
                    model.invoke([SystemMessage(worlds.JUDGE), HumanMessage(state["review"])])
                except Exception:
                    continue
        finally:
            ended.set()

    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    task = asyncio.create_task(
        aoptimize(graph.compile(), Evals(worlds.reviews(), [told]), settings=SETTINGS, registry=MemoryRegistry())
    )
    await asyncio.to_thread(waiting.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 60)
    assert len(model.requests) == 1


def test_inside_a_loop_a_second_way_to_be_interrupted(monkeypatch, capsys, tmp_path):
    """A notebook's Ctrl-C is a KeyboardInterrupt out of the wait for the run's thread."""
    waiting, go_on = threading.Event(), threading.Event()
    model = worlds.review_model()
    answer, real, due = model.answer, sync.wait, [True]

    def slowly(messages):
        waiting.set()
        assert go_on.wait(60)
        return answer(messages)

    model.answer = slowly

    def interrupted(futures, timeout=None):
        if due:
            due.clear()
            assert waiting.wait(60)
            raise KeyboardInterrupt
        return real(futures, timeout)

    monkeypatch.setattr(sync, "wait", interrupted)

    async def notebook():
        optimize(
            one_node(model),
            Evals(worlds.reviews(), [told]),
            settings=SETTINGS,
            registry=MemoryRegistry(),
            run_dir=tmp_path / "run",
        )

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(notebook())
    go_on.set()
    assert f"run_dir={str(tmp_path / 'run')!r}" in capsys.readouterr().err


def test_a_task_that_is_cancelled_while_it_waits_for_the_run(tmp_path, capsys):
    """Under `asyncio.run`, Ctrl-C cancels the task that called `optimize`, and raises nothing in it."""
    go_on, tasks = threading.Event(), []
    model = worlds.review_model()
    answer = model.answer

    def slowly(messages):
        tasks[0].cancel()
        assert go_on.wait(60)
        return answer(messages)

    model.answer = slowly

    async def main():
        tasks.append(asyncio.current_task())
        optimize(
            one_node(model),
            Evals(worlds.reviews(), [told]),
            settings=SETTINGS,
            registry=MemoryRegistry(),
            run_dir=tmp_path / "run",
        )

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    go_on.set()
    assert f"run_dir={str(tmp_path / 'run')!r}" in capsys.readouterr().err
    assert len(model.requests) <= 2


# The parts


def test_what_a_coroutine_returns_or_raises_comes_back_as_it_is():
    error = KeyError("mine")

    async def raising():
        raise error

    async def returning():
        return 7

    def called_back(found):
        found.append(run_sync(returning()))

    async def in_loop():
        found = []
        asyncio.get_running_loop().call_soon(called_back, found)  # a running loop, and no task
        await asyncio.sleep(0)
        with pytest.raises(KeyError) as raised:
            run_sync(raising())
        return found, run_sync(returning()), raised.value

    assert run_sync(returning()) == 7
    with pytest.raises(KeyError) as raised:
        run_sync(raising())
    assert raised.value is error
    assert asyncio.run(in_loop()) == ([7], 7, error)


def test_threads_are_as_many_as_needed_and_no_more_than_the_limit():
    pool = Threads(3)
    together = threading.Barrier(3, timeout=60)
    names = {
        future.result(60)
        for future in [pool.submit(lambda: (together.wait(), threading.get_ident())[1]) for _ in range(3)]
    }
    assert len(names) == 3
    assert len({pool.submit(threading.get_ident).result(60) for _ in range(20)}) <= 3
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(print)
    assert not [thread for thread in threading.enumerate() if thread.ident in names]


def test_what_a_job_raises_is_in_its_future():
    pool = Threads(1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result(60)
    pool.shutdown()


def test_left_threads_drop_what_has_not_begun_and_are_not_waited_for():
    pool = Threads(1)
    begun, go_on = threading.Event(), threading.Event()
    running = pool.submit(lambda: begun.set() or go_on.wait(60))
    waiting = pool.submit(print, "never")
    assert begun.wait(60)
    pool.leave()
    pool.shutdown(wait=True)  # as the event loop does when it is closed
    assert waiting.cancelled()
    assert not running.done()
    go_on.set()
    assert running.result(60)


def test_a_shutdown_that_is_waited_for_finishes_what_was_submitted():
    pool = Threads(1)
    futures = [pool.submit(lambda at=at: at) for at in range(10)]
    pool.shutdown()
    assert [future.result(0) for future in futures] == list(range(10))
