"""Rollouts: what is found again, and what a run keeps of them in memory."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import zlib
from contextlib import contextmanager
from typing import Any, cast

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph

from textgrad_lg import Budget, Evals, Settings
from textgrad_lg.example import Score
from textgrad_lg.run.opening import opened
from textgrad_lg.run.prices import Prices
from textgrad_lg.run.rollouts import Rollouts
from textgrad_lg.run.target import as_target
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.types import Phase

NODES, KB = 10, 1_000


class Forgetful(ScriptedChatModel):
    """Keeps no request: what a test double holds is no part of what a run keeps."""

    def _reply(self, messages, at):
        reply = super()._reply(messages, at)
        self._requests.clear()
        return reply


def pipeline() -> Any:
    """Ten nodes, of which each calls a model that answers with 1 kB."""
    model = Forgetful(
        replies=lambda messages: f"{zlib.crc32(messages[-1].text.encode()):010d} " + "word " * (KB // 5 - 3)
    )

    def node(name):
        def call(state):
            return {"text": model.invoke([SystemMessage(f"You are {name}."), HumanMessage(state["text"])]).text}

        return call

    graph: Any = StateGraph(cast("Any", dict))
    before = START
    for name in (f"n{at}" for at in range(NODES)):
        graph.add_node(name, node(name))
        graph.add_edge(before, name)
        before = name
    return graph.add_edge(before, END).compile()


@contextmanager
def rollouts(folder, graph, evals):
    with opened(
        as_target(graph)[0], lambda _: evals, identity={}, run_dir=folder, budget=Budget(calls=10_000), prices=Prices(),
        settings=Settings(), critic=None, judges=(), config=None, callbacks=(),
    ) as run:  # fmt: skip
        yield run.rollouts


def judge(outputs):
    return Score("length", float(len(outputs["text"])), expected={"at least": [KB, 2.5, None]}, fields=("text",))


def evaluated(run: Rollouts, examples):
    return asyncio.run(run.evaluate(examples, {}, Phase.ROLLOUT))


def test_what_is_read_back_from_the_journal_is_what_was_run(tmp_path):
    evals = Evals([{"inputs": {"text": f"question {at}"}} for at in range(3)], [judge])
    with rollouts(tmp_path, pipeline(), evals) as run:
        first = evaluated(run, evals.examples)
        again = evaluated(run, evals.examples)
        calls = run.metering.ledger.spend.total.calls
    assert first == again
    assert calls == 3 * NODES
    with rollouts(tmp_path, pipeline(), evals) as run:
        assert evaluated(run, evals.examples) == first
        assert run.metering.ledger.spend.total.calls == calls


def test_a_rollout_that_was_kept_takes_its_replies_and_little_more(tmp_path):
    count = 24
    evals = Evals([{"inputs": {"text": f"question {at}"}} for at in range(2 * count)], [judge])
    kept = []
    with rollouts(tmp_path, pipeline(), evals) as run:
        tracemalloc.start()
        try:
            # The second half tells what each takes: the first also holds what is made once.
            for half in (evals.examples[:count], evals.examples[count:]):
                evaluated(run, half)
                run.metering.made()  # When a step ends, they are told and forgotten.
                gc.collect()
                kept.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    each = (kept[1] - kept[0]) / count
    assert NODES * KB < each < 20 * KB
