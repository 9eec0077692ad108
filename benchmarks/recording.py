"""What recording adds to a node, beside other callback handlers in the same run, and to what it would be without any.

    python -m benchmarks.recording [ROUNDS]

Beside it stand no handler, a bare inline handler (the floor: LangChain's own dispatch), and a `BaseTracer` that keeps its
runs and does nothing else (what tracing libraries are made of). Ten nodes in a row and a `Send` to 100, with `invoke` and
`ainvoke`. Then what reading the Trace costs, which happens after the run.
"""

from __future__ import annotations

import asyncio
import operator
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers import BaseTracer
from langchain_core.tracers.schemas import Run
from langgraph.graph import StateGraph
from langgraph.types import Send

from benchmarks.measure import added, take_turns, taken, verdict
from textgrad_lg.record import record

SYNC, ASYNC = 15.0, 25.0
"""Microseconds a node that recording may add."""
TRACER_SHARE = 0.5
"""Of what a `BaseTracer` adds. A ratio within one run, so it is what fails the run."""

Graph = Any


class Bare(BaseCallbackHandler):
    """Does nothing, inline."""

    run_inline = True


class Tracer(BaseTracer):
    """Keeps the runs, as every tracer does, and does nothing with them."""

    run_inline = True

    def _persist_run(self, run: Run) -> None:
        return


class Row(TypedDict):
    """The state of nodes in a row."""

    text: str
    count: int


class Fan(TypedDict):
    """The state of a fan-out."""

    items: list[int]
    found: Annotated[list[int], operator.add]


def row(nodes: int) -> Graph:
    """Nodes one after the other, each adding one."""
    build: Any = StateGraph(Row)
    names = [f"node{at}" for at in range(nodes)]
    for name in names:
        build.add_node(name, lambda state: {"count": state["count"] + 1})
    for one, next_one in zip(["__start__", *names], names, strict=False):
        build.add_edge(one, next_one)
    return build.compile()


def fan() -> Graph:
    """One node, a `Send` for each item, and one that comes after them all."""
    build: Any = StateGraph(Fan)
    build.add_node("split", lambda _: {})
    build.add_node("work", lambda state: {"found": [state["item"]]})
    build.add_node("join", lambda _: {})
    build.add_edge("__start__", "split")
    build.add_conditional_edges("split", lambda state: [Send("work", {"item": at}) for at in state["items"]], ["work"])
    build.add_edge("work", "join")
    return build.compile()


def sync_cases(graph: Graph, given: Any, times: int) -> dict[str, Callable[[], None]]:
    def once(callbacks: Callable[[], list[BaseCallbackHandler]]) -> Callable[[], None]:
        def case() -> None:
            for _ in range(times):
                graph.invoke(given, {"callbacks": callbacks()})

        return case

    def recorded() -> None:
        for _ in range(times):
            with record():
                graph.invoke(given)

    return {
        "none": once(list),
        "bare": once(lambda: [Bare()]),
        "tracer": once(lambda: [Tracer()]),
        "recorded": recorded,
    }


def async_cases(runner: asyncio.Runner, graph: Graph, given: Any, times: int) -> dict[str, Callable[[], None]]:
    def once(callbacks: Callable[[], list[BaseCallbackHandler]]) -> Callable[[], None]:
        async def case() -> None:
            for _ in range(times):
                await graph.ainvoke(given, {"callbacks": callbacks()})

        return lambda: runner.run(case())

    async def recorded() -> None:
        for _ in range(times):
            with record():
                await graph.ainvoke(given)

    return {
        "none": once(list),
        "bare": once(lambda: [Bare()]),
        "tracer": once(lambda: [Tracer()]),
        "recorded": lambda: runner.run(recorded()),
    }


def report(title: str, cases: dict[str, Callable[[], None]], rounds: int, nodes: int, limit: float) -> bool:
    """Measure and print one table; returns whether the ratio holds."""
    samples = take_turns(cases, rounds)
    base = taken(samples.cpu, "none", nodes)
    print(f"\n{title}: {base.median:.0f} us a node without a handler, n = {rounds}")
    print(f"  {'us added a node':24} {'CPU':>7} (quartiles)          {'wall':>7}")
    figures = {name: added(samples.cpu, name, "none", nodes) for name in cases if name != "none"}
    for name, figure in figures.items():
        print(f"  {name:24} {figure!s:28} {added(samples.wall, name, 'none', nodes).median:7.1f}")
    ours, bare, tracer = (figures[name].median for name in ("recorded", "bare", "tracer"))
    share = ours / tracer
    print(f"  recorded, limit {limit:.0f}: {verdict(ours, limit)}; {ours / bare:.1f} times a bare handler's")
    print(f"  recorded / tracer {share:.2f}, limit {TRACER_SHARE}: {verdict(share, TRACER_SHARE)}")
    return share <= TRACER_SHARE


def conversion(nodes: int, rounds: int) -> None:
    """Print what making the Trace of a recorded run costs."""
    graph = row(nodes)

    def recorded(*, read: bool) -> None:
        with record() as recording:
            graph.invoke({"text": "hello", "count": 0})
        if read:
            assert recording.trace.spans

    samples = take_turns({"kept": lambda: recorded(read=False), "read": lambda: recorded(read=True)}, rounds)
    print(f"\nReading the Trace afterwards: {added(samples.cpu, 'read', 'kept', nodes)} us a node, n = {rounds}")


def main() -> None:
    """Print the tables; exit with 1 where a ratio is broken."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    first: Row = {"text": "hello", "count": 0}
    many: Fan = {"items": list(range(100)), "found": []}
    held: list[bool] = []
    with asyncio.Runner() as runner:
        for title, graph, given, nodes, times, turns in (
            ("ten nodes in a row", row(10), first, 10, 4, rounds),
            ("a Send to 100", fan(), many, 102, 1, rounds // 2),
        ):
            cases = sync_cases(graph, given, times)
            held.append(report(f"{title}, invoke", cases, turns, nodes * times, SYNC))
            cases = async_cases(runner, graph, given, times)
            held.append(report(f"{title}, ainvoke", cases, turns, nodes * times, ASYNC))
    conversion(10, rounds // 2)
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
