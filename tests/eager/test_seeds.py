"""What the eager API asked of the reverse pass: verdicts without a score, strictness, excerpts, images, short siblings."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.autograd.helpers import answer
from textgrad_lg.autograd import backward, relevant
from textgrad_lg.autograd.images import MOST, with_images
from textgrad_lg.errors import ModelError
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.trace import Edge, Span, Trace
from textgrad_lg.types import SpanKind, Strategy
from textgrad_lg.variable import Variable

IMAGE: Any = {"type": "image", "url": "https://example.org/a.png"}


def judged(*verdicts, given: Any = "Where?", prompt="Be brief."):
    """One model call, judged by verdicts of a score and a comment."""
    spans = [Span("s0", SpanKind.GRAPH, "quiz"), Span("s1", SpanKind.LLM, "reply", "s0")]
    variables = [
        Variable("p", prompt, "prompt", site=Site(("n",), "system"), requires_grad=True),
        Variable("q", given, "question"),
        Variable("s1.out", "reply", "reply", "s1"),
    ]
    edges = [Edge("p", "s1.out", "s1"), Edge("q", "s1.out", "s1")]
    for at, (score, comment) in enumerate(verdicts):
        spans.append(Span(f"e{at}", SpanKind.EVAL, f"judge {at}", attributes={"score": score, "comment": comment}))
        variables.append(Variable(f"e{at}.out", None, "verdict", f"e{at}"))
        edges.append(Edge("s1.out", f"e{at}.out", f"e{at}"))
    return Trace("t", "quiz", tuple(spans), tuple(variables), tuple(edges), outputs={"answer": "s1.out"})


def test_a_verdict_without_a_score_is_a_seed_like_a_failed_one():
    pruned = relevant(judged((1.0, "fine"), (None, "It is curt."), (0.5, "half")))
    assert [(seed.score, seed.text) for seed in pruned.seeds] == [(None, "It is curt."), (0.5, "half")]
    assert pruned.score("p") == 0.5
    assert relevant(judged((None, "It is curt."))).score("p") is None
    assert relevant(judged((None, ""), (1.0, "fine"))).seeds[0].text == "fine"


async def test_its_words_travel_without_a_score():
    gradients = await backward(judged((None, "It is curt.")))
    assert [(g.text, g.score, g.variable) for g in gradients] == [
        ("It is curt.", None, "s1.out"),
        ("It is curt.", None, "p"),
    ]
    model = ScriptedChatModel(replies=answer)
    await backward(judged((None, "It is curt."), (0.0, "It is wrong.")), model, strategy=Strategy.CHAIN)
    assert "judge 0: It is curt.\njudge 1: score 0. It is wrong.\n" in str(model.requests[0])


async def test_a_strict_pass_raises_what_a_lenient_one_reports():
    broken = ScriptedChatModel(replies=[KeyError("no"), KeyError("no")])
    lenient = await backward(judged((0.0, "wrong")), broken, strategy=Strategy.CHAIN)
    assert len(lenient.failures) == 1
    with pytest.raises(ModelError) as caught:
        await backward(judged((0.0, "wrong")), broken, strategy=Strategy.CHAIN, strict=True)
    assert isinstance(caught.value.__cause__, KeyError)


async def test_an_excerpt_is_as_long_as_it_is_asked_for():
    trace = judged((0.0, "wrong"), prompt="long " * 3_000)
    for tokens, whole in ((None, False), (6_000, True)):
        model = ScriptedChatModel(replies=answer)
        await backward(trace, model, strategy=Strategy.CHAIN, excerpt=tokens)
        assert ("characters cut" in str(model.requests[0])) is not whole


def test_images_are_attached_once_and_no_more_than_a_few():
    from langchain_core.messages import HumanMessage, SystemMessage

    messages = [SystemMessage("s"), HumanMessage("q")]
    assert with_images(messages, [("text", "no image")]) == messages
    many: Any = [(f"image {at}", {"type": "image", "url": f"https://example.org/{at % 6}"}) for at in range(12)]
    content = with_images(messages, many)[-1].content
    assert len(content) == 1 + MOST


async def test_an_image_is_shown_as_one_and_not_as_text():
    model = ScriptedChatModel(replies=answer)
    await backward(judged((0.0, "wrong"), given=IMAGE), model, strategy=Strategy.CHAIN)
    content: Any = model.requests[0].messages[-1].content
    assert IMAGE in content
    assert "example.org" not in content[0]["text"]


async def test_a_short_sibling_is_shown_though_its_letters_stand_elsewhere():
    model = ScriptedChatModel(replies=answer)
    await backward(judged((0.0, "wrong"), given="5", prompt="Say 15."), model, strategy=Strategy.CHAIN)
    assert "question: 5" in str(model.requests[0])


def test_importing_it_brings_in_nothing_that_langgraph_does_not():
    def third_party(statement):
        code = f"{statement}; import sys; print(*sys.modules)"
        names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)

    assert third_party("import textgrad_lg.eager") - third_party("import langgraph.graph") == {"textgrad_lg"}
