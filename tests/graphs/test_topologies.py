"""Each topology, in every way of running it: the same Trace, the prompt found, replaced, and left alone otherwise."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from textgrad_lg.record import discover
from textgrad_lg.trace import CANDIDATE, CONFIRMED, Trace

from .outlines import OUTLINES
from .projection import outline
from .topology import CASES, NEW, WAYS, built, normal_form, once, play

OTHER_WAYS = WAYS[1:]


@cache
def invoked(name):
    return play(CASES[name])


def texts(played):
    return [(message.type, message.text) for request in played.requests for message in request.messages]


def prompts(played, text):
    return [spoken for kind, spoken in texts(played) if kind == "system" and text in spoken]


@pytest.mark.parametrize("name", CASES)
def test_what_is_recorded(name):
    assert "\n---\n".join(outline(trace) for trace in invoked(name).traces) == OUTLINES[name]


@pytest.mark.parametrize("way", OTHER_WAYS)
@pytest.mark.parametrize("name", CASES)
def test_every_way_of_running_gives_the_same_trace(name, way):
    expected = [normal_form(trace) for trace in invoked(name).traces]
    assert [normal_form(trace) for trace in play(CASES[name], way).traces] == expected


@pytest.mark.parametrize("name", CASES)
def test_a_trace_holds_together(name):
    for trace in invoked(name).traces:
        assert Trace.from_json(trace.to_json()) == trace
        assert bool(trace.warnings) == (name == "cache" and trace is invoked(name).traces[1])


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_confirmed_stays_a_candidate(name):
    for trace in invoked(name).traces:
        assert {edge.via for edge in trace.edges if edge.weight == CANDIDATE} <= {"channel", "control"}
        assert {edge.via for edge in trace.edges if edge.weight == CONFIRMED}.isdisjoint({"channel", "control"})
        assert {edge.weight for edge in trace.edges} <= {CANDIDATE, CONFIRMED}


@pytest.mark.parametrize("name", CASES)
def test_the_prompt_is_discovered(name):
    case = CASES[name]
    graph, _ = built(case, InMemorySaver()) if case.saver else once(case)
    found = {str(site): template.text for site, template in discover(invoked(name).traces, graph).parameters.items()}
    assert case.source.PROMPT in found[case.site]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_the_prompt_is_replaced_and_the_trace_shows_it(name, way):
    case = CASES[name]
    new = NEW.format(old=case.source.PROMPT)
    before, laid = invoked(name), play(case, way, laid=True)
    assert len(prompts(laid, new)) == len(prompts(before, case.source.PROMPT)) > 0
    assert prompts(laid, case.source.PROMPT) == prompts(laid, new)
    shown = [at for trace in laid.traces for at in trace.parameters if str(at.site) == case.site]
    assert [new in str(at.value) for at in shown] == [True] * len(prompts(laid, new))


@pytest.mark.parametrize("name", CASES)
def test_afterwards_the_graph_is_as_it_was(name):
    case = CASES[name]
    play(case, laid=True)
    again = play(case, traced=False)
    assert sorted(texts(again)) == sorted(texts(invoked(name)))
    assert again.traces == []


def test_a_graph_called_twice_in_a_task_hands_on_what_the_first_call_gave():
    (trace,) = invoked("subgraph-twice").traces
    first, second = [span for span in trace.spans if span.kind == "graph" and span.parent == "s1"]
    (edge,) = [at for at in trace.incoming[f"{second.id}.in.text"] if at.weight == CONFIRMED]
    assert edge.source == f"{first.id}.out.short"


def test_a_person_is_asked_with_the_draft_and_the_answer_is_used():
    asked, resumed = invoked("interrupt").traces
    question = next(at for at in asked.variables if at.id.endswith(".out.__interrupt__"))
    assert question.value == [{"approve": "draft: a letter to the mayor"}]
    assert any(edge.source.endswith(".out.draft") for edge in asked.incoming[question.id])
    remark = next(at for at in resumed.variables if at.id.endswith(".out.remark"))
    assert [e.source for e in resumed.incoming[remark.id] if e.weight == CONFIRMED] == ["s0.in.resume"]


def test_a_second_run_on_a_thread_tells_its_own_input_from_what_was_there():
    _, second = invoked("checkpoint-sqlite").traces
    found: dict[str, Any] = {at.id: at for at in second.variables if at.id.startswith("s0.in.messages")}
    assert [(name, at.role, len(at.value)) for name, at in found.items()] == [
        ("s0.in.messages", "input `messages`", 1),
        ("s0.in.messages.2", "state `messages`, there before the run", 2),
    ]
    for call in (at for at in second.spans if at.kind == "llm"):
        sources = {edge.source for edge in second.incoming[f"{call.id}.out"]}
        assert {"s0.in.messages", "s0.in.messages.2"} <= sources


def test_a_cached_node_is_named_as_what_it_is():
    _, second = invoked("cache").traces
    roles = {at.id: at.role for at in second.variables if at.span is None and "did not run" in at.role}
    assert roles == {
        "s0.in.facts": "state `facts`, written by a node that did not run",
        "s0.in.log": "state `log`, written by a node that did not run",
    }
    assert second.variable_by_id["s0.in.log"].value == ["collected the facts"]
    log = {edge.source for edge in second.incoming["s0.out.log"]}
    assert log == {"s1.out.log", "s0.in.log"}
    assert [warning.split(";")[0] for warning in second.warnings] == [
        f"`{name}` was written in a step of graph `LangGraph` in which no node ran: the results came from a cache, or "
        "from a checkpoint. Which node it was, and what it had read, cannot be recorded"
        for name in ("facts", "log")
    ]


def test_what_an_entrypoint_saved_is_there_before_the_next_run():
    first, second = invoked("functional").traces
    assert "s0.in.previous" not in first.variable_by_id
    assert second.variable_by_id["s0.in.previous"].role == "state `previous`, there before the run"
    argument = next(at for at in second.variables if at.id.endswith(".in.earlier"))
    assert {(e.source, e.weight) for e in second.incoming[argument.id]} == {("s0.in.previous", CONFIRMED)}
    # Its result is the graph's, and what it saves is not.
    (source,) = [edge.source for edge in second.incoming["s0.out"]]
    assert [edge.source for edge in second.incoming[source]] == [
        next(at.id for at in second.variables if at.role == "result of `join`")
    ]
