"""Credit of decisions: who chose what ran next gets a part of the blame, at a low weight, and is told what it chose."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypedDict

import pytest
from inline_snapshot import snapshot
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph

from textgrad_lg.autograd import backward, relevant, seed
from textgrad_lg.autograd.choices import CHOICES, choices, chosen_by, lines
from textgrad_lg.example import Score
from textgrad_lg.record import discover, record
from textgrad_lg.templates import tokens_in
from textgrad_lg.trace import CANDIDATE, OPTIONS, Trace
from textgrad_lg.types import SpanKind, Strategy

from . import routers
from .helpers import answer, critic

CHAIN, FUSED, STRUCTURAL = Strategy.CHAIN, Strategy.FUSED, Strategy.STRUCTURAL
WRONG = Score("right", 0.0, "the question is about a permit", ("answer",), {"answer": "It is allowed."})


def ran(make, score=WRONG, *, seen=True) -> Trace:
    """One judged run, its Parameters marked; `seen` is whether the graph's code is at hand."""
    graph = make(routers.model())
    with record() as recording, suppress(ValueError):
        graph.invoke({"q": "May I park?"})
    trace = replace(recording.traces[0], example="e1")
    return seed(discover([trace], graph if seen else None).label(trace), [score])


def triage(trace):
    return [v for v in trace.parameters if str(v.value).startswith(routers.TRIAGE)]


def shown(request, label):
    found = re.search(rf"<<<DATA {label}[^\n]*>>>\n(.*?)\n<<<END", request, re.DOTALL)
    return found[1] if found else None


@pytest.mark.parametrize("strategy", [CHAIN, FUSED, STRUCTURAL])
@pytest.mark.parametrize("form", routers.FORMS)
async def test_whoever_decides_gets_credit(form, strategy):
    trace = ran(routers.FORMS[form])
    (prompt,) = triage(trace)
    gradients = await backward(trace, critic(), strategy=strategy)
    (found,) = gradients.on(prompt.id)
    span = trace.span_by_id[found.span]
    assert (found.site, span.kind, span.visit) == (prompt.site, SpanKind.LLM, 0)
    assert (found.score, found.example) == (0.0, "e1")
    # What was only decided is less sure than what was made.
    assert 0 < found.weight <= CANDIDATE
    others = [g for g in gradients if g.site is not None and g.site != prompt.site]
    assert all(g.weight == 1.0 for g in others)
    assert others or form == "into_an_error"
    assert gradients.failures == ()


@pytest.mark.parametrize("strategy", [CHAIN, FUSED, STRUCTURAL])
async def test_each_decision_of_a_loop_gets_credit_by_itself(strategy):
    trace = ran(routers.by_loop)
    uses = triage(trace)
    gradients = await backward(trace, critic(), strategy=strategy)
    found = [g for g in gradients if g.site is not None and g.site == uses[0].site]
    assert {g.variable for g in found} <= {use.id for use in uses}
    last = [g for g in found if g.variable == uses[-1].id]
    assert [trace.span_by_id[g.span].visit for g in last] == [1]


TOLD = {
    "by_edge": "next node, chosen by `router`: one (the choices: one, two)",
    "by_router": "next node, chosen by `router`: one (the choices: one, two)",
    "by_command": "next node, chosen by `triage`: one (the choices: one, two)",
    "by_schema": "next node, chosen by `triage`: one (the choices: one, two)",
    "by_send": "next node, chosen by `router`: one (the choices: one, two)",
    "by_handoff": "next node, chosen by `triage`: one",
    "by_end": "next node, chosen by `router`: good (the choices: good (the end), again (two))",
    "by_detour": "next node, chosen by `router`: before_one (the choices: before_one, before_two)",
    "into_an_error": "next node, chosen by `triage`: boom (the choices: boom, two)",
}


@pytest.mark.parametrize("form", routers.FORMS)
async def test_the_critic_is_told_what_was_chosen_and_among_what(form):
    trace = ran(routers.FORMS[form])
    model = critic()
    await backward(trace, model, strategy=CHAIN)
    asked = {r.messages[-1].text for r in model.requests}
    decided = [shown(request, "what the reply decided") for request in asked]
    assert [text for text in decided if text] == [TOLD[form]]
    assert all(routers.TRIAGE in request for request in asked if shown(request, "what the reply decided"))
    model = critic()
    await backward(trace, model, strategy=FUSED)
    told = shown(model.requests[0].messages[-1].text, "what ran next")
    assert told is not None
    assert re.fullmatch(rf"S\d+: {re.escape(TOLD[form])}", told)


def test_without_the_graphs_code_the_choice_is_told_without_the_options():
    pruned = relevant(ran(routers.by_command, seen=False))
    assert lines(pruned, choices(pruned)) == ["next node, chosen by `triage`: one"]


