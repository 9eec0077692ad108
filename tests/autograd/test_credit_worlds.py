"""Credit in real graphs: each visit of a loop, branch of a fan-out, subgraph, handoff and turn of an agent gets its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.graphs.topology import CASES, play
from textgrad_lg.autograd import backward, reduce, relevant, seed
from textgrad_lg.example import Score
from textgrad_lg.record import discover
from textgrad_lg.templates import tokens_in
from textgrad_lg.trace import Trace
from textgrad_lg.types import SpanKind, Strategy
from textgrad_lg.variable import text_of

from .helpers import answer, critic

CHAIN, FUSED, STRUCTURAL = Strategy.CHAIN, Strategy.FUSED, Strategy.STRUCTURAL

VISITS = {
    "loop": {"write/system": 3, "judge/system": 3},
    "fan-out": {"join/system": 1, "steel/system": 1, "money/system": 1, "law/system": 1},
    "send": {"work/system": 3},
    "command-send": {"dig/system": 2, "plan/system": 1},
    "subgraph": {"house/polish/system": 1, "house/desk/draft/system": 1, "house/desk/plan/system": 1},
    "subgraph-twice": {"outer/shorten/system": 2},
    "command-parent": {"tracking/system": 1, "front/decide/system": 1},
    "agent": {"model[coast]/system": 2},
    "supervisor": {"supervisor/agent/system": 2, "adder/model[adder]/system": 2},
    "swarm": {"refunds/model[refunds]/system": 1, "front/model[front]/system": 1},
    "deep-agent": {"model/system": 2, "tools/model[taster]/system": 4},
    "functional": {"essay/outline/system": 1, "essay/section/system": 2, "essay/section/human": 2},
}
"""For each graph how often the prompts behind its output were used in its first run."""


def failed(name: str) -> Trace:
    trace = replace(play(CASES[name]).traces[0], example="e7")
    return seed(discover([trace]).label(trace), [Score("right", 0.25, "not right", (), {"answer": "right"})])


def counted(gradients) -> dict[str, int]:
    return {str(site): len({g.variable for g in found}) for site, found in gradients.parameters().items()}


@pytest.mark.parametrize("strategy", [CHAIN, FUSED, STRUCTURAL])
@pytest.mark.parametrize("name", VISITS)
async def test_each_visit_gets_a_gradient_of_its_own(name, strategy):
    trace = failed(name)
    gradients = await backward(trace, critic(), strategy=strategy, cap=40_000)
    assert counted(gradients) == VISITS[name]
    assert gradients.failures == ()
    for found in gradients.parameters().values():
        spans = [trace.span_by_id[g.span] for g in found]
        assert {span.kind for span in spans} == {SpanKind.LLM}
        assert len({span.id for span in spans}) == len({g.variable for g in found})


@pytest.mark.parametrize("strategy", [CHAIN, FUSED, STRUCTURAL])
@pytest.mark.parametrize("name", CASES)
async def test_every_gradient_says_which_span_which_example_and_what_score(name, strategy):
    trace = failed(name)
    gradients = await backward(trace, critic(), strategy=strategy)
    assert gradients.parameters()
    edges = {(edge.source, edge.span) for edge in trace.edges}
    for gradient in gradients:
        assert (gradient.trace, gradient.example, gradient.score) == (trace.id, "e7", 0.25)
        assert (gradient.variable, gradient.span) in edges
    calls = Counter(call.span for call in gradients.calls)
    assert set(calls.values()) <= {1}
    assert all(trace.span_by_id[span].kind in {SpanKind.LLM, SpanKind.TOOL, SpanKind.GRAPH} for span in calls)


@pytest.mark.parametrize("name", ["loop", "send", "deep-agent"])
async def test_what_was_said_on_the_visits_is_merged_under_a_cap(name):
    def wordy(messages):
        return answer(messages, f"On {number_of(messages)}: " + "one more thing to mind, " * 40)

    gradients = await backward(failed(name), critic(wordy), strategy=CHAIN)
    for found in gradients.parameters().values():
        assert len({g.text for g in found}) == len(found)
        for cap in (60, 300, 3_000):
            assert tokens_in(reduce(found, tokens=cap)) <= cap
        assert reduce(found, tokens=3_000).count("(score 0.25, 1 example)") == len(found)


def number_of(messages) -> int:
    """A number that tells requests apart."""
    return sum(at * ord(letter) for at, letter in enumerate(messages[-1].text))


async def test_the_same_words_on_every_visit_are_one_line():
    gradients = await backward(failed("loop"), strategy=STRUCTURAL)
    for found in gradients.parameters().values():
        assert len(found) == 3
        assert reduce(found) == "- not right (score 0.25, 1 example)"


@pytest.mark.parametrize(("name", "site", "blamed"), [("send", "work/system", 1), ("loop", "write/system", 2)])
async def test_one_visit_can_be_blamed_alone(name, site, blamed):
    """By the words that only this visit's reply has, and in one request by what the visit led to."""
    trace = failed(name)
    uses = [v for v in trace.variables if str(v.site) == site and v.id in relevant(trace).consumers]
    own = text_of(trace.variable_by_id[relevant(trace).consumers[uses[blamed].id][0]].value)

    def reply(messages):
        request = messages[-1].text
        shown = request.partition("<<<DATA reply of the call")[2].partition(">>>\n")[2].partition("\n<<<END")[0]
        said = answer(messages)
        return {**said, "about_this": said["about_this"] if shown == own else []}

    gradients = await backward(trace, critic(reply), strategy=CHAIN)
    assert [g.variable for g in gradients.parameters()[uses[blamed].site]] == [uses[blamed].id]

    def in_one(messages):
        request = messages[-1].text
        prompt = request.partition(f"\n{uses[0].value}\n")[0].rpartition("<<<DATA ")[2].partition(":")[0]
        result = request.partition(f">>>\n{own}\n")[0].rpartition("<<<DATA ")[2].partition(":")[0]
        return {"feedback": [{"id": f"{prompt}@{result}", "feedback": "Only here."}]}

    gradients = await backward(trace, critic(in_one), strategy=FUSED)
    assert [(g.variable, g.text) for g in gradients] == [(uses[blamed].id, "Only here.")]
