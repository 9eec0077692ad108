"""Buffers: what a run has told and what is not yet written, because the trace it belongs to is not complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textgrad_lg import events
from textgrad_lg.types import Phase
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.steps import Edit, Group, key

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext
    from opentelemetry.util.types import AttributeValue

    from textgrad_lg.trace import Trace
    from textgrad_lg.types import JSON
    from textgrad_lg.update import Update


@dataclass
class Case:
    """The rollouts of one Example in one step, and the reverse passes over them."""

    rollouts: list[events.ExampleScored] = field(default_factory=list["events.ExampleScored"])
    passes: list[events.BackwardFinished] = field(default_factory=list["events.BackwardFinished"])


@dataclass
class StepBuffer:
    """What has happened in one step, or in a run outside of its steps.

    Attributes:
        started: Unix time in seconds.
        cases: By the id of the Example.
        edits: By what tells Updates apart.
        groups: Rollouts that are one span each, by phase and candidate.
        roots: The roots of those traces of the step that are written.
        examples: The id of the Example by that of the Trace.
        calls: The proposers' model calls.
        changed: Whether a Parameter has changed in it.
        unsampled: How many Examples were left out by the sampling.
    """

    started: float
    cases: dict[str, Case] = field(default_factory=dict[str, Case])
    edits: dict[tuple[str, str, str, str], Edit] = field(default_factory=dict["tuple[str, str, str, str]", Edit])
    groups: dict[tuple[str, str], Group] = field(default_factory=dict["tuple[str, str]", Group])
    roots: list[SpanContext] = field(default_factory=list["SpanContext"])
    examples: dict[str, str] = field(default_factory=dict[str, str])
    calls: list[events.MadeCall] = field(default_factory=list[events.MadeCall])
    changed: bool = False
    unsampled: int = 0

    def note(self, event: events.Event) -> None:
        """Take note of what was proposed and decided, and of a reverse pass."""
        match event:
            case events.BackwardFinished(trace=trace):
                example = self.examples.get(trace.id, trace.example or trace.id)
                self.cases.setdefault(example, Case()).passes.append(event)
            case events.Proposed():
                self._edit(event.update, event.time)
            case events.Gated():
                for update in (event.update, *event.together):
                    self._edit(update, event.time).gates.append(event)
            case events.Committed():
                self._edit(event.update, event.time).committed = event
                self.changed = True
            case events.StepFinished():
                self.changed = self.changed or event.accepted
            case events.ModelsCalled():
                self.calls += [call for call in event.calls if call.phase is Phase.PROPOSAL]
            case _:
                pass

    def differentiable(self, event: events.ExampleScored) -> None:
        """Take note of a rollout that a reverse pass may come for."""
        self.cases.setdefault(event.example, Case()).rollouts.append(event)
        self.imported(event)

    def imported(self, event: events.ExampleScored) -> None:
        """Take note of which Example a Trace is of; of one that was made elsewhere, no more than that is shown."""
        if event.trace is not None:
            self.examples[event.trace.id] = event.example

    def take(self, trace: Trace) -> events.ExampleScored | None:
        """Hand over the rollout that made `trace`, if it is here; it is then no longer here."""
        example = self.examples.pop(trace.id, None)
        if example is None:
            return None
        rollouts = self.cases[example].rollouts
        place = next(n for n, event in enumerate(rollouts) if event.trace is not None and event.trace.id == trace.id)
        return rollouts.pop(place)

    def apart(self, phase: str, event: events.ExampleScored) -> None:
        """Take note of a rollout that is one span among many of its candidate."""
        self.groups.setdefault((phase, event.candidate), Group(phase, event.candidate)).add(event)

    def _edit(self, update: Update, time: float) -> Edit:
        return self.edits.setdefault(key(update), Edit(update, time))


@dataclass
class RunBuffer:
    """What has happened in one run.

    Attributes:
        started: Unix time in seconds.
        latest: Unix time in seconds of the latest event.
        steps: By number; 0 is what happened outside of the steps.
        common: Attributes of all spans of the run.
        about: Attributes of the run's own span.
        settings: What the run was called with.
        warnings: How many warnings there were.
    """

    started: float
    latest: float
    steps: dict[int, StepBuffer] = field(default_factory=dict[int, StepBuffer])
    common: dict[str, AttributeValue] = field(default_factory=dict[str, "AttributeValue"])
    about: dict[str, AttributeValue] = field(default_factory=dict[str, "AttributeValue"])
    settings: Mapping[str, JSON] = field(default_factory=dict[str, "JSON"])
    warnings: int = 0

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.common[at.RUN])

    def note(self, event: events.Event) -> StepBuffer:
        """Take note of what concerns the run as a whole; returns the buffer of the event's step."""
        self.latest = max(self.latest, event.time)
        match event:
            case events.RunStarted():
                self.common[at.GRAPH] = event.graph
                self.settings = event.settings
            case events.Discovered():
                self.about[at.PARAMETER_COUNT] = len(event.parameters)
                self.about[at.PARAMETERS] = tuple(str(site) for site in event.trainable)
            case events.Warned():
                self.warnings += 1
            case events.RunFinished():
                self.started = event.started
                self.about[at.IMPROVED] = event.improved
            case _:
                pass
        return self.steps.setdefault(event.step, StepBuffer(event.time))
