# ruff: noqa: T201  a script that reports
"""Ten thousand calls, of which every fifth fails; `make test-faults` runs it.

    python -m tests.faults.heavy --calls 10000

First the run is made once without any fault. Then runs follow one another on one server until it has seen as many
requests. Each has to end by itself with what the first one decided: the same proposals with the same fate, the same prompts,
and the same score of each test example. Its spend has to be what the server counted. At last a server refuses a part of all
requests for good, with 400, 401, 403, 404 and 422: an example that met one has failed, and spend has to be exact all the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from typing import Any

from tests.faults import world
from tests.faults.server import FOR_GOOD, OK, Faults, serving, some
from tests.faults.test_survives import fates, models
from textgrad_lg import TGD, MemoryRegistry, OptimizeResult, Settings, Strategy, optimize


def run(faults: Faults, count: int, *, asynchronous: bool) -> OptimizeResult[Any]:
    """One run on a server, whose spend has to be exact."""
    before = faults.count
    worker, critic = models(faults, timeout=3)
    with tempfile.TemporaryDirectory() as folder:
        result = optimize(
            world.graph(worker, asynchronous=asynchronous),
            world.evals(count),
            model=critic,
            optimizer=TGD(),
            budget="100000 calls",
            settings=Settings(strategy=Strategy.CHAIN, steps=2, batch=16, concurrency=32),
            registry=MemoryRegistry(),
            run_dir=folder,
        )
    total = result.spend.total
    print(f"  spend {total.calls:,}, server {faults.count - before:,}, {result.spend.seconds:.0f} seconds", flush=True)
    assert total.calls == faults.count - before
    assert result.spend.unwatched == ()
    return result


def decided(result: OptimizeResult[Any]) -> dict[str, object]:
    """What a run has come to: each proposal with its fate, the prompts, and the score of each test example."""
    return {
        "decisions": [(str(each.update.site), each.update.new, each.accepted) for each in result.decisions],
        "prompts": result.prompts,
        "improved": result.improved,
        "test": None if result.test is None else result.test.per_example,
        "errors": dict(result.raised),
        "unjudged": dict(result.unjudged),
    }


def faulty(plan: Callable[[int, dict[str, Any]], str]) -> Faults:
    """A server whose faults go by `plan`."""
    return Faults(plan=plan, answer=world.answer, hang=20)


def main() -> None:
    """Run until the server has seen as many requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--examples", type=int, default=600)
    given = parser.parse_args()
    start, cpu = time.monotonic(), time.process_time()

    print("without faults:")
    faults = faulty(lambda at, body: OK)
    with serving(faults):
        wanted = run(faults, given.examples, asynchronous=False)
    print(wanted.summary())
    assert wanted.improved
    assert wanted.test is not None
    assert wanted.test.after == 1.0

    print(f"faults that pass, {given.share:.0%}:")
    faults, runs, spent, others = faulty(fates(given.share)), 0, 0, list[str]()
    with serving(faults):
        while faults.count < given.calls:
            result = run(faults, given.examples, asynchronous=runs % 2 == 1)
            runs, spent = runs + 1, spent + result.spend.total.calls
            found, same = decided(result), decided(wanted)
            others += [f"{name}: {str(found[name])[:500]}" for name in same if found[name] != same[name]]
    failed = faults.count - faults.seen[OK]
    print(f"{runs} runs, {faults.count:,} requests, {failed / faults.count:.1%} faults, spend {spent:,} calls")
    print(dict(faults.seen.most_common()), *others, sep="\n")
    assert not others
    print("each decided what the run without faults did, and has the same score of each test example")

    print("faults that do not pass, 2%:")
    faults = faulty(some(0.02, FOR_GOOD))
    with serving(faults):
        result = run(faults, given.examples, asynchronous=True)
    print(f"{len(result.raised)} examples raised; {dict(faults.seen.most_common())}")
    assert result.raised
    print(f"{time.monotonic() - start:.0f} seconds, {time.process_time() - cpu:.0f} of CPU, the server's included")


if __name__ == "__main__":
    main()
