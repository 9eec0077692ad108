"""How many calls, tokens, rounds and seconds `optimize` takes to solve a task of the simulated world, by optimizer and strategy.

    python -m benchmarks.optimizers                    five seeds of the plain world, at 200 ms a call
    python -m benchmarks.optimizers --kind loop        a graph with a cycle; `send` and `tools` likewise
    python -m benchmarks.optimizers --salt             no two replies of the critic are alike
    python -m benchmarks.optimizers --out runs.jsonl   a line of JSON for each run, besides the table

Every run is `optimize(graph, evals)` on a LangGraph graph whose models are ChatOpenAI on a server of this machine; see
`benchmarks.world`. The score is the true one of the texts that the result's graph runs with, not an estimate. Calls on the
test set are told apart: they prove the result, and not every library makes any.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from langchain_openai import ChatOpenAI

from benchmarks.world.log import CRITIC, WORKER
from benchmarks.world.program import build
from benchmarks.world.server import LATENCY, Client, running
from benchmarks.world.task import Kind, comment, right
from textgrad_lg import TGD, Budget, Evals, Joint, MemoryRegistry, Momentum, Pareto, Settings, Site, Strategy, aoptimize

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg import OptimizeResult
    from textgrad_lg.optim import Optimizer

STEPS, BATCH, SEEDS, SIDE_BY_SIDE = 12, 3, 5, 8
"""Steps, train examples a step, seeds, and calls in flight: what all libraries are given."""
SETTINGS: Mapping[str, Any] = {"steps": STEPS, "batch": BATCH, "concurrency": SIDE_BY_SIDE}
PLENTY = Budget(calls=100_000)
"""No run may be stopped by its budget: what it costs is what is measured."""
GOAL = "Tell the customer what the order costs."


@dataclass(frozen=True)
class Row:
    """One way to call `optimize`.

    Attributes:
        name: What the table calls it.
        optimizer: Makes the optimizer; None for the one that `optimize` takes by itself.
        strategy: How gradients are made.
    """

    name: str
    optimizer: Callable[[], Optimizer] | None = None
    strategy: Strategy = Strategy.AUTO

    def options(self) -> dict[str, Any]:
        """The options of `optimize` that are the row's own."""
        return {} if self.optimizer is None else {"optimizer": self.optimizer()}


ROWS = (
    Row("default"),
    Row("TGD, auto", TGD),
    Row("TGD, fused", TGD, Strategy.FUSED),
    Row("TGD, chain", TGD, Strategy.CHAIN),
    Row("TGD, structural", TGD, Strategy.STRUCTURAL),
    Row("Joint, fused", Joint, Strategy.FUSED),
    Row("Joint, chain", Joint, Strategy.CHAIN),
    Row("Joint, structural", Joint, Strategy.STRUCTURAL),
    Row("Momentum, fused", Momentum, Strategy.FUSED),
    Row("Pareto over TGD, fused", lambda: Pareto(TGD()), Strategy.FUSED),
)
COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], float | None]] = {
    "score": lambda run: run["score"],
    "calls": lambda run: run["report"]["calls"]["total"],
    "worker": lambda run: run["report"]["calls"]["worker"],
    "gradient": lambda run: run["report"]["calls"]["by_kind"].get("gradient", 0),
    "proposal": lambda run: run["report"]["calls"]["by_kind"].get("proposal", 0),
    "k sent": lambda run: _sent(run["report"]) / 1000,
    "k forms": lambda run: sum(part["forms"] for part in run["report"]["tokens"].values()) / 1000,
    "to solve": lambda run: run["report"]["solved"]["calls"],
    "s to solve": lambda run: run["report"]["solved"]["seconds"],
    "rounds": lambda run: run["report"]["rounds"],
    "wall s": lambda run: run["report"]["wall"],
    "wall/critical": lambda run: (
        run["report"]["wall"] / run["report"]["critical"] if run["report"]["critical"] else None
    ),
    "+test calls": lambda run: run["report"]["test"]["calls"],
}
"""The columns of the table; None where there is no such figure, as of a task that was not solved, or of rounds without
latency."""


@dataclass(frozen=True)
class Judge:
    """The evaluator of a world: whether the answer is right, and what was expected.

    Attributes:
        flips: Told of each verdict; says whether it is to be turned round.
    """

    flips: Callable[[str, str], bool] = field(default=lambda _output, _answer: False)

    def __call__(self, outputs: dict[str, Any], reference_outputs: dict[str, Any]) -> tuple[float, str]:
        """The score, and why."""
        output, answer = str(outputs.get("answer", "")), str(reference_outputs["answer"])
        if self.flips(output, answer):
            return (0.0, f"expected {answer}") if right(output, answer) else (1.0, "right")
        return float(right(output, answer)), comment(output, answer)


