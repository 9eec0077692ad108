"""All foreign graphs, in the order of the table."""

from __future__ import annotations

from tests.graphs.others import agents, bigtool, deep, extract, judge, memory, reflect, supervisor, swarm

CASES = [
    *agents.CASES,
    *supervisor.CASES,
    *swarm.CASES,
    *deep.CASES,
    *reflect.CASES,
    *bigtool.CASES,
    *extract.CASES,
    *memory.CASES,
    *judge.CASES,
]