async def test_what_a_request_about_a_decision_looks_like():
    model = critic()
    await backward(ran(routers.by_command), model, strategy=CHAIN, goal="Answer.")
    request = next(r.messages[-1].text for r in model.requests if routers.TRIAGE in r.messages[-1].text)
    assert re.sub(r" [0-9a-f]{8}>>>", ">>>", request.partition("The step to criticise")[2]) == snapshot("""\
 is a model call in `triage`.

<<<DATA P1: system prompt of `triage`>>>
You choose a desk: one or two.
<<<END>>>

<<<DATA the rest of what it was given>>>
human: May I park?
<<<END>>>

<<<DATA reply of the call>>>
one
<<<END>>>

The reply also decided what ran next. If another choice would have served better, say of the call's prompts in which case to choose what. If the choice was right, what went wrong after it is no fault of this call.

<<<DATA what the reply decided>>>
next node, chosen by `triage`: one (the choices: one, two)
<<<END>>>

<<<DATA feedback on it>>>
- the question is about a permit (score 0, 1 example)
<<<END>>>

Give feedback on: P1.\
""")


@pytest.mark.parametrize("strategy", [CHAIN, FUSED])
async def test_a_right_decision_gets_no_blame(strategy):
    """The same fault, a wrong output; the critic blames the decision only where the request shows that it was wrong."""

    def reply(messages):
        request = messages[-1].text
        said = answer(messages)
        told = shown(request, "what the reply decided") or shown(request, "what ran next") or ""
        wrong = "It is allowed." in request and ": one (the choices" in told
        prompt = re.search(rf"<<<DATA (P\d): [^\n]*>>>\n{re.escape(routers.TRIAGE)}", request)
        name = prompt[1] if prompt else None
        return {key: [item for item in items if (item["id"] == name) is wrong] for key, items in said.items()}

    async def blamed(wanted):
        trace = ran(routers.by_command, Score("right", 0.0, "wrong", ("answer",), {"answer": wanted}))
        gradients = await backward(trace, critic(reply), strategy=strategy)
        return [str(site) for site in gradients.parameters()]

    # A request about one step alone does not show that the step was the wrong one.
    also = ["one/system"] if strategy is CHAIN else []
    assert await blamed("It is allowed.") == [*also, "triage/system"]
    assert await blamed("It costs four coins.") == ["one/system"]


async def test_a_passing_run_asks_only_what_to_keep():
    score = Score("right", 1.0, "right", ("answer",))
    trace = ran(routers.by_command, score)
    gradients = await backward(trace, strategy=STRUCTURAL)
    assert {g.score for g in gradients} == {1.0}


def test_an_ending_that_was_read_off_the_output_itself_is_no_choice_of_its_own():
    class Said(TypedDict, total=False):
        answer: str

    def judged(state):
        return END if "costs" in state["answer"] else "say"

    graph: Any = StateGraph(Said)
    llm = routers.model()
    graph.add_node("say", lambda _: {"answer": llm.invoke([SystemMessage("You know prices."), HumanMessage("?")]).text})
    graph.add_edge(START, "say")
    graph.add_conditional_edges("say", judged, ["say", END])
    with record() as recording:
        graph.compile().invoke({})
    trace = recording.traces[0]
    assert any(v.value == END for v in trace.variables)
    assert "control" not in {edge.via for edge in trace.edges}
    ended = ran(routers.by_end)
    assert {e.source for e in ended.incoming[ended.outputs["answer"]] if e.via == "control"}


def test_a_reply_that_stays_in_the_state_did_not_make_every_later_choice():
    trace = ran(routers.by_loop)
    pruned = relevant(trace)
    calls = [use.id.rpartition(".")[0] + ".out" for use in triage(trace)]
    own = [chosen_by(pruned, call) for call in calls if call in pruned.consumers]
    assert all(len(found) == 1 for found in own)
    assert len(set(own)) == len(own)
    desks = [v.id for v in trace.variables if v.role == "reply of `one`"]
    assert all(chosen_by(pruned, desk) == () for desk in desks if desk in pruned.consumers)


def test_many_choices_are_told_under_a_cap_and_what_was_sent_is_not_told():
    trace = ran(routers.by_send)
    pruned = relevant(trace)
    (choice,) = choices(pruned)
    sent = [{"node": "work", "arg": {"q": "a secret"}}] * 3 + [{"node": "__end__", "arg": {}}]
    changed = replace(trace.variable_by_id[choice], value=sent)
    other = replace(trace, variables=tuple(changed if v.id == choice else v for v in trace.variables))
    told = lines(replace(pruned, trace=other), [choice])
    assert told == ["next node, chosen by `router`: work, 3 times, the end (the choices: one, two)"]


async def test_a_long_list_of_options_does_not_flood_the_request():
    trace = ran(routers.by_command)
    spans = [
        replace(span, attributes={**span.attributes, OPTIONS: [f"node_{at}" for at in range(900)]})
        if OPTIONS in span.attributes
        else span
        for span in trace.spans
    ]
    model = critic()
    await backward(replace(trace, spans=tuple(spans)), model, strategy=CHAIN)
    told = [shown(r.messages[-1].text, "what the reply decided") for r in model.requests]
    assert [tokens_in(text) <= CHOICES for text in told if text] == [True]


def test_options_survive_json_and_labelling_twice():
    graph = routers.by_command(routers.model())
    with record() as recording:
        graph.invoke({"q": "May I park?"})
    found = discover(recording.traces, graph)
    once = found.label(recording.traces[0])
    assert found.label(once) == once
    assert Trace.from_json(once.to_json()) == once
    assert [span.attributes[OPTIONS] for span in once.spans if OPTIONS in span.attributes] == [["one", "two"]]
    assert found.routes == {("triage",): ("one", "two")}
