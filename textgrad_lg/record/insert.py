"""Parameters that a Trace is recorded without, because most runs train none of them, put into it where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from textgrad_lg.trace import Edge

if TYPE_CHECKING:
    from textgrad_lg.trace import Trace
    from textgrad_lg.variable import Variable


def with_variables(trace: Trace, stale: Callable[[Variable], bool], made: Mapping[str, Sequence[Variable]]) -> Trace:
    """The Trace with more Variables, each in front of the reply that its call gave, and with an edge to it.

    Args:
        trace: The Trace.
        stale: Which of its Variables are taken out first: those that an earlier call put in.
        made: The id of a reply to the Variables; of a reply that the Trace does not hold, nothing is put in.
    """
    before = [at for at in trace.variables if not stale(at)]
    known = {at.id for at in before}
    made = {reply: new for reply, new in made.items() if new and reply in known}
    if not made and len(before) == len(trace.variables):
        return trace
    edges = [edge for edge in trace.edges if edge.source in known]
    edges += [Edge(at.id, reply, reply.rpartition(".")[0]) for reply, new in made.items() for at in new]
    variables = tuple(chain.from_iterable((*made.get(at.id, ()), at) for at in before))
    order = {variable.id: at for at, variable in enumerate(variables)}
    return replace(trace, variables=variables, edges=tuple(sorted(edges, key=lambda edge: order[edge.target])))
