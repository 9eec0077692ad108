"""Random runs, for what must hold of every run."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from textgrad_lg.autograd import seed
from textgrad_lg.example import Score
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.trace import CANDIDATE, Trace


@st.composite
def traces(draw, *, twice: bool = False) -> Trace:
    """A random DAG of model calls, tools and nodes; some Parameters are frozen, some edges unconfirmed.

    Args:
        draw: Hypothesis' own.
        twice: Whether an operation may be given the same Variable more than once.
    """
    build = TraceBuilder("random", example="e")
    made = [build.input("x", "input")]
    for at in range(draw(st.integers(1, 10))):
        name = draw(st.sampled_from(["a", "b", "c"]))
        reads = draw(st.lists(st.sampled_from(made), max_size=3, unique=not twice))
        weights = {source: draw(st.sampled_from([1.0, CANDIDATE])) for source in reads}
        kind = draw(st.sampled_from(["llm", "tool", "node"]))
        if kind == "llm":
            prompts = {f"{name}/system": f"prompt {name}"} if draw(st.booleans()) else {}
            made.append(build.llm(name, reads=reads, prompts=prompts, weights=weights, reply=f"reply {at}"))
        elif kind == "tool":
            made.append(build.tool(name, reads=reads, result=f"result {at}"))
        else:
            made.append(
                build.node(name, reads=reads, value=f"value {at}", weight=draw(st.sampled_from([1.0, CANDIDATE])))
            )
    trace = build.finish(
        {f"out{at}": name for at, name in enumerate(draw(st.lists(st.sampled_from(made), max_size=3)))}
    )
    frozen = draw(st.sampled_from(["a", "b", "z"]))
    variables = tuple(
        replace(v, requires_grad=False) if v.site is not None and v.site.path == (frozen,) else v
        for v in trace.variables
    )
    scores = [
        Score(
            f"k{at}",
            draw(st.sampled_from([0.0, 0.5, 1.0])),
            f"comment {at}",
            tuple(draw(st.sampled_from([(), ("out0",)]))),
        )
        for at in range(draw(st.integers(0, 3)))
    ]
    return seed(replace(trace, variables=variables), scores)


@st.composite
def recorded_otherwise(draw, trace: Trace) -> Trace:
    """The same run, with what does not depend on each other in another order; a Variable's own edges keep theirs."""
    judged = {span.id for span in trace.spans if span.kind == "eval"}
    left = [variable for variable in trace.variables if variable.span not in judged]
    known: set[str] = set()
    variables: list = []
    while left:
        free = [v for v in left if all(edge.source in known for edge in trace.incoming.get(v.id, ()))]
        chosen = draw(st.sampled_from(free))
        left.remove(chosen)
        variables.append(chosen)
        known.add(chosen.id)
    variables += [variable for variable in trace.variables if variable.span in judged]
    inner = [span for span in trace.spans[1:] if span.id not in judged]
    spans = [trace.spans[0], *draw(st.permutations(inner)), *(s for s in trace.spans[1:] if s.id in judged)]
    edges = [edge for variable in variables for edge in trace.incoming.get(variable.id, ())]
    return replace(trace, spans=tuple(spans), variables=tuple(variables), edges=tuple(edges))
