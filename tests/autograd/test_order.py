"""Order tells nothing: of arrival, of recording, of hashes; nor do ids that are new in each run. And nothing counts twice."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphs.topology import CASES, play
from textgrad_lg.autograd import backward, relevant, seed
from textgrad_lg.autograd.rules import RULES
from textgrad_lg.example import Score
from textgrad_lg.gradient import Gradients
from textgrad_lg.record import discover
from textgrad_lg.testing import ScriptedChatModel, TraceBuilder
from textgrad_lg.trace import Trace
from textgrad_lg.types import SpanKind, Strategy
from textgrad_lg.variable import text_of, without_ids

from .helpers import WRONG, answer, critic
from .parts import part
from .strategies import recorded_otherwise, traces

CHAIN, FUSED, STRUCTURAL = Strategy.CHAIN, Strategy.FUSED, Strategy.STRUCTURAL


def passed(trace: Trace, strategy: Strategy, model: ScriptedChatModel) -> tuple[Gradients, list[str]]:
    """The result of a pass, and its requests; which of those at the same time leaves first is up to the scheduler."""
    gradients = asyncio.run(backward(trace, model, strategy=strategy, goal="Be right.", clock=lambda: 0.0))
    return gradients, sorted(map(str, model.requests))


@given(st.data(), st.sampled_from([CHAIN, FUSED, STRUCTURAL]))
@settings(max_examples=80, deadline=None)
def test_the_order_in_which_independent_branches_were_recorded_does_not_show(data, strategy):
    trace = data.draw(traces())
    other = data.draw(recorded_otherwise(trace))
    assert passed(other, strategy, critic()) == passed(trace, strategy, critic())


class Late(ScriptedChatModel):
    """Replies after as many turns of the event loop as `draw` says."""

    draw: Any = None

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        for _ in range(self.draw.randrange(40)):
            await asyncio.sleep(0)
        return self._generate(messages, stop, None, **kwargs)


@given(traces(), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_the_order_in_which_replies_arrive_does_not_show(trace, draw):
    late = Late(replies=answer, draw=random.Random(draw))
    assert passed(trace, CHAIN, late) == passed(trace, CHAIN, critic())


HASHED = """
import asyncio, hashlib, sys
from tests.autograd.helpers import WRONG, critic
from textgrad_lg.autograd import backward, seed
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.types import Strategy

build = TraceBuilder("map", example="e")
plan = build.llm("plan", reads=[build.input("q", "?")], prompts={"plan/system": "Plan."}, reply="a, b, c")
work = [
    build.llm(f"work{n}", reads=[plan, plan], prompts={f"work{n}/system": "W.", f"tools:t{n}/description": "T."}, reply=f"part {n}")
    for n in range(20)
]
join = build.llm("join", reads=work, prompts={f"tools:u{n}/description": f"Does {n}." for n in range(20)}, reply="parts")
trace = seed(build.finish({"answer": join, "first": work[0]}), [WRONG])
for strategy in Strategy:
    model = critic()
    gradients = asyncio.run(backward(trace, model, strategy=strategy, concurrency=1, clock=lambda: 0.0))
    told = "\\n".join([*map(str, model.requests), *map(repr, gradients), *gradients.failures])
    print(strategy.value, len(model.requests), hashlib.sha256(told.encode()).hexdigest())
