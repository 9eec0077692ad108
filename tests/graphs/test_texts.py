"""Every way of holding text, by every way of running a graph: found, recorded, replaced, and left alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from inline_snapshot import snapshot

from textgrad_lg.overlay import Replacement, overlay
from textgrad_lg.record import Discovery, discover, record, static_texts
from textgrad_lg.site import Site
from textgrad_lg.trace import Trace
from textgrad_lg.types import SpanKind

from .cases import CASES, Case
from .harness import ASYNC, WAYS, clerk, pieces, sent_by, with_pieces
from .texts import multimodal

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")

RUNS = [(name, way) for name, case in CASES.items() for way in (ASYNC if case.asynchronous else WAYS)]


@dataclass(frozen=True)
class World:
    """A case's graph, which all its tests share, and what was found in it."""

    graph: Any
    model: Any
    traces: tuple[Trace, ...]
    found: Discovery
    held: tuple[Any, ...]

    def texts(self):
        """Each Parameter's text with a mark of its own in front."""
        return {site: Replacement(old, old.with_text(f"{mark(site)}{old.text}")) for site, old in self.prompts.items()}

    @property
    def prompts(self):
        return {site: self.found.parameters[site] for site in self.found.trainable}


def mark(site: Site) -> str:
    return f"<NEW {site}> "


@cache
def world(name: str) -> World:
    case = CASES[name]
    model = clerk()
    graph = case.module.build(model)
    traces = tuple(recorded(case, graph, at, "ainvoke" if case.asynchronous else "invoke") for at in range(3))
    return World(graph, model, traces, discover(traces, graph), static_texts(graph))


def recorded(case: Case, graph: Any, at: int, way: str) -> Trace:
    with record(example=str(at)) as recording:
        WAYS[way](graph, case.inputs()[at], **case.options)
    return recording.trace


def calls(trace: Trace) -> list[Any]:
    return [span for span in trace.spans if span.kind is SpanKind.LLM]


def texts_of(messages: Any) -> list[list[str]]:
    """The texts that a recorded call was sent."""
    return [pieces(message) for message in messages]


@pytest.mark.parametrize("name", CASES)
class TestFound:
    def test_all_parameters_with_their_slots_and_where_they_are_held(self, name):
        case, found = CASES[name], world(name).found
        assert {str(site): found.parameters[site] for site in found.trainable} == case.parameters
        for site, source in zip(found.trainable, case.sources, strict=True):
            assert found.sources.get(site, "").startswith(source)
            assert bool(source) == (site in found.sources)

    def test_nothing_is_said_to_be_out_of_reach_that_was_sent(self, name):
        found = world(name).found
        sent = {template.text for template in found.parameters.values()}
        assert not [text for text in found.unreached if text.text in sent]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.unseen != tuple(case.parameters)])
def test_in_the_runs_alone_all_is_found_but_names_that_only_the_code_has(name):
    case, found = CASES[name], discover(world(name).traces)
    assert {str(site): found.parameters[site].text for site in found.trainable} == {
        site: case.blind.get(site, template.text)
        for site, template in case.parameters.items()
        if site not in case.unseen
    }


@pytest.mark.parametrize(("name", "way"), RUNS)
class TestEveryWay:
    def test_recorded_as_it_was_sent(self, name, way):
        case, at = CASES[name], world(name)
        traces: list[Trace] = []
        sent = sent_by(at.model, lambda: traces.append(recorded(case, at.graph, 0, way)))
        (trace,) = traces
        assert [texts_of(call.attributes["messages"]) for call in calls(trace)] == [
            [pieces(message) for message in messages] for messages in sent
        ]
        assert Trace.from_json(trace.to_json()) == trace
        labelled = at.found.label(trace)
        assert {variable.site for variable in labelled.parameters if variable.requires_grad} == set(at.found.trainable)

    def test_replaced_once_and_nothing_else_is(self, name, way):
        case, at = CASES[name], world(name)
        run = lambda: WAYS[way](at.graph, case.inputs()[1], **case.options)  # noqa: E731
        before = sent_by(at.model, run)
        traces: list[Trace] = []
        with overlay(at.texts()):
            under = sent_by(at.model, lambda: traces.append(recorded(case, at.graph, 1, way)))
        calls_of = [marked_in(call, name) for call in calls(world(name).traces[1])]
        assert under == [
            [marked(at, message, *place) for message in messages]
            for messages, place in zip(before, calls_of, strict=True)
        ]
        seen = str(under)
        assert all(mark(site) in seen for site in at.found.trainable)
        (trace,) = traces
        assert [texts_of(call.attributes["messages"]) for call in calls(trace)] == [
            [pieces(message) for message in messages] for messages in under
        ]
        assert sent_by(at.model, run) == before
        assert static_texts(at.graph) == at.held


