"""What the overlay adds to a model call, in the same run as the call without it.

    python -m benchmarks.overlay [ROUNDS]

The model answers at once, so what is seen is the machinery. An overlay may be open elsewhere in the process and not in
force here, in force with no texts, in force with twenty prompts of twenty nodes, one of which is the call's own, and with
twenty prompts of the one node that calls, each with a slot. `invoke`, `ainvoke` and `stream`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig

from benchmarks.measure import added, take_turns, taken, verdict
from textgrad_lg.overlay import Replacement, Texts, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site

IDLE, TWENTY = 20.0, 120.0
"""Microseconds a call that the overlay may add: with nothing to do, and with twenty prompts."""
PROMPTS = 20
CALLS = 10
WORDS = "You sort reviews by what they praise. Answer with one word, in lower case, and nothing else. " * 4
SHARE = 3.0
"""The call with twenty prompts may take this many times the call without an overlay. Within one run, so it fails the run."""

Call = Callable[[], object]


def endless() -> Any:
    while True:
        yield AIMessage("good")


def own_text(at: int) -> Template:
    return Template(f"{WORDS} Rule {at} is for {{name}}. Be brief.", ("name",))


def elsewhere() -> Texts:
    """Twenty prompts, each of another node; the first is the one that calls."""
    return {
        Site((f"node{at}",), "system"): Replacement(own_text(at), own_text(at).with_text(f"New {at} for {{name}}."))
        for at in range(PROMPTS)
    }


def crowded() -> Texts:
    """Twenty prompts, all of the node that calls; the last one is in the call."""
    return {
        Site(("node0",), "system", at): Replacement(
            own_text(PROMPTS - 1 - at), own_text(at).with_text(f"New {at} for {{name}}.")
        )
        for at in range(PROMPTS)
    }


@contextmanager
def open_elsewhere() -> Generator[None]:
    """An overlay that is open in this process and not in force in this context."""
    other, block = copy_context(), overlay(elsewhere())
    other.run(block.__enter__)
    try:
        yield
    finally:
        other.run(block.__exit__, None, None, None)


SITUATIONS: dict[str, tuple[Callable[[], Any], float]] = {
    "none": (nullcontext, 0.0),
    "open elsewhere": (open_elsewhere, IDLE),
    "no texts": (lambda: overlay({}), IDLE),
    "20 nodes' prompts": (lambda: overlay(elsewhere()), TWENTY),
    "20 prompts of one node": (lambda: overlay(crowded()), TWENTY),
}


def many(call: Call) -> Callable[[], None]:
    def case() -> None:
        for _ in range(CALLS):
            call()

    return case


def calls(runner: asyncio.Runner) -> dict[str, Call]:
    model = GenericFakeChatModel(messages=endless())
    given = [SystemMessage(own_text(0).render({"name": "Ada"})), HumanMessage("a good film", id="m1")]
    config: RunnableConfig = {"metadata": {"langgraph_checkpoint_ns": "node0:1f2e", "langgraph_node": "node0"}}

    async def ainvoke() -> None:
        await model.ainvoke(given, config)

    return {
        "invoke": lambda: model.invoke(given, config),
        "ainvoke": lambda: runner.run(ainvoke(), context=copy_context()),
        "stream": lambda: list(model.stream(given, config)),
    }


def main() -> None:
    """Print the tables; exit with 1 where the ratio is broken."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    held = True
    with asyncio.Runner() as runner:
        for way, call in calls(runner).items():
            # Opening an overlay is not timed: it happens once a run, not once a call.
            samples = take_turns(dict.fromkeys(SITUATIONS, many(call)), rounds, lambda name: SITUATIONS[name][0]())
            base = taken(samples.cpu, "none", CALLS).median
            print(f"\n{way}: {base:.0f} us a call without an overlay, n = {rounds}")
            print(f"  {'us added a call':24} {'CPU':>7} (quartiles)")
            for name, (_, limit) in SITUATIONS.items():
                if name != "none":
                    figure = added(samples.cpu, name, "none", CALLS)
                    times = figure.median / base + 1
                    print(
                        f"  {name:24} {figure!s:28} limit {limit:.0f}: {verdict(figure.median, limit)}; x {times:.2f}"
                    )
                    held = held and times <= SHARE
    sys.exit(not held)


if __name__ == "__main__":
    main()
