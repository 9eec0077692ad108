"""What a recorded run keeps in memory, beside the texts that went through it.

    python -m benchmarks.memory

The limit is 1.2 times the bytes of the run's distinct texts plus 1 kB a Span, once for the run as it was recorded, and once
for its Trace. A state that carries one large document through every node, and conversations that grow by one reply a turn, in
ASCII and not. Where texts are large, anything that copies one breaks the limit, and the exit status says so. Where they are
small, it shows what a Span and LangChain's own message objects take. Counted by tracemalloc: exact, so one run says it.
"""

from __future__ import annotations

import gc
import itertools
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langgraph.graph import StateGraph, add_messages

from benchmarks.measure import verdict
from textgrad_lg.record import Recording, record

TEXTS, SPAN = 1.2, 1000
"""How many times the bytes of its texts a recorded run may take, and how many bytes more for each Span."""
TURNS = 30

Make = Callable[[], tuple[Any, Callable[[], Any]]]
"""Gives a compiled graph, and what makes its input anew."""


class Document(TypedDict):
    """A text that is only read, and notes that grow."""

    document: str
    notes: list[str]


class Chat(TypedDict):
    """A conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


@dataclass(frozen=True)
class Kept:
    """What is left in memory when a run has ended and its output was thrown away.

    Attributes:
        texts: Bytes of the distinct texts in its Trace, as Python holds them.
        spans: How many Spans the Trace has.
        run: Bytes kept before the Trace was asked for.
        trace: Bytes kept after that.
        most: Bytes taken at the worst moment of making the Trace.
    """

    texts: int
    spans: int
    run: int
    trace: int
    most: int


def document(letters: str) -> tuple[Any, Callable[[], Any]]:
    """Thirty nodes that read one large document, each noting a line."""
    build: Any = StateGraph(Document)
    names = [f"node{at}" for at in range(TURNS)]
    for name in names:
        build.add_node(name, lambda state, name=name: {"notes": [*state["notes"], f"{name}: {letters * 10}"]})
    for one, following in zip(["__start__", *names], names, strict=False):
        build.add_edge(one, following)
    return build.compile(), lambda: {"document": letters * 100_000, "notes": []}


def conversation(letters: str, words: int) -> tuple[Any, Callable[[], Any]]:
    """A loop that sends the whole conversation each time and gets a reply of so many words."""
    numbers = itertools.count()
    # Each reply is made when it is asked for, so that nothing but the run holds it.
    model = GenericFakeChatModel(messages=(AIMessage(f"{at} {letters * words}") for at in numbers))

    def answer(state: Any) -> dict[str, Any]:
        return {"messages": [model.invoke([SystemMessage(f"Be brief. {letters * 50}"), *state["messages"]])]}

    build: Any = StateGraph(Chat)
    build.add_node("answer", answer)
    build.add_edge("__start__", "answer")
    build.add_conditional_edges("answer", lambda state: "answer" if len(state["messages"]) <= TURNS else "__end__")
    return build.compile(), lambda: {"messages": [HumanMessage(f"hello {letters * 50}")]}


def measured(make: Make) -> Kept:
    """Run a graph and see what stays."""
    graph, given = make()

    def run() -> Recording:
        with record() as recording:
            graph.invoke(given(), {"recursion_limit": 2 * TURNS})
        return recording

    assert run().trace.spans  # fills the caches of all libraries
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        recording = run()
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.reset_peak()
        trace = recording.trace
        most = tracemalloc.get_traced_memory()[1] - before
        gc.collect()
        after = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    found: dict[str, None] = {}
    for value in (*(at.value for at in trace.variables), *(at.attributes for at in trace.spans)):
        found.update(dict.fromkeys(texts_in(value)))
    return Kept(sum(map(sys.getsizeof, found)), len(trace.spans), kept, after, most)


def texts_in(value: Any) -> Iterator[str]:
    """The texts in a value that is made of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


CASES: dict[str, Make] = {
    "document, 1 MB": lambda: document("ten bytes "),
    "document, Greek": lambda: document("δέκα λέξη "),
    "replies of 40 kB": lambda: conversation("ten bytes ", 4_000),
    "replies of 40 kB, Greek": lambda: conversation("δέκα λέξη ", 4_000),
    "replies of 5 kB": lambda: conversation("ten bytes ", 500),
    "replies of 1 kB": lambda: conversation("ten bytes ", 100),
}
LARGE = 500
"""Kilobytes of text from which on the limit must hold."""


def main() -> None:
    """Print the table; exit with 1 where the limit is broken for large texts."""
    held = True
    print(f"limit: {TEXTS} times the texts + {SPAN} B a span; all in kB")
    print(f"  {'':26} {'texts':>7} {'spans':>6} {'limit':>7} {'run':>7} {'trace':>7} {'at most, while read':>20}")
    for name, make in CASES.items():
        kept = measured(make)
        limit = TEXTS * kept.texts + SPAN * kept.spans
        told = f"run {verdict(kept.run, limit)}, trace {verdict(kept.trace, limit)}"
        row = [f"{size / 1000:7.0f}" for size in (kept.texts, limit, kept.run, kept.trace)]
        print(f"  {name:26} {row[0]} {kept.spans:6} {' '.join(row[1:])} {kept.most / 1000:20.0f}  {told}")
        held = held and (kept.texts < LARGE * 1000 or max(kept.run, kept.trace) <= limit)
    sys.exit(not held)


if __name__ == "__main__":
    main()
