"""`python -m textgrad_lg_tracing.readers FILE...`: what stands in files of traces, before anything is learnt from them."""

# pyright: reportMissingTypeStubs=false
# langgraph is a package without py.typed.

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg import ProductionTrace
from textgrad_lg.cli.load import load
from textgrad_lg.errors import TextgradError
from textgrad_lg_tracing.readers.imported import read_traces

if TYPE_CHECKING:
    from textgrad_lg.run.production import Scales
    from textgrad_lg_tracing.readers.imported import ImportedTrace
    from textgrad_lg_tracing.readers.match import Match

_NAMED = 10
"""Lines at most of one kind; the rest is counted."""


@dataclass
class Listing:
    """What traces come to, counted one after the other; none is kept.

    Attributes:
        scales: What the numbers of feedback mean; see `learn`.
        pass_at: From which mean of its feedback a trace has passed.
    """

    scales: Scales
    pass_at: float
    traces: int = 0
    spans: int = 0
    made: Counter[str] = field(default_factory=Counter[str])
    complete: Counter[str] = field(default_factory=Counter[str])
    reasons: Counter[str] = field(default_factory=Counter[str])
    failing: Counter[str] = field(default_factory=Counter[str])
    feedback: Counter[str] = field(default_factory=Counter[str])
    prompts: Counter[str] = field(default_factory=Counter[str])
    problems: Counter[str] = field(default_factory=Counter[str])

    def add(self, found: ImportedTrace) -> None:
        """Count a trace.

        Raises:
            DataError: Its feedback is on no known scale.
        """
        self.traces += 1
        self.spans += len(found.trace.spans)
        self.made[f"{found.provenance.producer}, from {found.provenance.backend}"] += 1
        self.complete[str(found.completeness)] += 1
        self.reasons.update(dict.fromkeys(found.reasons, 1))
        one = ProductionTrace.of(found, scales=self.scales)
        if one.fails(self.pass_at):
            self.failing["by its error" if one.error is not None else "by feedback"] += 1
        self.feedback.update(dict.fromkeys((score.key for score in one.feedback), 1))
        self.prompts.update(dict.fromkeys(map(_taken_for, found.matches), 1))

    def lines(self) -> Iterator[str]:
        """The listing."""
        yield f"{self.traces} traces, {self.spans} steps of their graphs"
        yield from self._listed("written by", self.made)
        yield from self._listed("of the run they hold", self.complete)
        yield from self._listed("and not more, because", self.reasons)
        yield from self._listed("known to have failed", self.failing, none="none: give `learn` an evaluator")
        yield from self._listed("feedback", self.feedback, none="none")
        yield from self._listed("texts that were sent", self.prompts, none="none: there is no prompt to learn")
        yield from self._listed("could not be read", self.problems)

    def _listed(self, title: str, counted: Counter[str], none: str = "") -> Iterator[str]:
        if not counted and not none:
            return
        yield f"{title}:" if counted else f"{title}: {none}"
        most = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
        yield from (f"  {count:>7,}  {name}" for name, count in most[:_NAMED])
        if len(most) > _NAMED:
            yield f"           and {len(most) - _NAMED} more kinds"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the listing; returns the exit status: 1 where there is no trace, or the reason is on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m textgrad_lg_tracing.readers",
        description="Say what stands in files of production traces: how much of each run, what failed, which prompts.",
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="files or folders, in any form that read_traces takes")
    add("--graph", metavar="MODULE:GRAPH", help="the compiled graph that was run: its prompts are looked for")
    add(
        "--scale",
        action="append",
        default=[],
        type=_scale,
        metavar="KEY=WORST,BEST",
        help='what the numbers of feedback mean, as in stars=1,5; "KEY=" for feedback that is no judgement',
    )
    add(
        "--pass-at", type=float, default=1.0, metavar="SCORE", help="from which mean of its feedback a trace has passed"
    )
    given = parser.parse_args(arguments)
    try:
        graph = _graph(given.graph) if given.graph else None
        listing = Listing(dict(given.scale), given.pass_at)
        for found in read_traces(given.files, graph=graph, report=lambda text: listing.problems.update([text])):
            listing.add(found)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    except TextgradError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)  # noqa: T201  a command prints
        return 1
    _print(listing.lines())
    return 0 if listing.traces else 1


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        # What a file says of itself is a stranger's text, and a terminal obeys control characters.
        print("".join(char if char.isprintable() else "�" for char in line))  # noqa: T201  a command prints


def _taken_for(found: Match) -> str:
    if found.matched:
        return f"{found.site}, by {found.how}"
    return f"no prompt; nearest is {found.site}" if found.site is not None else "no prompt: from the state, or unknown"


def _graph(reference: str) -> Any:
    from langgraph.pregel import Pregel

    graph: object = load(reference)
    if not isinstance(graph, Pregel):
        raise argparse.ArgumentTypeError(f"{reference} is a {type(graph).__name__}, and not a compiled graph")
    return cast("Any", graph)


def _scale(text: str) -> tuple[str, tuple[float, float] | None]:
    key, equals, told = text.rpartition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is no scale; write KEY=WORST,BEST")
    if not told:
        return key, None
    try:
        worst, best = (float(number) for number in told.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{told!r} is not two numbers, the worst and the best") from error
    return key, (worst, best)


if __name__ == "__main__":
    sys.exit(main())
