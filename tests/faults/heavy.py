# ruff: noqa: T201  a script that reports
"""Ten thousand calls, of which every fifth fails; `make test-faults` runs it.

    python -m tests.faults.heavy --calls 10000

Runs follow one another on one server until it has seen as many requests. Each has to find the prompt, and its spend has to
be what the server counted for it.
"""

from __future__ import annotations

import argparse
import tempfile
import time

from tests.faults import world
from tests.faults.server import OK, Faults, serving
from tests.faults.test_survives import fates, models
from textgrad_lg import TGD, MemoryRegistry, Settings, Strategy, optimize


def main() -> None:
    """Run until the server has seen as many requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--examples", type=int, default=600)
    given = parser.parse_args()
    faults = Faults(plan=fates(given.share), answer=world.answer, hang=20)
    start, runs, spent = time.monotonic(), 0, 0
    with serving(faults):
        worker, critic = models(faults, timeout=3)
        while faults.count < given.calls:
            before = faults.count
            with tempfile.TemporaryDirectory() as folder:
                result = optimize(
                    world.graph(worker, asynchronous=runs % 2 == 1),
                    world.evals(given.examples),
                    model=critic,
                    optimizer=TGD(),
                    budget="100000 calls",
                    settings=Settings(strategy=Strategy.CHAIN, steps=2, batch=16, concurrency=32),
                    registry=MemoryRegistry(),
                    run_dir=folder,
                )
            runs, spent = runs + 1, spent + result.spend.total.calls
            print(result.summary(), f"spend {result.spend.total.calls}, server {faults.count - before}", sep="\n")
            assert result.improved
            assert result.test is not None
            assert result.test.after == 1.0, result.test.after
            assert result.spend.total.calls == faults.count - before
            assert result.spend.unwatched == ()
    failed = faults.count - faults.seen[OK]
    print(f"{runs} runs, {faults.count:,} requests, {failed / faults.count:.1%} faults, spend {spent:,} calls")
    print(f"{time.monotonic() - start:.0f} seconds; {dict(faults.seen.most_common())}")


if __name__ == "__main__":
    main()
