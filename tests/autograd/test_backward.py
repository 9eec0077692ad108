"""The reverse pass: strategies, order, concurrency, failures, and what must always hold."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from textgrad_lg.autograd import backward, relevant, seed
from textgrad_lg.errors import BudgetExhausted
from textgrad_lg.example import Score
from textgrad_lg.testing import ScriptedChatModel, TraceBuilder
from textgrad_lg.trace import CANDIDATE, Trace
from textgrad_lg.types import Strategy

from .helpers import WRONG, answer, chain, critic, long_chain
from .strategies import traces

CHAIN, FUSED, STRUCTURAL = Strategy.CHAIN, Strategy.FUSED, Strategy.STRUCTURAL


class Held(ScriptedChatModel):
    """Replies to nothing until it is told to, so that a test chooses the order of the replies."""

    held: Any = None

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        released = asyncio.Event()
        self.held.append(released)
        await released.wait()
        return self._generate(messages, stop, None, **kwargs)


async def until(reached):
    """Let the others go on until `reached()` holds; what never comes is ended by the suite's time limit."""
    while not reached():  # noqa: ASYNC110  the condition is in the model under test, which sets no event
        await asyncio.sleep(0)


def waiting(model: Held) -> list[asyncio.Event]:
    """The requests that have no reply yet."""
    return [event for event in model.held if not event.is_set()]


async def shuffled(order: random.Random, concurrency: int):
    """A pass over three branches and a planner whose replies arrive in the order that `order` draws."""
    model = Held(replies=answer, held=[])
    running = asyncio.create_task(
        backward(fan_out(3), model, strategy=CHAIN, clock=lambda: 0.0, concurrency=concurrency)
    )
    for left in (3, 2, 1, 1):
        await until(lambda left=left: len(waiting(model)) == min(left, concurrency))
        order.choice(waiting(model)).set()
    return await running, sorted(map(str, model.requests))


def fan_out(branches: int = 3) -> Trace:
    """A planner, one worker a branch, and a node that joins them."""
    build = TraceBuilder("map", example="e1")
    plan = build.llm("plan", reads=[build.input("q", "?")], prompts={"plan/system": "Plan."}, reply="a, b, c")
    parts = [
        build.llm("work", reads=[plan], prompts={"work/system": "Work."}, reply=f"part {n}") for n in range(branches)
    ]
    return seed(build.finish({"answer": build.node("join", value="parts", reads=parts)}), [WRONG])


async def test_without_a_model_the_comment_travels_unchanged_to_every_parameter_behind_the_field():
    gradients = await backward(chain(3))
    assert [str(site) for site in gradients.parameters()] == ["n2/system", "n1/system", "n0/system"]
    assert {(g.text, g.score, g.example, g.weight) for g in gradients} == {("expected 'Paris'", 0.0, "e1", 1.0)}
    assert (gradients.failures, gradients.calls) == ((), ())
    assert await backward(chain(3), critic(), strategy=STRUCTURAL) == gradients


async def test_without_a_comment_the_score_and_what_was_expected_travel():
    build = TraceBuilder()
    out = build.llm("a", prompts={"a/system": "p"}, reply="r")
    trace = seed(build.finish({"label": out}), [Score("k", 0.0, None, (), {"label": "billing"})])
    assert {g.text for g in await backward(trace)} == {'score 0; expected {"label": "billing"}'}


async def test_each_evaluator_reaches_the_parameters_behind_its_own_field_once():
    build = TraceBuilder()
    shared = build.llm("shared", prompts={"shared/system": "p"}, reply="r")
    one = build.llm("one", reads=[shared], prompts={"one/system": "p"}, reply="r1")
    two = build.llm("two", reads=[shared], prompts={"two/system": "p"}, reply="r2")
    scores = [
        Score("a", 0.5, "said a", ("one",)),
        Score("b", 0.0, "said b", ("two",)),
        Score("c", 0.25, "said b", ("one",)),
    ]
    gradients = await backward(seed(build.finish({"one": one, "two": two}), scores))
    assert {str(site): [(g.text, g.score) for g in found] for site, found in gradients.parameters().items()} == {
        "two/system": [("said b", 0.0)],
        "one/system": [("said b", 0.25), ("said a", 0.5)],
        "shared/system": [("said b", 0.0), ("said a", 0.5)],
    }


