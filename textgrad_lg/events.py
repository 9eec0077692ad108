"""Events: what an optimisation run tells its callbacks, one frozen dataclass each.

A callback is any function of one event. It only observes: what it returns is ignored, and what it raises is logged and
changes nothing. One that also has a method `around` is asked for a context in which each run of the graph is made; see
`Around`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from textgrad_lg.example import Score
from textgrad_lg.gradient import Gradients
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site
from textgrad_lg.trace import Trace
from textgrad_lg.types import JSON, Phase, Usage
from textgrad_lg.update import Update


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        run: The id of the optimisation run.
        time: Unix time in seconds.
        step: The step, from 1; 0 before the first and after the last.
    """

    run: str
    time: float
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The run has begun. `settings` holds what it was called with, as JSON."""

    graph: str
    settings: Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered(Event):
    """The Parameters are known. Those in `trainable` may change; the others were left out by `optimize_only`."""

    parameters: Mapping[Site, Template]
    trainable: tuple[Site, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a Trace that was not recorded here was read from. All is empty where that is not known.

    Attributes:
        backend: As in "otlp", "langsmith" or "phoenix".
        producer: Who wrote the spans, as in "openinference".
        trace: The trace's id, as the backend writes it.
        spans: The Trace's Span ids to the backend's.
    """

    backend: str = ""
    producer: str = ""
    trace: str = ""
    spans: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStarted(Event):
    """The graph is about to be run on an example. Callbacks are not called with it; it is what `Around.around` is given.

    A run that is made again, because its models could not be reached, is the same rollout.

    Attributes:
        rollout: Its id, which the Trace will have.
        phase: What it is run for.
        candidate: The hash of the texts it is run with.
    """

    rollout: str
    phase: Phase
    candidate: str
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleScored(Event):
    """One rollout was run (or found in the journal, then `cached`) and judged.

    Attributes:
        phase: What it was run for.
        candidate: The hash of the texts it was run with.
        trace: The recorded run; None where the graph could not be started.
        scores: One a evaluator.
        error: The graph's own exception in words, where it raised.
        rollout: The id that `Around.around` was given of it; empty where no run was made.
        origin: Where the Trace was read from, if the run was made elsewhere, as in production; then it is `cached`.
    """

    phase: Phase
    candidate: str
    example: str
    trace: Trace | None
    scores: tuple[Score, ...]
    error: str | None = None
    cached: bool = False
    rollout: str = ""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardFinished(Event):
    """The reverse pass over one Trace; `started` and `ended` are Unix times in seconds.

    Those of one step are told together, in the order of the examples, so `time` is later than `ended`. `origin` says where
    the Trace was read from, if the run was made elsewhere.
    """

    trace: Trace
    gradients: Gradients
    started: float
    ended: float
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed(Event):
    """An optimizer proposed an Update."""

    update: Update


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated(Event):
    """An Update was tested and accepted or rejected.

    Attributes:
        gate: "edit" (checked by code), "minibatch", "validation", or "judge" (recorded calls asked again and judged, where
            `learn` has no graph).
        before: Mean score of the texts in force on the gate's examples; None for "edit".
        after: Mean score with the Update on the same examples; None for "edit".
        n: How many examples were compared.
        p_value: One-sided, for "the Update does not help"; None for "edit" and "minibatch".
        alpha: The highest `p_value` that was accepted; None for "edit" and "minibatch".
        reason: Why it was accepted or rejected, in words.
        together: The other Updates of the candidate, where it changes several Parameters at once: they were tested, and
            are taken, all together or not at all.
    """

    update: Update
    gate: str
    accepted: bool
    reason: str
    before: float | None = None
    after: float | None = None
    n: int = 0
    p_value: float | None = None
    alpha: float | None = None
    together: tuple[Update, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerChosen(Event):
    """No optimizer was given, and the run chose one.

    Attributes:
        optimizer: Its name.
        reason: Why, in words.
    """

    optimizer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast(Event):
    """The graph as it is was run and judged, and what the whole run will spend can be said better than before.

    Attributes:
        phases: What will be spent at most, by phase, reckoned from what the graph's runs have cost.
    """

    phases: Mapping[Phase, Usage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(Event):
    """An accepted Update was written to the prompt registry, as `name` version `version` under `label`.

    Attributes:
        before: The version it was made from; None where it has none.
    """

    update: Update
    name: str
    version: int
    label: str
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack(Event):
    """A label was moved back: `versions` maps each prompt's name to the version now in force.

    A version is None where the label was taken off, and the graph's own text is in force. `before` has the versions that
    were in force until then.
    """

    label: str
    versions: Mapping[str, int | None]
    before: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A model call that left the process and has ended.

    Attributes:
        phase: What it was made for.
        provider: LangChain's `ls_provider`, as in "openai"; empty where the model does not say.
        model: The model's name; empty where the model does not say.
        input_tokens: Tokens sent, or None where the model did not say.
        output_tokens: Tokens received, or None where the model did not say.
        start: Unix time in seconds.
        end: Unix time in seconds.
    """

    phase: Phase
    provider: str
    model: str
    input_tokens: int | None
    output_tokens: int | None
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsCalled(Event):
    """The model calls that have ended since this was told last, in the order of their ends. Told before a step, or the run, ends.

    Answers out of a journal or a memory are none, and nor is a call that was still under way when the run was stopped.
    """

    calls: tuple[MadeCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """Something the user should know that did not stop the run."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished(Event):
    """A step has ended; `started` is its Unix time of start in seconds, `score` the mean of its minibatch before the step."""

    started: float
    score: float | None
    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The run has ended; `summary` is the result's summary, `error` says what cut it short."""

    summary: str
    started: float
    improved: bool = False
    error: str | None = None


Callback = Callable[[Event], None]
"""Observes a run. Called in the order of events, never two at a time."""


@runtime_checkable
class Around(Protocol):
    """A callback that also has something in force while the graph runs, such as a span for others' spans to be put under."""

    def around(self, event: RolloutStarted, /) -> AbstractContextManager[object]:
        """What is entered around a run of the graph, and left when it has ended, before it is judged.

        Runs are made side by side: what is entered must be of the task, as a `ContextVar` is, which the graph's threads
        see too. What it raises is logged and changes nothing, and nor can it stop an exception of the run.
        """
        ...
