"""Graphs with tools and output schemas: found, recorded, overlaid and left alone, in every way of running them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from tests.graphs.tools import answers, commands, parallel
from tests.overlay.support import WAYS
from tests.record.graphs import edges, record
from textgrad_lg.overlay import Replacement, bind, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.record import discover
from textgrad_lg.record.offered import offered
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel


def calls(*wanted):
    return AIMessage("", tool_calls=[{"name": n, "args": a, "id": i, "type": "tool_call"} for n, a, i in wanted])


TWO = calls(("price", {"item": "tea"}, "c1"), ("stock", {"item": "jam"}, "c2"))
NOTE = calls(("take_note", {"text": "milk"}, "c1"))
OVER = calls(("hand_over", {"reason": "angry"}, "c1"))
JSON = '{"label": "good", "reasons": []}'
LABEL = calls(("Answer", {"label": "good", "reasons": []}, "c1"))
PRICES = {
    "tools:price/description": "The price of an item.",
    "tools:price/args/item": "The item's name.",
    "tools:stock/description": "How many of an item are there.",
    "tools:stock/args/item": "The item's name.",
}
ANSWER = {
    "description": "What the review says.",
    "args/label": "The label.",
    "args/reasons": "Why.",
    "args/reasons#1": "One reason.",
    "args/reasons.words": "A quote.",
}


@dataclass(frozen=True)
class Case:
    """A graph, what its model replies, its input, the descriptions that its first call offers, and how often it calls."""

    build: Any
    replies: list[Any]
    offers: dict[str, str]
    calls: int = 2
    inputs: Any = field(default_factory=lambda: {"messages": [("human", "Well?")]})

    def graph(self):
        model = ScriptedChatModel(replies=self.replies)
        return model, self.build(model)


CASES = {
    "agent, parallel calls": Case(parallel.agent, [TWO, "fine"], PRICES),
    "tool node, parallel calls": Case(parallel.tool_node, [TWO, "fine"], PRICES),
    "command that updates": Case(
        commands.updates,
        [NOTE, "fine"],
        {"tools:take_note/description": "Remember something.", "tools:take_note/args/text": "What to remember."},
    ),
    "command to the parent": Case(
        commands.handoff,
        [OVER, "fine"],
        {"tools:hand_over/description": "Hand over to the boss.", "tools:hand_over/args/reason": "Why."},
    ),
    "answer by tool": Case(answers.by_tool, [LABEL], {f"tools:Answer/{at}": text for at, text in ANSWER.items()}, 1),
    "answer by schema": Case(answers.by_schema, [JSON], {f"schemas:Answer/{at}": t for at, t in ANSWER.items()}, 1),
    "answer in a node": Case(
        answers.in_a_node,
        [JSON],
        {f"schemas:Answer/{at}": text for at, text in ANSWER.items()},
        1,
        {"review": "Good."},
    ),
}


def new(offers):
    return {Site.parse(site): Replacement(Template(text), Template(f"New: {text}")) for site, text in offers.items()}


def told(options):
    """Every description in a request's tools and schema, in order."""
    return descriptions([options.get("tools"), options.get("response_format")])


def descriptions(value):
    if isinstance(value, dict):
        own = [value["description"]] if isinstance(value.get("description"), str) else []
        return own + [text for item in value.values() for text in descriptions(item)]
    return [text for item in value for text in descriptions(item)] if isinstance(value, list) else []


