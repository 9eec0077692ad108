# ruff: noqa: T201  a script that reports
"""A run whose graph and evaluators hang for good, each on another example; the process has to end all the same.

python -m tests.faults.hanging
"""

from __future__ import annotations

import asyncio
import threading

from tests.faults.test_timeouts import FAST, judging, told
from tests.run import worlds
from textgrad_lg import Evals, MemoryRegistry, Settings, optimize


def for_good() -> None:
    """What a node does that hangs."""
    threading.Event().wait()


def stuck(inputs, outputs):
    """A sync evaluator that hangs on one review."""
    if inputs["review"].endswith(" 8"):
        for_good()
    return 1.0


async def astuck(inputs, outputs):
    """An async one that hangs on another."""
    if inputs["review"].endswith(" 9"):
        await asyncio.Event().wait()
    return 1.0


def main() -> None:
    """Run to the end."""
    optimize(
        judging(worlds.review_model(), for_good),
        Evals(worlds.reviews(20), [told, stuck, astuck]),
        settings=Settings(timeout=0.2, **FAST),
        registry=MemoryRegistry(),
    )
    print("ended")


if __name__ == "__main__":
    main()
