"""`textgrad-lg diagnose`: the plan and its costs first, then the page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from textgrad_lg.cli.load import load
from textgrad_lg.cli.progress import Progress
from textgrad_lg.errors import NoPromptFound
from textgrad_lg.evals import Evals
from textgrad_lg.run import Settings, diagnose
from textgrad_lg.run.diagnose import Options
from textgrad_lg.types import Tools

SUMMARY = "say what an optimisation could win, which prompts the score depends on, and how noisy it all is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; they have the names of what `diagnose` takes."""
    default = Settings()
    add = parser.add_argument
    add("graph", metavar="MODULE:GRAPH", help="the compiled graph, as in my_app:graph or src/agent.py:graph")
    add("--evals", required=True, metavar="MODULE:NAME", help="the Evals, or the pair (data, evaluators)")
    add(
        "--model",
        metavar="NAME",
        help='who paraphrases and judges, as in "openai:gpt-4o-mini"; default: the graph\'s own',
    )
    add("--budget", metavar="LIMIT", help='the hard limit over everything: "$2" or "500 calls"; default: 1,000 calls')
    add("--examples", type=int, default=12, metavar="N", help="examples to run, at most; default: %(default)s")
    add("--repeats", type=int, default=3, metavar="N", help="how often each is run and judged; default: %(default)s")
    add("--optimize-only", action="append", metavar="SITE", help="a Parameter to look at; may be given again")
    add("--config", type=_config, metavar="JSON", help="what each run of the graph needs, as a RunnableConfig")
    add("--run-dir", type=Path, metavar="FOLDER", help="where the journal is; given again, a stopped run goes on")
    add(
        "--tools",
        type=Tools,
        choices=list(Tools),
        default=default.tools,
        help="what becomes of tool calls; default: run",
    )
    add("--concurrency", type=int, default=default.concurrency, metavar="N", help="side by side; default: %(default)s")
    add("--seed", type=int, default=default.seed, metavar="N", help="all chance comes from it; default: %(default)s")
    add("--dry-run", action="store_true", help="print the plan, with what it would cost at most, and call no model")
    add("--quiet", action="store_true", help="print the page alone")


def run(given: argparse.Namespace) -> None:
    """Print the plan to standard error and the page to standard output; under `--dry-run`, the plan to standard output.

    Raises:
        ArgumentTypeError: An argument names what is not there.
        TextgradError: As `diagnose` does.
    """
    graph: object = load(given.graph)
    evals = Evals.of(load(given.evals))  # once, because data may be read only once
    options: Options = {
        "model": given.model,
        "budget": given.budget,
        "examples": given.examples,
        "repeats": given.repeats,
        "optimize_only": given.optimize_only,
        "config": given.config,
        "run_dir": given.run_dir,
        "settings": Settings(tools=given.tools, concurrency=given.concurrency, seed=given.seed),
    }
    if given.dry_run:
        print(diagnose(graph, evals, dry_run=True, **options))  # noqa: T201  a command prints
        return
    if not given.quiet:
        try:
            plan = str(diagnose(graph, evals, dry_run=True, **options))
        except NoPromptFound as error:
            # The runs may show prompts that the code does not.
            plan = f"no plan before the first run: {error}"
        print(plan, file=sys.stderr, flush=True)  # noqa: T201
        options["callbacks"] = (Progress(),)
    print(diagnose(graph, evals, **options))  # noqa: T201


def _config(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"this is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("a config is a JSON object")
    return cast("Mapping[str, Any]", found)