def shown(trace):
    """The descriptions that each model call of a Trace was offered."""
    return [[text for _, text in offered(span)] for span in trace.spans if span.kind == "llm"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
class TestEveryWay:
    def test_the_new_descriptions_are_sent_and_shown(self, case, way):
        model, graph = case.graph()
        with record() as recording, overlay(new(case.offers)):
            WAYS[way](graph, case.inputs, {})
        assert len(model.requests) == case.calls
        assert set(told(model.requests[0].options)) == {f"New: {text}" for text in case.offers.values()}
        trace = recording.traces[0]
        assert set(shown(trace)[0]) == set(told(model.requests[0].options))

    def test_the_graphs_own_are_sent_where_no_overlay_is_in_force(self, case, way):
        model, graph = case.graph()
        bound = bind(graph, lambda: new(case.offers))
        with record() as recording:
            WAYS[way](graph, case.inputs, {})
        assert set(told(model.requests[0].options)) == set(case.offers.values())
        assert set(shown(recording.traces[0])[0]) == set(case.offers.values())
        other, again = case.graph()
        WAYS[way](bind(again, bound.texts_source), case.inputs, {})
        assert set(told(other.requests[0].options)) == {f"New: {text}" for text in case.offers.values()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
class TestDiscovery:
    def trace(self, case):
        _, graph = case.graph()
        with record() as recording:
            graph.invoke(case.inputs)
        return graph, recording.trace

    def test_descriptions_are_found_and_left_alone(self, case):
        graph, trace = self.trace(case)
        found = discover([trace], graph)
        here = {str(site): text.text for site, text in found.parameters.items() if not site.in_message}
        assert here == case.offers
        assert all(site.in_message for site in found.trainable)
        assert [at.id for at in found.label(trace).variables] == [at.id for at in trace.variables]

    def test_they_become_parameters_of_the_calls_that_sent_them(self, case):
        graph, trace = self.trace(case)
        found = discover(
            [trace], graph, only=["tools:*" if next(iter(case.offers)).startswith("tools:") else "schemas:*"]
        )
        assert [str(site) for site in found.trainable] == list(case.offers)
        marked = found.label(trace)
        assert found.label(marked) == marked
        span = next(span.id for span in trace.spans if span.kind == "llm")
        mine = {v.id: v.value for v in marked.parameters if v.requires_grad and v.id.startswith(f"{span}.")}
        assert mine == {f"{span}.{site}": text for site, text in case.offers.items()}
        assert {edge.target for edge in marked.edges if edge.source in mine} == {f"{span}.out"}
        assert type(marked).from_json(marked.to_json()) == marked


class TestEdges:
    def test_parallel_calls_each_lead_to_their_own_result(self):
        for build in (parallel.agent, parallel.tool_node):
            _, graph = Case(build, [TWO, "fine"], PRICES).graph()
            with record() as recording:
                graph.invoke({"messages": [("human", "Well?")]})
            trace = recording.trace
            results = {span.name: f"{span.id}.out" for span in trace.spans if span.kind == "tool"}
            assert set(results) == {"price", "stock"}
            into = {target: via for source, target, via in edges(trace) if target in results.values()}
            assert into == dict.fromkeys(results.values(), "tool-call-id")
            last = [span for span in trace.spans if span.kind == "llm"][-1]
            said = [message.get("content") for message in last.attributes["messages"]]
            assert said[-2:] == ["tea costs 3 coins", "4 of jam are left"]
            assert ancestors(trace, f"{last.id}.out") >= set(results.values())

    def test_what_a_tools_command_writes_comes_from_its_call(self):
        _, graph = CASES["command that updates"].graph()
        with record() as recording:
            result = graph.invoke({"messages": [("human", "Well?")]})
        assert result["note"] == "noted: milk"
        trace = recording.trace
        tool = next(span for span in trace.spans if span.kind == "tool")
        first = next(span for span in trace.spans if span.kind == "llm")
        assert (f"{first.id}.out") in ancestors(trace, f"{tool.id}.out")
        assert f"{tool.id}.out" in ancestors(trace, trace.outputs["note"])

    def test_what_a_handoff_carries_reaches_the_node_it_goes_to(self):
        _, graph = CASES["command to the parent"].graph()
        with record() as recording:
            graph.invoke({"messages": [("human", "Well?")]})
        trace = recording.trace
        first, boss = [span for span in trace.spans if span.kind == "llm"]
        assert boss.path == ("boss",)
        assert json.dumps(boss.attributes["messages"]).count("handed over: angry") == 1
        assert f"{first.id}.out" in ancestors(trace, f"{boss.id}.out")


def ancestors(trace, name):
    found, todo = set(), [name]
    while todo:
        for edge in trace.incoming.get(todo.pop(), ()):
            if edge.weight == 1.0 and edge.source not in found:
                found.add(edge.source)
                todo.append(edge.source)
    return found