def marked_in(call: Any, name: str) -> tuple[str, tuple[str, ...]]:
    """The node of a call, and the Sites whose texts may stand in messages from the state."""
    return "/".join(call.path), CASES[name].kept


def marked(at: World, message: dict[str, Any], node: str, kept: tuple[str, ...]) -> dict[str, Any]:
    """A message as it must be under the overlay: found by comparing whole texts, without the code under test."""
    new: list[str] = []
    for text in pieces(message):
        fitting = [
            site
            for site, old in at.prompts.items()
            if site.role == message["type"] and "/".join(site.path) == node and old.match(text) is not None
        ]
        state = message["type"] == "human" and message["has_id"]
        new.append(f"{mark(fitting[0])}{text}" if fitting and (not state or str(fitting[0]) in kept) else text)
    return with_pieces(message, new)


def test_what_the_models_are_sent_under_an_overlay():
    requests: dict[str, list[str]] = {}
    for name, case in CASES.items():
        at = world(name)
        before = len(at.model.requests)
        with overlay(at.texts()):
            WAYS["ainvoke" if case.asynchronous else "invoke"](at.graph, case.inputs()[0], **case.options)
        requests[name] = [str(request) for request in at.model.requests[before:]]
    assert requests == snapshot(
        {
            "create_agent, text": [
                """\
system: <NEW model[clerk]/system> You help customers of a bicycle shop.
human: a loose chain
tools: find_order\
""",
                """\
system: <NEW model[clerk]/system> You help customers of a bicycle shop.
human: a loose chain
ai: \n\
tool: order 7 is on its way
tools: find_order\
""",
            ],
            "create_agent, message": [
                """\
system: <NEW model/system> You check the bills of a bicycle shop.
human: a loose chain\
"""
            ],
            "create_react_agent, text": [
                """\
system: <NEW agent/system> You sell spare parts for bicycles.
human: a loose chain
tools: find_order\
""",
                """\
system: <NEW agent/system> You sell spare parts for bicycles.
human: a loose chain
ai: \n\
tool: order 7 is on its way
tools: find_order\
""",
            ],
            "create_react_agent, message": [
                """\
system: <NEW agent/system> You rent bicycles by the hour.
human: a loose chain
tools: find_order\
""",
                """\
system: <NEW agent/system> You rent bicycles by the hour.
human: a loose chain
ai: \n\
tool: order 7 is on its way
tools: find_order\
""",
            ],
            "create_react_agent, callable": [
                """\
system: <NEW agent/system> You write to Ada Byron on behalf of the workshop.
human: a loose chain\
"""
            ],
            "template | model": [
                """\
system: <NEW desk/system> You help Ada Byron. Say at most two sentences.
human: a loose chain\
"""
            ],
            "system and human template": [
                """\
system: <NEW desk/system> You are a patient mechanic. Return JSON such as {"fault": "chain"}.
human: <NEW desk/human> The customer Ada Byron asks about a loose chain. Name the fault.\
"""
            ],
            "module constant": [
                """\
system: <NEW desk/system> You answer for the bicycle shop. Never promise a date.
human: a loose chain\
"""
            ],
            "f-string in the node": [
                """\
system: <NEW desk/system> You write to Ada Byron. The matter is: a loose chain. Be brief.
human: a loose chain\
"""
            ],
            "f-string in a helper of another module": [
                "human: <NEW desk/human> Advise Ada Byron on the subject A LOOSE CHAIN, and name one book on it."
            ],
            "str.format": [
                """\
human: <NEW desk/human> Write a letter to Ada Byron.

Subject: a loose chain
Close with "Yours, the {shop}".\
"""
            ],
            "partial template": [
                """\
system: <NEW desk/system> You work for Spokes. Never promise a date. Never name a price. You now talk to Ada Byron.
human: a loose chain\
"""
            ],
            "MessagesPlaceholder": [
                """\
system: <NEW desk/system> You remember what Ada Byron said before.
human: a loose chain
human: <NEW desk/human> Now sum up the talk with Ada Byron.\
"""
            ],
            "few-shot turns": [
                """\
system: <NEW desk/system> Name the part of the bicycle.
human: <NEW desk/human> The chain is loose
ai: drivetrain
human: <NEW desk/human#1> The lamp is dark
ai: lights
human: a loose chain\
"""
            ],
            "few-shot text": [
                """\
human: <NEW desk/human> Name the part of the bicycle that each complaint is about.

Complaint: The chain is loose
Part: drivetrain

Complaint: The lamp is dark
Part: lights

Complaint: a loose chain
Part:\
"""
            ],
            "dynamic_prompt": [
                """\
system: <NEW model/system> You speak with Ada Byron, who has written before. Stay polite.
human: a loose chain\
"""
            ],
            "wrap_model_call": [
                """\
system: <NEW model/system> You plan visits to the shop.

Mind that the shop is closed on Mondays.
human: a loose chain\
"""
            ],
            "before_model": [
                """\
system: <NEW model/system> You translate letters.
human: a loose chain
system: <NEW model/system#1> Answer in the language of the customer.\
"""
            ],
            "configurable, set": [
                """\
system: <NEW desk/system> You only ever answer in rhyme.
human: a loose chain\
"""
            ],
            "configurable, default": [
                """\
system: <NEW desk/system> You advise the customers of the shop.
human: a loose chain\
"""
            ],
            "context_schema, default": [
                """\
system: <NEW desk/system> You are the voice of the bicycle shop. Speak of Ada Byron by name.
human: a loose chain\
"""
            ],
            "context_schema, set": [
                """\
system: <NEW desk/system> You rhyme. You address Ada Byron.
human: a loose chain\
"""
            ],
            "store": [
                """\
system: <NEW desk/system> You know every screw of a bicycle.
human: a loose chain\
"""
            ],
            "hub prompt": [
                """\
system: <NEW desk/system> You grade what Ada Byron wrote.
human: a loose chain\
"""
            ],
            "content blocks": [
                """\
system: <NEW desk/system> The manual says: oil the chain every month.<NEW desk/system#1> You help Ada Byron with the manual.
human: a loose chain\
"""
            ],
            "multimodal message": [
                "human: <NEW desk/human> This picture was sent by Ada Byron.<NEW desk/human#1> Which part of the bicycle is broken?"
            ],
            "text made in another node": [
                """\
system: <NEW send/system> You prepare a visit of Ada Byron to the shop.
human: a loose chain\
"""
            ],
            "human message kept in the state": [
                """\
system: <NEW talk/system> You answer letters.
human: a loose chain
human: <NEW talk/human> Here is a letter from Ada Byron that has to be answered.\
""",
                """\
human: a loose chain
human: <NEW check/human> Here is a letter from Ada Byron that has to be answered.
ai: It is done.\
""",
            ],
            "model.ainvoke": [
                """\
system: <NEW desk/system> You listen to Ada Byron.
human: a loose chain\
"""
            ],
            "model.stream": [
                """\
system: <NEW desk/system> You sing to Ada Byron.
human: a loose chain\
"""
            ],
            "model.astream": [
                """\
system: <NEW desk/system> You hum to Ada Byron.
human: a loose chain\
"""
            ],
        }
    )


def test_a_picture_reaches_the_model_as_it_was():
    at = world("multimodal message")
    with overlay(at.texts()):
        ((message,),) = sent_by(at.model, lambda: at.graph.invoke(CASES["multimodal message"].inputs()[0]))
    assert message["content"][1] == multimodal.PICTURE