def examples(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The examples of a world in the shape that `Evals` takes."""
    return [
        {
            "id": row["id"],
            "inputs": {"question": row["question"]},
            "reference_outputs": {"answer": row["answer"]},
            "split": split,
        }
        for split in ("train", "validation", "test")
        for row in described[split]
    ]


def texts_of(prompts: Mapping[str, str]) -> dict[str, str]:
    """The prompt of each node, from the texts that a result gives by printed Site."""
    return {Site.parse(site).path[0]: text for site, text in prompts.items() if Site.parse(site).role == "system"}


def prompts_of(described: Mapping[str, Any]) -> list[str]:
    """What may be changed: the system prompts, as in the other libraries."""
    return [f"{node['name']}/system" for node in described["nodes"]]


@asynccontextmanager
async def models(world: Client) -> AsyncIterator[tuple[BaseChatModel, BaseChatModel]]:
    """The model of the program and the critic, for the block: their connections are closed with it."""
    async with httpx.AsyncClient() as http:
        # A retry would hide what a library does with a failure.
        worker, critic = (
            ChatOpenAI(model=name, base_url=world.url, api_key=_no_key, max_retries=0, http_async_client=http)
            for name in (WORKER, CRITIC)
        )
        yield worker, critic


async def run(
    world: Client, row: Row, seed: int, *, judge: Judge | None = None, **settings: Any
) -> OptimizeResult[Any]:
    """One optimisation of the world as it was last set up."""
    described = world.task()
    with tempfile.TemporaryDirectory() as folder:
        async with models(world) as (worker, critic):
            return await aoptimize(
                build(described, worker),
                Evals(examples(described), [judge or Judge()], goal=GOAL),
                model=critic,
                budget=PLENTY,
                optimize_only=prompts_of(described),
                registry=MemoryRegistry(),
                run_dir=Path(folder) / "run",
                settings=Settings(**{**SETTINGS, "seed": seed, "strategy": row.strategy, **settings}),
                **row.options(),
            )


def measure(
    world: Client, row: Row, seed: int, *, steps: int = STEPS, concurrency: int = SIDE_BY_SIDE, **given: Any
) -> dict[str, Any]:
    """Run in the world that is `given`, and say what it took and what came of it.

    Raises:
        RuntimeError: An example failed by something else than a wrong answer: then the counts mean nothing.
    """
    world.reset(seed=seed, **given)
    started, cpu = time.perf_counter(), time.process_time()
    result = asyncio.run(run(world, row, seed, steps=steps, concurrency=concurrency))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    broken = {**result.raised, **result.unjudged}
    if broken:
        raise RuntimeError(f"{len(broken)} examples were not run as they should be, first {next(iter(broken.items()))}")
    accepted = {str(site): change.new.text for site, change in result.texts.items()}
    return {
        "library": "textgrad_lg",
        "row": row.name,
        "seed": seed,
        "world": given,
        "score": world.score(texts_of(result.prompts))["score"],
        "accepted_score": world.score(texts_of({**result.original, **accepted}))["score"],
        "improved": result.improved,
        "reason": result.reason,
        "seconds": seconds,
        "cpu": cpu,
        "load": os.getloadavg()[0],
        "phases": {phase.value: used.calls for phase, used in result.spend.phases.items()},
        "report": world.report(),
    }


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """For each row the mean of every column, with the least and the most; and how many runs it has."""
    names = list(dict.fromkeys(run["row"] for run in runs))
    lines = [["row", "n", *COLUMNS]]
    for name in names:
        mine = [run for run in runs if run["row"] == name]
        lines.append([name, str(len(mine)), *(_spread([column(run) for run in mine]) for column in COLUMNS.values())])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write the runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="only rows whose name holds one of these, divided by semicolons")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--concurrency", type=int, default=SIDE_BY_SIDE, help="calls in flight at most")
    parser.add_argument("--kind", choices=list(Kind), default=Kind.PLAIN)
    parser.add_argument("--latency", type=float, default=LATENCY, help="seconds a call")
    parser.add_argument("--salt", action="store_true", help="no two replies of the critic are alike")
    parser.add_argument("--obey", type=float, help="how often an instruction works; 0 keeps every step failing")
    parser.add_argument("--out", type=Path, help="a file for the runs, one line of JSON each")
    given = parser.parse_args(arguments)
    wanted = [part.strip() for part in given.rows.split(";") if part.strip()]
    rows = [row for row in ROWS if not wanted or any(part in row.name for part in wanted)]
    setting: dict[str, Any] = {"kind": given.kind, "latency": given.latency, "salt": given.salt}
    if given.obey is not None:
        setting["obey"] = given.obey
    runs: list[dict[str, Any]] = []
    with running() as world:
        for row in rows:
            for seed in range(given.seeds):
                found = measure(world, row, seed, concurrency=given.concurrency, **setting)
                runs.append(found)
                if given.out is not None:
                    with given.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(found) + "\n")
                print(f"{row.name}, seed {seed}: {found['phases']}, {found['reason']}", file=sys.stderr)
    print(table(runs))


def _no_key() -> str:
    """Stands in the place of a key: the server asks for none."""
    return "none"


def _sent(report: Mapping[str, Any]) -> int:
    return sum(part["sent"] for part in report["tokens"].values())


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    some = "" if len(known) == len(values) else f" [{len(known)} of {len(values)}]"
    middle, low, high = statistics.mean(known), min(known), max(known)
    digits = 0 if max(map(abs, known)) >= 100 else 1 if max(map(abs, known)) >= 10 else 2
    spread = "" if low == high else f" ({low:.{digits}f}-{high:.{digits}f})"
    return f"{middle:.{digits}f}{spread}{some}"


if __name__ == "__main__":
    main()
