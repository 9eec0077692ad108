"""No true edge is missing: what is recorded, against what the versions of Pregel's channels tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import pytest

from textgrad_lg.trace import CANDIDATE, Edge, Trace

from .projection import Pair, makers, node_edges, visits
from .tap import CONTROL, DATA, ERROR, RESULT, SEND, STATIC, Seen, Tap, tap
from .topology import CASES, play

# The routers of `create_agent` are not traced. What they choose by, the ids of tool calls, is a confirmed edge by itself.
UNTRACED = ("agent", "supervisor", "swarm", "deep-agent")
WAYS = ("invoke", "stream subgraphs", "ainvoke")

# Why the oracle may tell of an edge that is not in the Trace. The first three are edges that carry nothing; the next
# three are faults of the oracle, and tests below show that the Trace is right; the last two are bounds of the recorder.
DRAWN = "the author drew it: the reader runs after the writer, and read nothing of it"
UNUSED = "the reader made nothing: it wrote no channel, asked no model and raised nothing"
UNCHANGED = "a graph inside handed back what it was given, which is no write of its own"
OVERWRITTEN = "an Overwrite had thrown the value away"
OLDER = (
    "an older part of a list that was found in nothing: linked once, at the reader's first visit after it was written"
)
CACHED = "one of the two did not run, because its result was cached: no callback tells of it"
MISSING = (DRAWN, UNUSED, UNCHANGED, OVERWRITTEN, OLDER, CACHED)

# Why the Trace may hold an edge that the oracle does not tell of.
INSIDE = "the result of a graph inside, handed to the node that holds it"
POSSIBLE = "only possible: at the weight of a candidate"
EXTRA = (INSIDE, POSSIBLE)


@dataclass(frozen=True)
class Row:
    """The edges of one topology, over all of its runs.

    Attributes:
        topology: Its name.
        true: How many the oracle tells of.
        ours: How many of these are in the Trace.
        missing: How many are not, by the reason.
        extra: How many others are in the Trace, by the reason.
    """

    topology: str
    true: int
    ours: int
    missing: Mapping[str, int]
    extra: Mapping[str, int]


def table() -> Iterator[Row]:
    """A row for each topology, as run by `invoke`."""
    for name in CASES:
        compared = [compare(told, trace) for told, trace in watched(name, "invoke")]
        missing = Counter(reason for found in compared for reason in found.missing.values())
        extra = Counter(reason for found in compared for reason in found.extra.values())
        true = sum(len(found.true) for found in compared)
        yield Row(name, true, true - missing.total(), missing, extra)


@dataclass(frozen=True)
class Compared:
    """The edges that the oracle tells of, and those that only one of the two has, each with its reason or ""."""

    true: Mapping[Pair, list[Seen]]
    missing: Mapping[Pair, str]
    extra: Mapping[Pair, str]


def compare(told: Tap, trace: Trace) -> Compared:
    ours = node_edges(trace)
    true: dict[Pair, list[Seen]] = {}
    for seen in told.seen:
        true.setdefault((seen.source, seen.target), []).append(seen)
    return Compared(
        true,
        {pair: why_missing(told, trace, ours, seen) for pair, seen in true.items() if pair not in ours},
        {pair: why_extra(pair, edges) for pair, edges in ours.items() if pair not in true},
    )


def why_missing(told: Tap, trace: Trace, ours: Mapping[Pair, list[Edge]], seen: list[Seen]) -> str:
    source, target = seen[0].source, seen[0].target
    names = visits(trace)
    read = [at for at in seen if at.kind != STATIC]
    if source not in names or target not in names:
        return CACHED
    path = names[target].partition("#")[0]
    before = {at for (writer, at) in ours if writer == source and names[at].partition("#")[0] == path}
    holds = {
        DRAWN: not read,
        UNUSED: target not in makers(trace),
        OVERWRITTEN: all(at.replaced for at in read),
        UNCHANGED: all(at.kind == DATA and unchanged(told, at) for at in read),
        OLDER: bool(before) and all(at.kind == DATA and not at.latest for at in read),
    }
    return next((reason for reason, true in holds.items() if true), "")


def unchanged(told: Tap, seen: Seen) -> bool:
    writer = told.tasks[seen.source]
    given = writer.given if isinstance(writer.given, dict) else {}
    return all(name in given and given[name] == value for name, value in writer.wrote if name == seen.channel)


def why_extra(pair: Pair, edges: list[Edge]) -> str:
    if pair[0].startswith(f"{pair[1]}|"):
        return INSIDE
    return POSSIBLE if all(edge.weight == CANDIDATE for edge in edges) else ""


@cache
def watched(name: str, way: str) -> list[tuple[Tap, Trace]]:
    taps: list[Tap] = []

    @contextmanager
    def around():
        with tap() as found:
            taps.append(found)
            yield

    return list(zip(taps, play(CASES[name], way, around=around).traces, strict=True))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_no_true_edge_is_missing_and_each_other_has_a_reason(name, way):
    for told, trace in watched(name, way):
        found = compare(told, trace)
        assert [pair for pair, reason in found.missing.items() if not reason] == []
        assert [pair for pair, reason in found.extra.items() if not reason] == []


@pytest.mark.parametrize("name", CASES)
def test_a_choice_of_what_runs_next_is_an_edge_of_its_own(name):
    for told, trace in watched(name, "invoke"):
        ours = node_edges(trace)
        for seen in told.seen:
            pair = seen.source, seen.target
            if seen.kind == CONTROL and pair in ours and name not in UNTRACED:
                assert "control" in {edge.via for edge in ours[pair]} or told.tasks[seen.target].wrote == []


def test_the_table_tells_all_of_it():
    rows = {row.topology: row for row in table()}
    assert list(rows) == list(CASES)
    assert len([row for row in rows.values() if row.true]) >= 25
    assert {reason for row in rows.values() for reason in row.missing} == set(MISSING)
    assert {reason for row in rows.values() for reason in row.extra} == set(EXTRA)
    assert sum(row.ours for row in rows.values()) > 80


def test_the_oracle_sees_every_kind_of_edge():
    seen = Counter(at.kind for name in CASES for told, _ in watched(name, "invoke") for at in told.seen)
    assert set(seen) == {DATA, SEND, CONTROL, STATIC, ERROR, RESULT}


@pytest.mark.parametrize("name", ["linear", "fan-out", "send", "loop", "error-handler", "functional", "agent"])
def test_the_oracle_notices_each_edge_that_is_taken_away(name):
    for told, trace in watched(name, "invoke"):
        whole = compare(told, trace)
        for pair, edges in node_edges(trace).items():
            if pair not in whole.true:
                continue
            less = replace(trace, edges=tuple(at for at in trace.edges if at not in edges))
            assert compare(told, less).missing[pair] in (OLDER, "")
            if any(at.latest for at in whole.true[pair]):
                assert compare(told, less).missing[pair] == ""


def test_the_oracle_notices_an_edge_too_many():
    ((told, trace),) = watched("fan-out", "invoke")
    made = {at.id: at.span for at in trace.variables}
    law, money = (at.id for at in trace.spans if at.name in ("law", "money"))
    first, second = (next(name for name, span in made.items() if span == at) for at in (law, money))
    more = replace(trace, edges=(*trace.edges, Edge(first, second, money)))
    assert list(compare(told, more).extra.values()) == [""]


class TestFaultsOfTheOracle:
    """Where versions tell too much, and the Trace is right."""

    def test_a_value_that_an_overwrite_threw_away_has_no_reader(self):
        ((told, trace),) = watched("overwrite", "invoke")
        at = {name: task for task, name in visits(trace).items()}
        gone = [(seen.source, seen.target) for seen in told.seen if seen.replaced]
        assert gone == [(at["first#0"], at["more#0"]), (at["first#0"], at["answer#0"])]
        assert not set(gone) & set(node_edges(trace))
        assert (at["first#0"], at["prune#0"]) in node_edges(trace)

    def test_a_key_that_a_graph_inside_hands_back_unchanged_is_no_write(self):
        ((told, trace),) = watched("unchanged", "invoke")
        at = {name: task for task, name in visits(trace).items()}
        assert [name for name, _ in told.tasks[at["check#0"]].wrote] == ["question"]
        # `verdict` is no channel of the graph around it, so nobody there can read it.
        assert [v.id for v in trace.variables if v.span == "s1"] == ["s1.out.verdict"]
        assert (at["check#0"], at["answer#0"]) not in node_edges(trace)

    @pytest.mark.parametrize("name", ["command-parent", "command-parent-deep", "command-named", "supervisor", "swarm"])
    def test_what_a_handoff_updates_is_the_write_of_the_node_that_it_ends(self, name):
        told, trace = watched(name, "invoke")[0]
        ours = node_edges(trace)
        aborted = {task for task, at in told.tasks.items() if not at.ended}
        assert aborted
        for task in aborted:
            span = next(at for at in trace.spans if at.attributes.get("task") == task)
            made = [at for at in trace.variables if at.span == span.id and ".out." in at.id]
            # Its step never took effect, so it wrote nothing by the versions; but its update is a write, and it is used
            # by the node around it, which has the same update as its own.
            assert made
            assert not told.tasks[task].wrote
            assert (task, task.rpartition("|")[0]) in ours
