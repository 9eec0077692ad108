"""What an optimisation run gives back."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from textgrad_lg.errors import UnknownVersion
from textgrad_lg.events import Gated
from textgrad_lg.prompt import Template
from textgrad_lg.run.deploy import PRODUCTION
from textgrad_lg.run.objectives import Front
from textgrad_lg.run.shrinkage import Shrinkage, shrinkage
from textgrad_lg.run.spend import Costs, Spend
from textgrad_lg.run.stats import Comparison
from textgrad_lg.site import Site

if TYPE_CHECKING:
    from pathlib import Path

    from textgrad_lg.overlay import Texts
    from textgrad_lg.registry import PromptRegistry

G = TypeVar("G")


@dataclass(frozen=True, kw_only=True)
class OptimizeResult(Generic[G]):
    """What an optimisation run gives back. "No significant improvement; graph unchanged" is a result like any other.

    Attributes:
        graph: A graph of the class that was given. Texts that the registry's `production` label names are in force
            on each of its runs; where nothing was published it behaves as the graph that was given.
        improved: Whether the test set shows a significant gain. Only then are texts published.
        published: The versions that were put in force, by the prompt's name in the registry. Empty where nothing was
            published: no improvement, or somebody else published first, which `reason` then says.
        reason: Why the run ended, and why the graph is or is not changed.
        texts: The accepted edits, published or not.
        start: The texts that the run began with, where they were not the graph's own: a bound graph was given.
        parameters: Every Parameter found, with the graph's own text.
        validation: The accepted texts against the graph's own on the validation set; None where nothing was accepted.
        test: The same on the test set, with the effect by tag of the examples; None where it was not read.
        decisions: Every proposal with its fate, in order.
        chosen: Why the run took the optimizer it took; empty where one was given.
        front: The candidates that no other beats in quality, cost, latency and length of the texts at once, measured on
            the validation set. Printing it gives a table.
        candidates: The texts of every candidate that was run on the whole validation set, by its number in `front`; with
            `overlay(texts)` a graph runs with them.
        spend: What was spent, by phase.
        predicted: What a dry run would have said of it, at most; None where no prompt was found without running the graph,
            or the graph is deployed elsewhere. `costs` has it beside `spend`.
        forecast: What was predicted, at most, once the graph as it is had been run: with its real calls and tokens. None
            where the run ended before its first step.
        errors: The graph's own exceptions by example id, untouched, tracebacks included. Those of an earlier session of
            the run are not in it: see `raised`.
        raised: What the graph raised, in words, by example id.
        unjudged: Why an evaluator could not judge, by example id.
        warnings: What else should be known.
        run: The run's id.
        run_dir: Where its journal is; pass it again to go on from there.
        seed: The seed.
    """

    graph: G
    improved: bool
    published: Mapping[str, int]
    reason: str
    texts: Texts
    start: Texts
    parameters: Mapping[Site, Template]
    validation: Comparison | None
    test: Comparison | None
    decisions: tuple[Gated, ...]
    chosen: str
    front: Front
    candidates: tuple[Texts, ...]
    spend: Spend
    predicted: Spend | None = None
    forecast: Spend | None = None
    errors: Mapping[str, BaseException]
    raised: Mapping[str, str]
    unjudged: Mapping[str, str]
    warnings: tuple[str, ...]
    run: str
    run_dir: Path
    seed: int
    registry: PromptRegistry = field(repr=False)
    on_rollback: Callable[[Mapping[str, int | None]], None] = field(repr=False)

    @property
    def original(self) -> dict[str, str]:
        """The texts that the run began with, by printed Site."""
        own = {str(site): template.text for site, template in self.parameters.items()}
        return own | {str(site): replacement.new.text for site, replacement in self.start.items()}

    @property
    def prompts(self) -> dict[str, str]:
        """The texts as `graph` runs with them if nothing is rolled back, by printed Site."""
        if not self.published:
            return self.original
        return self.original | {str(site): change.new.text for site, change in self.texts.items()}

    @property
    def shrinkage(self) -> Shrinkage | None:
        """The gain on validation beside that on test: how much of it was luck; None where the test set was not read."""
        return shrinkage(self.validation, self.test, seed=self.seed)

    @property
    def costs(self) -> Costs:
        """What was spent beside what was predicted at most, by phase. Printing it gives a table."""
        return Costs(self.predicted, self.spend, self.forecast)

    def __str__(self) -> str:
        return f"{self.summary()}\n{self.costs}"

    def summary(self) -> str:
        """The result in a few lines."""
        lines = [self.reason]
        if self.test is not None:
            lines.insert(0, f"test {self.test}")
        if self.validation is not None:
            lines.append(f"validation {self.validation}")
        shrunk = self.shrinkage
        lines += [str(shrunk)] if shrunk is not None else []
        lines += [f"tag {effect}" for effect in self.test.by_tag] if self.test is not None else []
        lines += [self.chosen] if self.chosen else []
        lines.append(str(self.spend))
        first = next(iter(self.raised.items()), None)
        if first is not None:
            lines.append(f"the graph raised on {_count(self.raised)}, first on {first[0]}: {first[1]}")
        words = next(iter(self.unjudged.values()), None)
        if words is not None:
            lines.append(f"{_count(self.unjudged)} could not be judged, first {words}")
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def diff(self, site: str | None = None) -> str:
        """What the accepted edits change, with the reason of each.

        Args:
            site: A printed Site, as in "classify/human"; default: all that changed.
        """
        parts: list[str] = []
        for place, change in self.texts.items():
            if site is not None and str(place) != site:
                continue
            old = self.start[place].new if place in self.start else change.old
            lines = difflib.unified_diff(
                old.text.splitlines(),
                change.new.text.splitlines(),
                f"{place} (before)",
                f"{place} (after)",
                lineterm="",
            )
            asked = (update for gated in self.decisions if _taken(gated) for update in (gated.update, *gated.together))
            why = [
                f"why: {update.why} (by {update.proposer}, from gradients {', '.join(update.gradients) or 'none'})"
                for update in asked
                if update.site == place
            ]
            shown = [f"  {dict(demo.inputs)} -> {demo.output}" for demo in change.new.demos]
            demos = [f"with {len(shown)} demonstrations before it:", *shown] if shown else []
            parts.append("\n".join([*lines, *demos, *why]))
        return "\n\n".join(parts)

    def rollback(self) -> None:
        """Put the texts in force again that were published before this run; takes effect at the graph's next run.

        Raises:
            UnknownVersion: This run published nothing, so there is nothing to take back.
            VersionConflict: Other texts were published since, or these were rolled back already; nothing was changed.
        """
        if not self.published:
            raise UnknownVersion(
                f"run {self.run} published nothing, so there is nothing to take back ({self.reason}); to take back what "
                "an earlier run published, use the result of that run, or rollback() of the registry"
            )
        versions = self.registry.rollback(PRODUCTION, list(self.published), expect=self.published)
        self.on_rollback(versions)


def _taken(gated: Gated) -> bool:
    return gated.accepted and gated.gate == "validation"


def _count(examples: Mapping[str, str]) -> str:
    return f"{len(examples)} example{'' if len(examples) == 1 else 's'}"
