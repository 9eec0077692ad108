"""Feedback does not grow: neither with the depth of a graph, nor with the visits of a loop, nor with what a run holds."""

from __future__ import annotations

import pytest

from textgrad_lg.autograd import backward, reduce, seed
from textgrad_lg.autograd.fused import layout, size
from textgrad_lg.autograd.graph import relevant
from textgrad_lg.autograd.request import (
    FEEDBACK,
    GOAL,
    INPUT,
    INPUTS,
    ITEM,
    MOST,
    NAME,
    OTHERS,
    OUTPUT,
    PROMPTS,
    RESULT,
    TRIED,
    VERDICTS,
)
from textgrad_lg.example import Score
from textgrad_lg.site import Site
from textgrad_lg.templates import CHARS_PER_TOKEN, fill, tokens_in
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.types import Strategy

from .helpers import answer, critic
from .parts import part, parts, tokens

CHAIN, FUSED = Strategy.CHAIN, Strategy.FUSED

LONG = "A sentence that says little and takes its time to do so. "


def wordy(messages):
    """Criticises everything, each time at more length than one piece of feedback may have."""
    return answer(messages, LONG * (2 * ITEM * CHARS_PER_TOKEN // len(LONG)))


def long_run(nodes: int, *, words: int, comment: str = "wrong"):
    """A judged chain in which every text is about `words` tokens long, and the last call also sees the run's input."""
    build = TraceBuilder("long", example="e1")
    filler = LONG * max(1, words * CHARS_PER_TOKEN // len(LONG))
    value = build.input("question", f"Question. {filler}")
    for at in range(nodes):
        prompts = {f"n{at}/system": f"Prompt {at}. {filler}"}
        value = build.llm(f"n{at}", reads=[value], prompts=prompts, reply=f"Reply {at}. {filler}")
    return seed(build.finish({"answer": value}), [Score("k", 0.0, comment, (), {"answer": f"Wanted. {filler}"})])


def told(nodes: int) -> dict[Site, list[str]]:
    return {Site((f"n{at}",), "system"): [f"Attempt {n}. {LONG * 20}" for n in range(5)] for at in range(nodes)}


async def sizes(trace, nodes: int) -> list[int]:
    model = critic(wordy)
    gradients = await backward(trace, model, strategy=CHAIN, goal=f"Goal. {LONG * 100}", tried=told(nodes))
    assert gradients.failures == ()
    assert all(tokens_in(gradient.text) <= ITEM for found in gradients.parameters().values() for gradient in found)
    return [tokens(request) for request in model.requests]


@pytest.mark.parametrize("words", [10, 300, 3_000])
async def test_a_request_in_a_chain_of_12_is_at_most_1_3_times_one_in_a_chain_of_3(words):
    comment = f"Not right. {LONG * (words // 10)}"
    short, long = [await sizes(long_run(nodes, words=words, comment=comment), nodes) for nodes in (3, 12)]
    assert [len(short), len(long)] == [3, 12]
    assert max(long) <= 1.3 * max(short)
    assert sum(long) / 12 <= 1.3 * sum(short) / 3
    # Not even step by step: the request furthest from the output is no larger than the others that do not judge it.
    assert long[-1] <= 1.05 * long[1]


async def test_every_piece_of_feedback_that_is_passed_on_is_under_its_cap_at_every_hop():
    model = critic(wordy)
    await backward(long_run(12, words=50), model, strategy=CHAIN)
    feedback = [tokens_in(part(request, "feedback on it")) for request in model.requests]
    assert all(0 < size <= FEEDBACK for size in feedback)
    # One piece of feedback a hop; what is added to it is its score and how many examples said it.
    assert all(size <= ITEM + 20 for size in feedback[1:])


@pytest.mark.parametrize("strategy", [CHAIN, FUSED])
async def test_no_request_exceeds_the_sum_of_its_caps_whatever_the_run_holds(strategy):
    build = TraceBuilder("huge", example="e")
    texts = [build.input(f"field{at}", LONG * 500) for at in range(5)]
    for at in range(30):
        prompts = {f"n{at}/system#{n}" if n else f"n{at}/system": f"{n} {LONG * 50}" for n in range(20)}
        texts.append(build.llm(f"n{at}", reads=texts[-25:], prompts=prompts, reply=LONG * 300))
    last = build.llm("end" * 2_000, reply=LONG * 500, reads=texts[-8:], prompts={"end/system": "p"})
    scores = [Score(f"k{at}", 0.0, LONG * 100, (), {"answer": LONG * 100}) for at in range(7)]
    model = critic(wordy)
    trace = seed(build.finish({"answer": last, "notes": texts[0]}), scores)
    await backward(trace, model, strategy=strategy, goal=LONG * 500, tried=told(30))
    shared = GOAL + VERDICTS + INPUT + OUTPUT + TRIED
    labels = 60 * (2 * MOST + 10)
    most = shared + PROMPTS + INPUTS + OTHERS + RESULT + FEEDBACK + NAME + labels + 1_000
    assert len(model.requests) == (31 if strategy is CHAIN else 1)
    assert all(tokens(request) <= (most if strategy is CHAIN else 8_000 * 1.3 + shared) for request in model.requests)
    assert all("endend" * 40 not in request.messages[-1].text for request in model.requests)


async def test_the_caps_leave_the_words_around_them_a_small_share():
    fixed = {name: tokens_in("".join(m.text for m in fill(f"backward_{name}", **slots(name)))) for name in SLOTS}
    assert max(fixed.values()) < 900


SLOTS = {
    "llm": "goal input output verdicts name prompts inputs others reply decided feedback tried wanted",
    "tool": "goal input output verdicts kind name tool inputs others result feedback tried wanted",
    "function": "goal input output verdicts name purpose inputs others result feedback tried wanted",
    "eval": "input name purpose inputs others result tried wanted",
    "fused": "goal input name run output verdicts tried decided visits wanted",
}


def slots(name: str) -> dict[str, str]:
    return dict.fromkeys(SLOTS[name].split(), "")


def loop(visits: int, *, dense: bool):
    """A writer and a critic in turns; in a dense loop each visit reads all that was made before, as messages do."""
    build = TraceBuilder("loop", example="e")
    made = [build.input("topic", LONG * 5)]
    for _ in range(visits):
        for node in ("write", "review"):
            reads = made if dense else made[-1:]
            prompts = {f"{node}/system": f"You {node}. {LONG * 5}"}
            made.append(build.llm(node, reads=list(reads), prompts=prompts, reply=f"{len(made)} {LONG * 5}"))
    return seed(build.finish({"text": made[-1]}), [Score("k", 0.0, "too long")])


@pytest.mark.parametrize("dense", [False, True])
async def test_a_loop_of_sixty_visits_asks_with_requests_of_the_size_of_a_short_one(dense):
    largest = {}
    # So short that all caps are reached: twelve inputs are asked about, and there is more besides.
    for visits in (20, 60):
        model = critic(wordy)
        gradients = await backward(loop(visits, dense=dense), model, strategy=CHAIN)
        largest[visits] = max(map(tokens, model.requests))
        for found in gradients.parameters().values():
            assert tokens_in(reduce(found, tokens=FEEDBACK)) <= FEEDBACK
    assert largest[60] <= 1.05 * largest[20]


@pytest.mark.parametrize("prompts", [1, 20])
async def test_fused_stays_at_its_cap_however_often_a_loop_is_visited(prompts):
    largest = {}
    for visits in (60, 240):
        build = TraceBuilder("loop", example="e")
        text = build.input("topic", LONG * 5)
        used = {f"tools:t{at}/description" if at else "write/system": f"{at} {LONG}" for at in range(prompts)}
        for visit in range(visits):
            text = build.llm("write", reads=[text], prompts=used, reply=f"{visit} {LONG * 5}")
        model = critic([{"feedback": []}])
        trace = seed(build.finish({"text": text}), [Score("k", 0.0, "too long")])
        await backward(trace, model, strategy=FUSED, cap=3_000)
        largest[visits] = tokens(model.requests[0])
    assert largest[240] <= 1.05 * largest[60]
    assert largest[240] <= 1.3 * 3_000 + 1_000


async def test_auto_falls_back_to_the_chain_where_the_run_is_over_the_cap():
    trace = long_run(12, words=200)
    whole = size(layout(relevant(trace)))
    for cap, calls in ((whole, 1), (whole - 1, 12)):
        model = critic(wordy)
        gradients = await backward(trace, model, cap=cap)
        assert len(model.requests) == len(gradients.calls) == calls


def test_a_token_is_three_characters():
    assert CHARS_PER_TOKEN == 3
    assert [tokens_in(text) for text in ("", "a", "abc", "abcd", "北京市")] == [0, 1, 1, 2, 1]


async def test_a_long_field_does_not_hide_the_others():
    build = TraceBuilder("fields", example="e")
    build.input("long", LONG * 500)
    build.input("short", "the short field")
    text = build.llm("a", prompts={"a/system": "p"}, reply=LONG * 500)
    label = build.llm("b", reads=[text], prompts={"b/system": "p"}, reply="billing")
    scores = [Score("chatty", 0.0, LONG * 500), Score("terse", 0.0, "no"), Score("last", 0.5, LONG * 500)]
    model = critic(wordy)
    await backward(seed(build.finish({"text": text, "label": label}), scores), model, strategy=CHAIN)
    for request in model.requests:
        assert "short: the short field" in part(request, "input of the whole")
        assert "label: billing" in part(request, "output of the whole")
        verdicts = part(request, "verdicts")
        assert "terse: score 0. no" in verdicts
        assert verdicts.startswith("chatty: score 0. A sentence")
        assert "last: score 0.5. A sentence" in verdicts
        assert all(len(text) <= PROMPTS * CHARS_PER_TOKEN for text in parts(request).values())