"""


def test_hashes_do_not_show():
    told = [
        subprocess.run(
            [sys.executable, "-c", HASHED],
            env={**os.environ, "PYTHONHASHSEED": number},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in ("0", "1")
    ]
    assert told[0] == told[1]
    assert [line.split()[:2] for line in told[0].splitlines()] == [
        ["chain", "14"],
        ["fused", "1"],
        ["structural", "0"],
        ["auto", "1"],
    ]


# Ids


@pytest.mark.parametrize("name", CASES)
def test_two_runs_of_a_graph_are_asked_about_in_the_same_words(name):
    for one, two in zip(play(CASES[name], "invoke").traces, play(CASES[name], "ainvoke").traces, strict=True):
        assert one.id != two.id
        told = []
        for trace in (one, two):
            judged = seed(discover([trace]).label(trace), [Score("k", 0.0, "wrong", (), {"answer": "x"})])
            told.append([passed(judged, strategy, critic()) for strategy in (CHAIN, FUSED)])
        for (gradients, requests), (others, again) in zip(*told, strict=True):
            assert requests
            assert requests == again
            assert Gradients(tuple(replace(g, trace=one.id) for g in others)) == Gradients(gradients.items)


def test_ids_of_messages_and_of_their_calls_are_no_part_of_a_text():
    call = {"name": "look", "args": {"id": "kept", "q": 1}, "id": "call_9"}
    messages = [
        {"role": "human", "content": [{"type": "text", "text": "hi", "id": "b1"}, "plain"], "id": "m1"},
        {"role": "assistant", "content": "", "tool_calls": [call], "invalid_tool_calls": "none", "id": "m2"},
        {"role": "tool", "content": "found", "tool_call_id": "call_9", "name": "look"},
    ]
    assert text_of(messages) == (
        'human: hi\nplain\nassistant: [{"args": {"id": "kept", "q": 1}, "name": "look"}]\ntool: found'
    )
    assert without_ids({"state": {"messages": messages, "id": "kept"}}) == {
        "state": {
            "messages": [
                {"role": "human", "content": [{"type": "text", "text": "hi"}, "plain"]},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"name": "look", "args": {"id": "kept", "q": 1}}],
                    "invalid_tool_calls": "none",
                },
                {"role": "tool", "content": "found", "name": "look"},
            ],
            "id": "kept",
        }
    }


# Counting twice


def token(messages) -> dict:
    """A reply in which each piece of feedback is unlike any other: it quotes what was made, and its id."""
    request = type("Request", (), {"messages": messages})
    made = part(request, "reply of the call") or part(request, "its result")
    return answer(messages, f"[{made}]")


def expected(trace: Trace) -> dict[str, set[str]]:
    """What each Variable must be told, each piece once: of each consumer its own, or all that was passed through it."""
    pruned = relevant(trace)
    told: dict[str, set[str]] = {found.variable: {found.text} for found in pruned.seeds}
    for target in pruned.order:
        variable = trace.variable_by_id[target]
        span = trace.span_by_id[variable.span or ""]
        sources = list(dict.fromkeys(edge.source for edge in pruned.edges[target]))
        counts = {"P": 0, "V": 0}
        for source in sources:
            letter = "P" if trace.variable_by_id[source].requires_grad else "V"
            counts[letter] += 1
            own = {f"[{text_of(variable.value)}] {letter}{counts[letter]}."}
            # The rules of evaluations and of functions need a purpose, which these have not.
            asked = span.kind in RULES and span.kind is not SpanKind.EVAL
            told.setdefault(source, set()).update(own if asked else told[target])
    return told


@given(traces(twice=True))
@settings(max_examples=150, deadline=None)
def test_each_consumer_tells_each_variable_once(trace):
    model = critic(token)
    gradients = asyncio.run(backward(trace, model, strategy=CHAIN))
    told = expected(trace)
    for variable in relevant(trace).consumers:
        texts = [gradient.text for gradient in gradients.on(variable)]
        assert len(texts) == len(set(texts))
        assert set(texts) == told[variable]
    assert len({(g.span, g.variable, g.text) for g in gradients}) == len(gradients)
    # In a request, too, each piece of what was said on the result stands once.
    for request in model.requests:
        lines = part(request, "feedback on it").splitlines()
        assert len(lines) == len(set(lines))


async def test_a_diamond_of_nodes_brings_one_piece_of_feedback_once():
    build = TraceBuilder("diamond", example="e")
    first = build.llm("first", prompts={"first/system": "p"}, reply="r")
    left, right = (build.node(name, value=f"{name} r", reads=[first, first]) for name in ("left", "right"))
    total = build.node("sum", value="left r right r", reads=[left, right, left])
    last = build.llm("last", reads=[total, total, left], prompts={"last/system": "p"}, reply="done")
    model = critic(token)
    gradients = await backward(seed(build.finish({"a": last, "b": last}), [WRONG]), model, strategy=CHAIN)
    assert [g.text for g in gradients.on(first)] == ["[done] V1.", "[done] V2."]
    assert [g.text for g in gradients.on(total)] == ["[done] V1."]
    assert [g.text for g in gradients.on(left)] == ["[done] V2.", "[done] V1."]
    assert len(model.requests) == 2


async def test_each_operand_of_a_sum_is_told_once_what_the_sum_was_told():
    build = TraceBuilder("sum", example="e")
    parts = [build.llm(f"n{at}", prompts={f"n{at}/system": "p"}, reply=f"r{at}") for at in range(3)]
    total = build.node("sum", value="r0 r1 r2 r0", reads=[*parts, parts[0]])
    gradients = await backward(seed(build.finish({"a": total}), [WRONG, WRONG]), critic(), strategy=CHAIN)
    assert [[g.text for g in gradients.on(part)] for part in parts] == [["expected 'Paris'"]] * 3
