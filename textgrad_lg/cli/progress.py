"""Progress: a line for each thing that happens in a run."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from textgrad_lg.events import (
    BackwardFinished,
    Committed,
    Discovered,
    Event,
    ExampleScored,
    Forecast,
    Gated,
    OptimizerChosen,
    StepFinished,
    Warned,
)
from textgrad_lg.types import Usage

if TYPE_CHECKING:
    from textgrad_lg.types import Phase


class Progress:
    """Prints a run's events as they come.

    Args:
        out: Where to print; default: standard error.
        every: Rollouts between two lines of a phase.
    """

    def __init__(self, out: TextIO | None = None, *, every: int = 20) -> None:
        self._out = out or sys.stderr
        self._every = every
        self._started: float | None = None
        self._rollouts: Counter[Phase] = Counter()

    def __call__(self, event: Event) -> None:
        """Print `event`, if it is worth a line."""
        if self._started is None:
            self._started = event.time
        text = self._line(event)
        if text:
            print(f"[{event.time - self._started:5.0f} s] {text}", file=self._out, flush=True)

    def _line(self, event: Event) -> str | None:  # noqa: PLR0911  one return a case reads best
        match event:
            case Discovered():
                names = ", ".join(str(site) for site in event.trainable)
                return f"{len(event.trainable)} prompts may change: {names}"
            case ExampleScored() if not event.cached:
                self._rollouts[event.phase] += 1
                count = self._rollouts[event.phase]
                return f"{count} rollouts for {event.phase.value}" if count % self._every == 0 else None
            case BackwardFinished():
                blamed = ", ".join(f"{site} ({len(found)})" for site, found in event.gradients.parameters().items())
                return f"example {event.trace.example}: gradients on {blamed}" if blamed else None
            case Gated():
                verdict = "passes" if event.accepted else "rejected"
                sites = ", ".join(str(update.site) for update in (event.update, *event.together))
                return f"{event.gate}: {event.update.proposer} on {sites} {verdict}: {event.reason}"
            case OptimizerChosen():
                return event.reason
            case Forecast():
                most = sum(event.phases.values(), Usage())
                tokens = most.input_tokens + most.output_tokens
                return f"the whole run: at most about {most.calls:,} calls and {tokens:,} tokens"
            case Committed():
                return f"committed {event.name} version {event.version}"
            case StepFinished():
                score = "no score" if event.score is None else f"minibatch score {event.score:.2f} before it"
                return f"step {event.step} ended, {score}"
            case Warned():
                return f"warning: {event.message}"
            case _:
                return None
