"""Traces and critics that the tests of the reverse pass share."""

from __future__ import annotations

from textgrad_lg.autograd import seed
from textgrad_lg.example import Score
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel, TraceBuilder
from textgrad_lg.trace import Edge, Span, Trace
from textgrad_lg.types import SpanKind
from textgrad_lg.variable import Variable

WRONG = Score("right_label", 0.0, "expected 'Paris'", ("answer",), {"answer": "Paris"})


def chain(nodes: int, *, words: int = 3) -> Trace:
    """A judged chain of model calls, each with a prompt of its own."""
    build = TraceBuilder("quiz", example="e1")
    value = build.input("question", "What is the capital of France?")
    for at in range(nodes):
        prompt = f"Prompt {at}: " + "be brief " * words
        value = build.llm(f"n{at}", reads=[value], prompts={f"n{at}/system": prompt}, reply=f"reply {at} " * words)
    return seed(build.finish({"answer": value}), [WRONG])


def long_chain(nodes: int) -> Trace:
    """A judged chain of model calls, made at once: the builder looks for earlier visits, which takes long here."""
    spans, variables, edges = [Span("g", SpanKind.GRAPH, "long")], [Variable("v", "start", "input")], []
    for at in range(nodes):
        site = Site((f"n{at}",), "system")
        spans.append(Span(f"s{at}", SpanKind.LLM, "double", "g", site.path))
        variables.append(Variable(f"p{at}", "p", "prompt", site=site, requires_grad=True))
        variables.append(Variable(f"r{at}", f"reply {at}", "reply", f"s{at}"))
        edges.append(Edge(variables[-3].id, f"r{at}", f"s{at}"))
        edges.append(Edge(f"p{at}", f"r{at}", f"s{at}"))
    outputs = {"answer": variables[-1].id}
    return seed(Trace("t", "long", tuple(spans), tuple(variables), tuple(edges), {"x": "v"}, outputs), [WRONG])


def wanted(messages) -> list[str]:
    """The ids that a request asks about."""
    return messages[-1].text.rpartition("Give feedback on")[2].rpartition(":")[2].strip(" .").split(", ")


def answer(messages, text="Say more about"):
    """A reply that criticises all that it was asked about."""
    said = [{"id": name, "feedback": f"{text} {name}."} for name in wanted(messages)]
    if "about_this" not in messages[0].text:
        return {"feedback": said}
    return {
        "about_this": [item for item in said if item["id"].startswith("P")],
        "about_inputs": [item for item in said if item["id"].startswith("V")],
    }


def critic(replies=answer) -> ScriptedChatModel:
    """A model that criticises everything."""
    return ScriptedChatModel(replies=replies)
