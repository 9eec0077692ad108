"""The edges of graphs that other people wrote, against the oracle: none of them was looked at when the recorder was made."""

from __future__ import annotations

from functools import cache

import pytest

from textgrad_lg.record import record
from textgrad_lg.trace import CONFIRMED

from .others.cases import CASES
from .others.check import construct, drive
from .projection import node_edges, visits
from .tap import SEND, tap
from .test_oracle import compare

PUSHED = "the sender pushed on what another node had made: the Trace has the edge from its maker"
TOLD = "the model was told it before, and gave it to the tool: its words are in both"
DELETED = "the graph's own reducer had deleted what it wrote, which versions do not tell"
# Every difference that none of the oracle's own reasons covers, as (writer, reader) by their nodes.
KNOWN = {
    "create_agent with to-do list, tool selector, tool emulator": {
        ("TodoListMiddleware.after_model", "tools"): PUSHED,
        ("model", "tools"): PUSHED,
    },
    "deep agent with a memory file and a skill": {("SkillsMiddleware.before_agent", "tools"): TOLD},
    "extractor that patches and updates": {
        ("extract/validate", "extract/sync"): DELETED,
        ("extract/validate", "extract/validate"): DELETED,
        ("extract/extract", "extract/patch"): PUSHED,
    },
}
# Those that are run twice for one input, to resume or for a second turn, are left out.
ONCE = [case for case in CASES if construct(case).follow is None]


@cache
def compared(name):
    case = next(case for case in ONCE if case.name == name)
    built = construct(case)
    found = []
    for given in case.inputs:
        with tap() as told, record() as recording:
            drive(built, case.ways[0], given)
        found.append((compare(told, recording.trace), recording.trace))
    return found


def nodes(trace, pair):
    names = visits(trace)
    writer, reader = (names[task].partition("#")[0] for task in pair)
    return writer, reader


@pytest.mark.parametrize("name", [case.name for case in ONCE])
def test_no_edge_is_missing_or_too_much_without_a_known_reason(name):
    for found, trace in compared(name):
        differing = [pair for pair, reason in {**found.missing, **found.extra}.items() if not reason]
        assert {nodes(trace, pair) for pair in differing} <= KNOWN.get(name, {}).keys()


def test_each_known_reason_is_still_one():
    for name, known in KNOWN.items():
        seen = {
            nodes(trace, pair)
            for found, trace in compared(name)
            for pair, reason in {**found.missing, **found.extra}.items()
            if not reason
        }
        assert seen == known.keys()


def test_what_is_pushed_on_comes_from_its_maker():
    name = next(name for name, known in KNOWN.items() if PUSHED in known.values())
    for found, trace in compared(name):
        lost = [pair for pair, reason in found.missing.items() if not reason]
        assert lost
        for pair in lost:
            assert {seen.kind for seen in found.true[pair]} == {SEND}
            edges = [edge for (_, reader), edges in node_edges(trace).items() if reader == pair[1] for edge in edges]
            assert any(edge.via == "tool-call-id" and edge.weight == CONFIRMED for edge in edges)


def test_they_have_edges_enough_to_tell():
    pairs = [pair for case in ONCE for found, _ in compared(case.name) for pair in found.true]
    assert len(ONCE) >= 15
    assert len(pairs) > 300
