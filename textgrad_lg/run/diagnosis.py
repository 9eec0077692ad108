"""Diagnosis: what is known of a graph before it is optimised, as a page for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from textgrad_lg.run.advice import advice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from textgrad_lg.optim.choose import Choice
    from textgrad_lg.prompt import Template
    from textgrad_lg.run.headroom import Headroom
    from textgrad_lg.run.noise import Noise
    from textgrad_lg.run.spend import Spend
    from textgrad_lg.run.stats import Comparison
    from textgrad_lg.site import Site


class Trial(StrEnum):
    """What was done to a Parameter's text."""

    ABLATE = "ablate"
    """It was taken away, but for its slots and what is frozen."""
    PERTURB = "perturb"
    """It was said otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What became of the score when one Parameter's text was replaced, on the same examples.

    Attributes:
        trial: What was done.
        how: What was done, in words.
        text: The text that was tried.
        comparison: The graph's own text against it, on the first run of each example.
        changed: Examples whose judged output was another one.
        seen: Whether the difference is significant, all trials of its kind counted (Benjamini and Hochberg 1995). Where
            it is not, no effect was seen, which does not say that there is none.
    """

    trial: Trial
    how: str
    text: Template
    comparison: Comparison
    changed: int
    seen: bool = False

    def __str__(self) -> str:
        found = self.comparison
        changed = f"output changed on {self.changed} of {found.n + found.missing}"
        if found.difference is None:
            return f"{self.how}: {found}"
        if self.seen:
            return f"{self.how}: effect seen, {found}; {changed}"
        interval = f", difference {found.difference:+.2f}"
        if found.low is not None and found.high is not None:
            interval += f", 95 % interval [{found.low:+.2f}, {found.high:+.2f}]"
        return f"{self.how}: no effect seen (n={found.n}){interval}; {changed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """How the score depends on one Parameter.

    Attributes:
        site: The Parameter.
        text: Its text in force.
        reached: Examples of which at least one run used it.
        blamed: Failing examples from whose verdict the reverse pass, without a model, leads to it.
        effects: What was tried, in order; empty where nothing was.
    """

    site: Site
    text: Template
    reached: int
    blamed: int
    effects: tuple[Effect, ...]

    @property
    def seen(self) -> bool:
        """Whether any trial showed an effect."""
        return any(effect.seen for effect in self.effects)

    @property
    def largest(self) -> float:
        """The largest difference that a trial made to the mean score, whichever way; 0 where none was compared."""
        return max((abs(effect.comparison.difference or 0.0) for effect in self.effects), default=0.0)

    @property
    def changed(self) -> int:
        """Examples whose judged output a trial changed, at most."""
        return max((effect.changed for effect in self.effects), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What is known of a graph before it is optimised. Printing it gives a page for people.

    Attributes:
        headroom: What the graph scores now, and how it fails.
        noise: How much of a score is chance.
        parameters: The trainable Parameters, those that the score depends on most first. Empty where no run could be
            learnt from; `headroom` then says why.
        frozen: Parameters that were found and that `optimize_only` leaves out.
        unreached: Texts that the graph holds and no example reached, in words.
        examples: Ids of the examples that were run; none is of the test set.
        sizes: Examples for train, validation and test, as `optimize` would split them.
        needed: Test examples it takes to see a gain of 0.05, 0.1 and 0.2 with a chance of 80 %. None where scores are not
            between 0 and 1.
        detectable: The smallest gain that the test set would show with that chance; None where it shows none, or as above.
        choice: The optimizer that suits, and why; None where nothing fails or nothing can be learnt.
        critic: Whether there is a model that can criticise and propose.
        spend: What was spent.
        unfinished: Why the diagnosis ended before its end; None where it did not.
        warnings: What else should be known.
        run: The run's id.
        run_dir: Where its journal is; pass it again to go on from there.
    """

    headroom: Headroom
    noise: Noise
    parameters: tuple[Dependence, ...]
    frozen: tuple[Site, ...]
    unreached: tuple[str, ...]
    examples: tuple[str, ...]
    sizes: tuple[int, int, int]
    needed: Mapping[float, int] | None
    detectable: float | None
    choice: Choice | None
    critic: bool
    spend: Spend
    unfinished: str | None
    warnings: tuple[str, ...]
    run: str
    run_dir: Path

    @property
    def optimize_only(self) -> tuple[str, ...]:
        """The Parameters to begin with, as `optimize_only` takes them.

        Those with an effect on the score. Where there is none, those that the feedback leads to and that change the output
        of more examples than change by themselves; where there is none either, all that the feedback leads to.
        """
        led = [each for each in self.parameters if each.blamed]
        chosen = (
            [each for each in self.parameters if each.seen]
            or [each for each in led if each.changed > self.noise.moved]
            or led
        )
        return tuple(str(each.site) for each in chosen)

    @property
    def next(self) -> tuple[str, ...]:
        """What to do next, the most urgent first."""
        return advice(self)

    def __str__(self) -> str:
        lines = [*self._headroom(), *self._parameters(), *self._noise()]
        lines += [f"warning: {warning}" for warning in self.warnings]
        if self.unfinished is not None:
            lines.append(f"not finished: {self.unfinished}")
        lines += ["", "what to do next", *(f"  {at}. {line}" for at, line in enumerate(self.next, 1))]
        return "\n".join([*lines, "", f"spent: {self.spend}"])

    def _headroom(self) -> list[str]:
        room = self.headroom
        of = f"{room.examples} examples" + (f", {room.runs} runs of each" if room.runs > 1 else "")
        if room.score is None or room.share is None:
            lines = [f"score now: none, on {of}: no run could be judged"]
        else:
            known = room.low is not None and room.high is not None
            interval = f", 95 % interval [{room.low:.2f}, {room.high:.2f}]" if known else ""
            fails = f"{room.failing} of {room.judged} judged runs fail ({room.share:.0%})"
            lines = [
                f"score now: {room.score:.2f}{interval}, on {of}",
                f"  {fails}: {room.always} examples in all their runs, {room.sometimes} in some",
            ]
        if room.best is not None:
            lines.append(f"  best of {room.runs} runs of each example: {room.best:.2f}, which luck alone reaches")
        for name, (times, first) in room.errors.items():
            lines.append(f"  the evaluator {name!r} could not judge {times} runs, first: {first}")
        if room.raised:
            name, words = next(iter(room.raised.items()))
            lines.append(f"  the graph raised on {len(room.raised)} examples, first on {name}: {words}")
        if room.worded:
            lines.append(f"  {room.worded} of {room.failing} failing outputs hold every word that was expected")
        lines += [f'  said of {examples} failing examples: "{words}"' for words, examples in room.comments[:_COMMENTS]]
        if room.silent:
            lines.append(f"  of {room.silent} of {room.failing} failing runs no evaluator said why")
        return lines

    def _parameters(self) -> list[str]:
        lines = ["", "Parameters, those that the score depends on most first"] if self.parameters else []
        for each in self.parameters:
            blamed = f", feedback leads to it from {_count(each.blamed)}" if each.blamed else ""
            lines.append(f"  {each.site}  reached by {each.reached} of {self.headroom.examples} examples{blamed}")
            lines += [f"      {effect}" for effect in each.effects]
        if self.frozen:
            lines.append(f"  left out by optimize_only: {', '.join(map(str, self.frozen))}")
        if self.unreached:
            lines += ["", "out of reach: texts that no example used", *(f"  {text}" for text in self.unreached)]
        return lines

    def _noise(self) -> list[str]:
        noise, lines = self.noise, ["", "noise and numbers"]
        if noise.within is None:
            lines.append("  how much a score varies from run to run was not measured; the numbers below take it for 0")
        else:
            parts = f"graph {noise.graph or 0:.3f}, evaluator {noise.evaluator or 0:.3f}"
            moved = f"the output of {noise.moved} of {self.headroom.examples} examples differs from run to run"
            lines.append(f"  variance of an example's score from run to run: {noise.within:.3f} ({parts}); {moved}")
        train, validation, test = self.sizes
        lines.append(f"  examples: {train} train, {validation} validation, {test} test")
        if self.needed is None:
            return [*lines, "  how many it takes is not known, because scores are not between 0 and 1"]
        each = ", ".join(f"{number} for a gain of {gain:.2f}" for gain, number in self.needed.items())
        shows = f"gains from {self.detectable:.2f} on" if self.detectable is not None else "no gain at all"
        if self.headroom.score is not None:
            shows += f", of {1 - self.headroom.score:.2f} that are left to gain"
        return [*lines, f"  with a chance of 80 %, {test} test examples show {shows}; it takes {each}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisPlan:
    """What a diagnosis would look at and spend at most, before anything is spent. Printing it gives a page for people.

    Attributes:
        parameters: The trainable Parameters found without running anything, by Site.
        examples: Examples that would be run.
        calls: Model calls by part, at most, if each prompt found is used once a run: "baseline", "repeats", "ablate",
            "perturb", and "paraphrase" with its retries.
        judgings: Outputs that would be judged at most; an evaluator that calls a model pays for each.
        usd: The price of `calls` as `Plan` reckons it; None where no price is known.
        warnings: What could not be reached, and what the estimate does not know.
    """

    parameters: Mapping[Site, Template]
    examples: int
    calls: Mapping[str, int]
    judgings: int
    usd: float | None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        price = f"about ${self.usd:.2f}" if self.usd is not None else "no price known"
        return "\n".join(
            [
                f"{self.examples} examples, {len(self.parameters)} Parameters: {', '.join(map(str, self.parameters))}",
                f"at most about {sum(self.calls.values())} model calls, {price}:",
                *(f"  {part}: {calls}" for part, calls in self.calls.items()),
                f"and {self.judgings} judgings, which cost as much as your evaluators call models",
                *(f"warning: {warning}" for warning in self.warnings),
            ]
        )


def _count(failing: int) -> str:
    return f"{failing} failing example{'' if failing == 1 else 's'}"


_COMMENTS = 3
"""Repeated comments that a page shows."""