async def test_an_unconfirmed_path_weighs_less_and_the_surest_of_equal_texts_counts():
    build = TraceBuilder()
    first = build.llm("first", prompts={"first/system": "p"}, reply="r1")
    weak = build.node("weak", value="v", reads=[first], weight=CANDIDATE)
    trace = build.finish({"a": weak})
    assert {g.weight for g in (await backward(seed(trace, [WRONG]))).parameters().popitem()[1]} == {CANDIDATE}
    trace = build.finish({"a": weak, "b": first})
    (found,) = (await backward(seed(trace, [Score("k", 0.0, "no")]))).parameters().values()
    assert [g.weight for g in found] == [1.0]


async def test_a_chain_asks_each_model_call_once_with_the_feedback_of_its_consumer():
    model = critic()
    ticks = iter(range(100))
    gradients = await backward(chain(3), model, strategy=CHAIN, clock=lambda: float(next(ticks)))
    assert [str(site) for site in gradients.parameters()] == ["n2/system", "n1/system", "n0/system"]
    assert len(model.requests) == 3
    assert ["Say more about V1." in request.messages[-1].text for request in model.requests] == [False, True, True]
    assert [call.span for call in gradients.calls] == ["s2", "s4", "s6"]
    assert [(call.start, call.end) for call in gradients.calls] == [(7.0, 8.0), (4.0, 5.0), (1.0, 2.0)]
    assert all(call.model == "double" and call.input_tokens and call.output_tokens for call in gradients.calls)


@pytest.mark.parametrize("strategy", [CHAIN, STRUCTURAL])
async def test_a_loop_gives_one_gradient_a_visit_and_a_fan_out_one_a_branch(strategy):
    build = TraceBuilder("loop")
    text = build.input("text", "draft")
    for visit in range(4):
        text = build.llm("revise", reads=[text], prompts={"revise/system": "Revise."}, reply=f"draft {visit}")
    loop = seed(build.finish({"text": text}), [Score("k", 0.0, "too long")])
    for trace, name, count in ((loop, "revise", 4), (fan_out(5), "work", 5)):
        gradients = await backward(trace, critic(), strategy=strategy)
        found = next(found for site, found in gradients.parameters().items() if site.path == (name,))
        assert len({g.variable for g in found}) == len(found) == count
        visits = {trace.span_by_id[g.span].attributes["messages"] is not None and g.span for g in found}
        assert len(visits) == count


async def test_feedback_of_several_consumers_is_put_together_in_their_order_without_repetition():
    def reply(messages):
        said = {"part 0": "Give more.", "part 1": "Give less.", "part 2": "Give more."}
        part = next((part for part in said if f"\n{part}\n" in messages[-1].text), None)
        return (
            answer(messages)
            if part is None
            else {"about_this": [], "about_inputs": [{"id": "V1", "feedback": said[part]}]}
        )

    model = critic(reply)
    gradients = await backward(fan_out(), model, strategy=CHAIN)
    plan = next(
        request.messages[-1].text for request in model.requests if "call in `plan`" in request.messages[-1].text
    )
    assert "- Give more. (score 0, 1 example)\n- Give less. (score 0, 1 example)\n<<<END" in plan
    assert [g.text for g in gradients.on("s1.out.plan")] == ["Give more.", "Give less."]


