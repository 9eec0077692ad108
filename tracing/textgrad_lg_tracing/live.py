"""Live: the spans that are started before the graph runs, so that what others trace of the run goes under them.

All other spans are written after the fact. Of these two, `textgrad example` and `forward`, the ids have to be there while
the graph runs: LangSmith, OpenInference and every other instrumentation ask for the current span. What is known of them is
drawn into them when the example's trace is written, and only then do they end.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import set_span_in_context

from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.draft import Draft, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span, Tracer

    from textgrad_lg.events import RolloutStarted

_UNENDED = "RuntimeError: the rollout did not end"


@dataclass
class LiveForward:
    """The `forward` span of one rollout.

    Attributes:
        span: It.
        event: What was said of the rollout when it began.
        ended: Unix time in seconds; None while the graph runs.
        error: What came out of the run, in words: what stopped it, since an exception of the graph's own does not.
    """

    span: Span
    event: RolloutStarted
    ended: float | None = None
    error: str | None = _UNENDED

    def draw_into(self, draft: Draft, *, timed: bool) -> None:
        """Have `draft` drawn into this span; `timed` says whether it knows when the graph began and ended."""
        start, end = self.event.time, self.ended or self.event.time
        draft.live = self.span
        # The run of a rollout that was made again began with its first try.
        draft.start, draft.end = (min(start, draft.start), max(end, draft.end)) if timed else (start, end)

    def alone(self) -> Draft:
        """A draft of a rollout that no one has told the end of."""
        draft = Draft("forward", 0.0, 0.0, lambda: _about(self.event, "forward"), error=self.error)
        self.draw_into(draft, timed=False)
        return draft


@dataclass
class LiveExample:
    """The root of an example's trace, and the rollouts under it by their ids."""

    span: Span
    started: float
    forwards: dict[str, LiveForward] = field(default_factory=dict[str, LiveForward])

    def let_go(self) -> None:
        """End what has not been ended because it could not be written, so that what is under it keeps its parent."""
        ends = [(forward.span, forward.ended or forward.event.time) for forward in self.forwards.values()]
        last = max((end for _, end in ends), default=self.started)
        for span, end in (*ends, (self.span, last)):
            if span.is_recording():
                with suppress(Exception):  # Whoever takes the spans may be what has failed.
                    span.end(nanoseconds(end))


_Place = tuple[str, int, str, str]


class Live:
    """The spans that have been started and not yet ended. Started by the run's thread, and taken by the one that writes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._examples: dict[_Place, LiveExample] = {}

    def around(self, tracer: Tracer, event: RolloutStarted, *, apart: bool) -> AbstractContextManager[None]:
        """What makes the `forward` span of a rollout the current one; nothing where no one is listening.

        Args:
            tracer: Makes the spans.
            event: The rollout.
            apart: Whether it has a trace of its own; otherwise that is the one of its example in its step.
        """
        place = _place(event.run, event.step, event.example, event.rollout if apart else "")
        with self._lock:
            example = self._examples.get(place)
            if example is None:
                root = _start(tracer, "textgrad example", event, "optimize", Context())
                if not root.get_span_context().is_valid:
                    return nullcontext()
                example = self._examples[place] = LiveExample(root, event.time)
            forward = example.forwards.get(event.rollout)
            if forward is None:
                below = set_span_in_context(example.span, Context())
                forward = LiveForward(_start(tracer, "forward", event, "forward", below), event)
                example.forwards[event.rollout] = forward
        return _current(forward)

    @contextmanager
    def taken(self, run: str, step: int, example: str, rollout: str = "") -> Generator[LiveExample | None]:
        """The spans of an example's trace, if there are any, which are to be written in the block; at its end they have ended."""
        with self._lock:
            found = self._examples.pop(_place(run, step, example, rollout), None)
        try:
            yield found
        finally:
            if found is not None:
                found.let_go()

    def left(self, run: str, step: int | None = None) -> list[tuple[int, str, str]]:
        """The steps, examples and rollouts that there are spans of; no rollout where its example has one trace.

        Args:
            run: The run.
            step: The step; None for all.
        """
        with self._lock:
            return [place[1:] for place in self._examples if place[0] == run and step in (None, place[1])]


def step_of(step: int) -> int:
    """The step that a rollout is shown in: one that is made before the first step is made for it."""
    return step or 1


def _place(run: str, step: int, example: str, rollout: str) -> _Place:
    return run, step_of(step), example, rollout


def _start(tracer: Tracer, name: str, event: RolloutStarted, phase: str, context: Context) -> Span:
    # A sampler decides by these; what else is known is added when the span is written.
    about = at.complete(_about(event, phase), at.Kind.CHAIN)
    return tracer.start_span(name, context=context, attributes=about, start_time=nanoseconds(event.time))


def _about(event: RolloutStarted, phase: str) -> dict[str, str | int]:
    known = {at.PHASE: phase, at.RUN: event.run, at.STEP: event.step, at.EXAMPLE: event.example, at.SOURCE: "live"}
    return {**known, at.CANDIDATE: event.candidate} if phase == "forward" else known


@contextmanager
def _current(forward: LiveForward) -> Generator[None]:
    # Whatever else is in the current context, such as baggage, stays in it.
    token = attach(set_span_in_context(forward.span))
    forward.ended, forward.error = None, _UNENDED
    try:
        yield
    except BaseException as error:
        forward.error = f"{type(error).__name__}: {error}"
        raise
    else:
        forward.error = None
    finally:
        forward.ended = time.time()
        detach(token)