async def test_a_call_starts_as_soon_as_its_own_consumers_have_delivered():
    build = TraceBuilder("two chains")
    left = right = build.input("q", "?")
    for at in range(3):
        left = build.llm(f"left{at}", reads=[left], prompts={f"left{at}/system": "p"}, reply=f"l{at}")
        right = build.llm(f"right{at}", reads=[right], prompts={f"right{at}/system": "p"}, reply=f"r{at}")
    trace = seed(build.finish({"left": left, "right": right}), [Score("k", 0.0, "wrong")])
    model = Held(replies=answer, held=[])
    running = asyncio.create_task(backward(trace, model, strategy=CHAIN))
    await until(lambda: len(model.held) == 2)
    # One chain goes on to its end while the other's first reply is still missing: no barrier holds it back.
    for event in (1, 2, 3):
        model.held[event].set()
        await until(lambda event=event: len(model.held) > event + 1 or len(model.requests) == 3)
    assert not model.held[0].is_set()
    for event in (0, 4, 5):
        await until(lambda event=event: len(model.held) > event)
        model.held[event].set()
    assert len((await running).calls) == 6


@given(st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_replies_changes_neither_requests_nor_result(order, concurrency):
    assert asyncio.run(shuffled(order, concurrency)) == asyncio.run(shuffled(random.Random(0), 4))


async def test_no_more_calls_than_allowed_are_under_way():
    model, most = Held(replies=answer, held=[]), 0
    running = asyncio.create_task(backward(fan_out(9), model, strategy=CHAIN, concurrency=4))
    await until(lambda: len(waiting(model)) == 4)
    while not running.done():
        most = max(most, len(waiting(model)))
        for event in waiting(model)[:1]:
            event.set()
        await asyncio.sleep(0)
    assert most == 4
    assert len(model.requests) == 10


async def test_a_call_that_fails_is_noted_and_its_feedback_passed_on():
    def reply(messages):
        return ValueError("broken") if "call in `n1`" in messages[-1].text else answer(messages)

    model = critic(reply)
    gradients = await backward(chain(3), model, strategy=CHAIN)
    texts = {str(site): [g.text for g in found] for site, found in gradients.parameters().items()}
    assert texts == {
        "n2/system": ["Say more about P1."],
        "n1/system": ["Say more about V1."],
        "n0/system": ["Say more about P1."],
    }
    assert gradients.failures == (
        "`n1` (s4): the model 'double' failed at attempt 1 of 3: ValueError: broken. It was not tried again, because the same request would fail again. Its feedback was passed on unchanged.",
    )
    assert [(call.span, bool(call.error)) for call in gradients.calls] == [("s2", False), ("s4", True), ("s6", False)]


REFUSAL = AIMessage("", additional_kwargs={"refusal": "No."})
LATE = TimeoutError("too late")


@pytest.mark.parametrize(
    ("reply", "requests", "words"),
    [
        ("garbage", 3, "no usable reply in 3 attempts"),
        ({"about_this": "everything"}, 3, "about_this: Input should be a valid list"),
        (REFUSAL, 1, "refused"),
        (LATE, 3, "TimeoutError: too late"),
    ],
)
async def test_a_model_that_never_helps_leaves_the_structural_result(reply, requests, words):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    model = critic(lambda messages: reply)
    gradients = await backward(chain(1), model, strategy=CHAIN, sleep=sleep)
    assert gradients.items == (await backward(chain(1))).items
    assert len(model.requests) == requests
    assert words in gradients.failures[0]
    assert slept == ([1.0, 2.0] if reply is LATE else [])


async def test_a_rate_limit_is_waited_out_as_long_as_the_server_says():
    class TooManyError(Exception):
        status_code = 429
        response = type("Response", (), {"headers": {"retry-after": "11"}})()

    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    replies = iter([TooManyError("slow down")])
    model = critic(lambda messages: next(replies, None) or answer(messages))
    gradients = await backward(chain(1), model, strategy=CHAIN, sleep=sleep)
    assert slept == [11.0]
    assert gradients.failures == ()


@pytest.mark.parametrize("strategy", [CHAIN, FUSED])
async def test_an_exhausted_budget_ends_the_pass_and_cancels_what_is_under_way(strategy):
    calls = []

    class Limited(ScriptedChatModel):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            calls.append("started")
            if strategy is CHAIN and len(calls) < 3:
                try:
                    await asyncio.Event().wait()
                finally:
                    calls.append("cancelled")
            raise BudgetExhausted("the limit of 2 calls is reached")

    with pytest.raises(BudgetExhausted, match="2 calls"):
        await backward(fan_out(), Limited(), strategy=strategy)
    assert calls.count("cancelled") == (2 if strategy is CHAIN else 0)


async def test_a_cancelled_pass_leaves_no_call_behind():
    model = Held(replies=answer, held=[])
    running = asyncio.create_task(backward(fan_out(), model, strategy=CHAIN))
    await until(lambda: len(waiting(model)) == 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("strategy", [CHAIN, FUSED])
async def test_a_strategy_that_needs_a_model_says_so(strategy):
    with pytest.raises(ValueError, match="needs a model"):
        await backward(chain(1), strategy=strategy)


async def test_at_least_one_call_at_a_time_is_needed():
    with pytest.raises(ValueError, match="concurrency is 0"):
        await backward(chain(1), concurrency=0)


async def test_a_run_without_verdicts_or_without_parameters_says_so_and_asks_nobody():
    build = TraceBuilder()
    bare = build.finish({"a": build.llm("a", reads=[build.input("q", "?")], reply="r")})
    scored = chain(1)
    unscored = replace(scored, spans=scored.spans[:-1], variables=scored.variables[:-1], edges=scored.edges[:-1])
    for trace in (seed(bare, [WRONG]), unscored, Trace("t", "empty")):
        gradients = await backward(trace, critic([]))
        assert len(gradients) == 0
        assert "no trainable Parameter leads to an output that was judged" in gradients.failures[0]


async def test_a_chain_of_3000_nodes_needs_no_recursion():
    gradients = await backward(long_chain(3_000))
    assert len(gradients.parameters()) == 3_000
    assert str(next(iter(gradients.parameters()))) == "n2999/system"


async def test_a_loop_in_which_every_visit_reads_all_earlier_ones_stays_bounded():
    build = TraceBuilder("dense")
    made: list[str] = []
    for visit in range(200):
        made.append(build.llm("chat", reads=list(made), prompts={"chat/system": "p"}, reply=f"r{visit}"))
    gradients = await backward(seed(build.finish({"a": made[-1]}), [WRONG]))
    assert len(gradients) == sum(1 for _ in relevant(seed(build.finish({"a": made[-1]}), [WRONG])).consumers)


@given(traces(), st.sampled_from([CHAIN, STRUCTURAL, FUSED]))
@settings(max_examples=150, deadline=None)
def test_what_must_always_hold(trace, strategy):
    model, again = critic(), critic()
    gradients = asyncio.run(backward(trace, model, strategy=strategy, clock=lambda: 0.0))
    assert asyncio.run(backward(trace, again, strategy=strategy, clock=lambda: 0.0)) == gradients
    # The calls of one pass are concurrent: which one leaves first is up to the scheduler, what is in them is not.
    assert sorted(map(str, model.requests)) == sorted(map(str, again.requests))
    assert Trace.from_json(trace.to_json()) == trace

    reached = relevant(trace).consumers
    edges = {(edge.source, edge.span) for edge in trace.edges}
    for gradient in gradients:
        variable = trace.variable_by_id[gradient.variable]
        assert gradient.span in trace.span_by_id
        assert (gradient.variable, gradient.span) in edges
        assert gradient.variable in reached
        assert variable.site is None or variable.requires_grad
        assert gradient.site == variable.site
        assert 0 < gradient.weight <= 1
        assert gradient.score is not None
    assert len({(g.variable, g.text) for g in gradients}) == len(gradients)
    assert len({g.id for g in gradients}) == len(gradients)

    spans = [call.span for call in gradients.calls]
    assert len(spans) == len(set(spans)) == len(model.requests)
    if strategy is STRUCTURAL:
        assert {g.variable for g in gradients} == set(reached)
        assert {g.text for g in gradients} <= {f"comment {at}" for at in range(3)}
    if reached and strategy is not STRUCTURAL:
        assert gradients.parameters()
