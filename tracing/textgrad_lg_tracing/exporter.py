"""OTelCallback: turns the events of an optimisation run into OpenTelemetry spans."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import trace as api

from textgrad_lg import events
from textgrad_lg.redact import in_force
from textgrad_lg.types import Phase
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.backward import backward
from textgrad_lg_tracing.buffer import Case, RunBuffer, StepBuffer
from textgrad_lg_tracing.content import Content, Redactor
from textgrad_lg_tracing.draft import Draft, write
from textgrad_lg_tracing.live import Live, LiveExample, step_of
from textgrad_lg_tracing.metrics import Metrics, set_provider
from textgrad_lg_tracing.proposals import proposing, reductions
from textgrad_lg_tracing.rollouts import Forward, rollout, times
from textgrad_lg_tracing.steps import edit
from textgrad_lg_tracing.worker import Worker

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import SpanContext, Tracer, TracerProvider
    from opentelemetry.util.types import AttributeValue


_log = logging.getLogger("textgrad_lg_tracing")
_APART = {Phase.VALIDATION: "validate", Phase.TEST: "test"}
_SPANS_IN_QUEUE = 1_000
"""How many spans are handed on before they are flushed: a step ends with many at once, and an SDK queue holds 2,048."""
_REMEMBERED = 10_000
"""For how many Spans it is remembered which span shows their criticism."""


class Detail(StrEnum):
    """How much of a rollout is shown."""

    SUMMARY = "summary"
    """One span for each rollout and each reverse pass."""
    NODES = "nodes"
    """Nodes, model calls and tool calls of the minibatch's rollouts; validation and test rollouts are one span each."""
    FULL = "full"
    """Those of validation and test rollouts too; each gets a trace of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Closed(events.Event):
    """The callback is closed: nothing more is coming."""


class OTelCallback:
    """Writes a run as OpenTelemetry spans: a callback for `optimize(..., callbacks=[...])`.

    One trace for each Example of a step: `textgrad example` > `forward`, `loss {evaluator}`, `backward`. One for each
    step: `textgrad step {n}` > `reduce {site}`, `propose`, `update {site}`, `validate`. One for the run: `textgrad run`. All carry the run's id as
    `session.id`.

    The spans are written by a thread of their own, so that an exporter that raises or blocks does neither to the run.
    The end of a run, and `close`, wait for them, but not longer than `patience`.

    Args:
        provider: Where the spans go; None for the one that is set for the process by the time they are written.
        content: Whether prompts, state, gradients and comments are shown. Off by default: they quote the graph's users.
        redactor: Applied to each piece of content before it is written; None for that of each run, see
            `textgrad_lg.Settings`.
        detail: How much of a rollout is shown.
        limit: The longest text or JSON that one attribute may hold, in characters.
        patience: How long the end of a run waits for its spans to be written, in seconds.
        sample: The share of a step's Examples, from 0 to 1, that get a trace. Which ones depends on the run's id, the step
            and the Example alone. A step in which a Parameter changed keeps all of its minibatch. The traces of steps and
            runs are always written, and say how many Examples were left out.
        meter_provider: Where the metrics go; None for the one that is set for the process when the first event comes. If
            there is none, there are no metrics.

    Raises:
        ValueError: `detail` is unknown, or `sample` is not from 0 to 1.
    """

    def __init__(
        self,
        provider: TracerProvider | None = None,
        *,
        content: bool = False,
        redactor: Redactor | None = None,
        detail: Detail | str = Detail.NODES,
        limit: int = 16_000,
        patience: float = 5.0,
        sample: float = 1.0,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        if not 0.0 <= sample <= 1.0:
            raise ValueError(f"sample is a share from 0 to 1, not {sample!r}")
        self._provider = provider
        self._content = Content(content, redactor, limit)
        self._of_run: dict[str, Content] = {}
        self._detail = Detail(detail)
        self._patience = patience
        self._sample = sample
        self._metrics = None if meter_provider is None else Metrics(meter_provider)
        self._begun = False
        self._written: dict[tuple[str, str], SpanContext] = {}
        self._runs: dict[str, RunBuffer] = {}
        self._live = Live()
        self._unflushed = 0
        self._warned = False
        self._worker: Worker[events.Event] = Worker(self._handle, self._failed)

    def __call__(self, event: events.Event) -> None:
        """Take note of an event. Never raises; waits only at the end of a run, see `patience`."""
        self._note_redactor(event)
        self._worker.put(event)
        if isinstance(event, events.RunFinished | events.RolledBack):
            self._worker.wait(self._patience)

    def _note_redactor(self, event: events.Event) -> None:
        """Take the redactor of the run that this event is of. Only here, in the run's own thread, it is in force."""
        found = in_force()
        if found is not None and self._content.redactor is None:
            self._of_run.setdefault(event.run, replace(self._content, redactor=found))

    def _shown(self, common: Mapping[str, AttributeValue]) -> Content:
        """What is shown of the content of the run that has these attributes."""
        return self._of_run.get(str(common.get(at.RUN)), self._content)

    def around(self, event: events.RolloutStarted) -> AbstractContextManager[None]:
        """Make the `forward` span of a rollout the current one, so that what else traces the graph goes under it.

        Only of rollouts of which it is known that they get a trace of their own, or one of their example: not of those
        that `sample` leaves out, nor of validation and test rollouts below `Detail.FULL`. And not where the process has
        another provider: what others write goes there, and would have a parent that is written elsewhere.
        """
        apart = event.phase in _APART
        shown = not apart or self._detail is Detail.FULL
        if self._apart() or not shown or not self._sampled(event.run, event.step, event.example):
            return nullcontext()
        return self._live.around(self._tracer(), event, apart=apart)

    def close(self) -> None:
        """Write what is left of runs that have not ended, and wait for it, but not longer than `patience`."""
        self(_Closed(run="", time=0.0))
        self._worker.wait(self._patience)

    def backward_span(self, trace: str, span: str) -> SpanContext | None:
        """The span that shows how a Span was criticised, or else the one of the whole reverse pass; None if none is written.

        It is written when the step has ended. The latest 10,000 are remembered.

        Args:
            trace: The id of the Trace.
            span: The id of the Span in it.
        """
        return self._written.get((trace, span)) or self._written.get((trace, ""))

    def _handle(self, event: events.Event) -> None:
        self._measure(event)
        if isinstance(event, _Closed):
            for name in list(self._runs):
                self._end_run(name, "RuntimeError: the run did not end")
            return
        if isinstance(event, events.RolledBack):
            self._rolled_back(event)
            return
        run = self._runs.setdefault(event.run, RunBuffer(event.time, event.time, common={at.RUN: event.run}))
        step = run.note(event)
        step.note(event)
        match event:
            case events.ExampleScored():
                self._scored(run, step, event)
            case events.StepFinished():
                step.started = event.started
                score = {} if event.score is None else {at.SCORE: float(event.score)}
                self._end_step(run, event.step, event.time, {at.ACCEPTED: event.accepted, **score})
            case events.RunFinished():
                self._end_run(event.run, event.error, event.summary)
            case _:
                pass

    def _measure(self, event: events.Event) -> None:
        if not self._begun:
            self._begun = True
            if self._metrics is None and (meters := set_provider()) is not None:
                self._metrics = Metrics(meters)
        try:
            if self._metrics is not None:
                self._metrics.record(event)
        except Exception as error:  # noqa: BLE001  the spans are written all the same
            self._failed(error)

    def _scored(self, run: RunBuffer, step: StepBuffer, event: events.ExampleScored) -> None:
        apart = _APART.get(event.phase)
        if event.origin is not None:
            step.imported(event)
        elif apart is None:
            # A rollout made before the first step and used in it belongs to that step.
            before = run.steps.get(0)
            earlier = before.take(event.trace) if event.cached and event.trace and before else None
            step.differentiable(earlier or event)
        elif self._detail is Detail.FULL and self._sampled(event.run, event.step, event.example):
            # No reverse pass is coming for it, so its Trace need not be kept until the step ends.
            where, case = (event.step, event.example), Case([event])
            if event.rollout:
                self._write_case(run, step, where, case, alone=event.rollout)
            else:
                self._draw_case(run, step, where, case, None)
        else:
            step.apart(apart, event)

    def _end_step(self, run: RunBuffer, number: int, end: float, about: Mapping[str, AttributeValue]) -> None:
        step = run.steps.pop(number)
        root = self._step_root(f"textgrad step {number}", run, step, number, end)
        left_out = {at.UNSAMPLED: step.unsampled} if step.unsampled else {}
        root.attributes = lambda: {**about, **left_out, at.EXAMPLE_COUNT: len(root.links) + step.unsampled}
        self._write(root, {**run.common, at.STEP: number})

    def _end_run(self, name: str, error: str | None, summary: str | None = None) -> None:
        run = self._runs.pop(name)
        for number in [number for number in run.steps if number != 0]:
            self._end_step(run, number, run.latest, {})
        step = run.steps.pop(0, None) or StepBuffer(run.started)
        step.started = run.started
        root = self._step_root("textgrad run", run, step, 0, run.latest)
        root.error = error
        shown = self._shown(run.common).fields({at.INPUT: dict(run.settings) or None, at.OUTPUT: summary})
        root.attributes = lambda: {**shown, **run.about, at.WARNING_COUNT: run.warnings}
        self._write(root, run.common)
        self._of_run.pop(name, None)

    def _step_root(self, name: str, run: RunBuffer, step: StepBuffer, number: int, end: float) -> Draft:
        # Rollouts that were begun and never scored; with the run all end, also those of a step of which nothing was heard.
        for begun, example, alone in self._live.left(run.id, number or None):
            if begun == step_of(number) and not alone:
                step.cases.setdefault(example, Case())
            else:
                self._write_case(run, step, (begun, example), Case(), alone=alone)
        passes = [found for case in step.cases.values() for found in case.passes]
        for example, case in step.cases.items():
            if step.changed or self._sampled(run.id, number, example):
                self._write_case(run, step, (number, example), case)
            else:
                step.unsampled += 1
        gradients = {gradient.id: gradient.text for found in passes for gradient in found.gradients}
        root = Draft(name, step.started, end, links=step.roots)
        content = self._shown(run.common)
        for draft in (*reductions(passes, content), proposing(step.calls)):
            if draft is not None:
                root.add(draft)
        for found in step.edits.values():
            root.add(edit(found, gradients, content))
        for group in step.groups.values():
            root.add(group.draft())
        root.cover()
        return root

    def _write_case(
        self, run: RunBuffer, step: StepBuffer, where: tuple[int, str], case: Case, *, alone: str = ""
    ) -> None:
        """Write the trace of one Example, or of the one rollout that stands alone, into the spans that were started for it."""
        with self._live.taken(run.id, *where, alone) as live:
            self._draw_case(run, step, where, case, live)

    def _draw_case(
        self, run: RunBuffer, step: StepBuffer, where: tuple[int, str], case: Case, live: LiveExample | None
    ) -> None:
        """Write each rollout once, and the reverse passes beside what they went back over."""
        starts = [times(event)[0] for event in case.rollouts] + [found.started for found in case.passes]
        starts += [live.started] if live else []
        if not starts:
            return
        root = Draft("textgrad example", min(starts), min(starts), live=live and live.span)
        nodes = self._detail is not Detail.SUMMARY
        content = self._shown(run.common)
        # The Trace of a reverse pass is the same one, and also knows which of its Variables are Parameters.
        labelled = {found.trace.id: found.trace for found in case.passes}
        forwards: dict[str, Forward] = {}
        begun = dict(live.forwards) if live else {}
        for event in case.rollouts:
            name = event.trace.id if event.trace else ""
            if not name or name not in forwards:
                trace = labelled.get(name, event.trace)
                forwards[name] = rollout(root, replace(event, trace=trace), content, nodes=nodes)
                if event.rollout in begun:
                    begun.pop(event.rollout).draw_into(forwards[name].draft, timed=trace is not None)
                root.error = root.error or forwards[name].draft.error
        for left in begun.values():
            draft = root.add(left.alone())
            root.error = root.error or draft.error
        drawn: dict[tuple[str, str], Draft] = {}
        for found in case.passes:
            shown = backward(root, found, forwards.get(found.trace.id), content, nodes=nodes)
            drawn |= {(found.trace.id, span): draft for span, draft in shown.items()}
        root.cover()
        source = "live" if case.rollouts or live else "imported"
        written = self._write(root, {**run.common, at.STEP: where[0], at.EXAMPLE: where[1], at.SOURCE: source})
        if root in written:
            step.roots.append(written[root])
        self._written |= {place: written[draft] for place, draft in drawn.items() if draft in written}
        while len(self._written) > _REMEMBERED:
            del self._written[next(iter(self._written))]

    def _sampled(self, run: str, number: int, example: str) -> bool:
        digest = hashlib.sha256(f"{run}\0{step_of(number)}\0{example}".encode()).digest()
        return int.from_bytes(digest[:8]) < self._sample * 2**64

    def _rolled_back(self, event: events.RolledBack) -> None:
        root = Draft("textgrad rollback", event.time, event.time)
        names = tuple(event.versions)
        root.attributes = partial(dict, {at.LABEL: event.label, at.PARAMETERS: names})
        for name, version in event.versions.items():
            child = root.add(Draft(f"rollback {name}", event.time, event.time))
            # None: the label was taken off, and the graph's own text is in force.
            versions = {at.VERSION_BEFORE: event.before.get(name), at.VERSION: version}
            known = {key: str(number) for key, number in versions.items() if number is not None}
            child.attributes = partial(dict, {at.PARAMETER: name, at.LABEL: event.label, **known})
        self._write(root, {at.RUN: event.run})

    def _write(self, root: Draft, common: Mapping[str, AttributeValue]) -> dict[Draft, SpanContext]:
        """Write one trace; returns the contexts of its spans: none where no one is listening, or it failed."""
        try:
            spans = write(
                self._tracer(), root, {at.PHASE: "optimize", at.SOURCE: "live", **common}, self._shown(common)
            )
            self._unflushed += len(spans)
            flush = getattr(self._provider or api.get_tracer_provider(), "force_flush", None)
            if flush is not None and self._unflushed >= _SPANS_IN_QUEUE:
                self._unflushed = 0
                flush()
        except Exception as error:  # noqa: BLE001  one trace is lost, the next is written
            self._failed(error)
            return {}
        contexts = {draft: span.get_span_context() for draft, span in spans.items()}
        # What a sampler left out is nowhere, and a link to it would lead there.
        return {
            draft: context for draft, context in contexts.items() if context.is_valid and context.trace_flags.sampled
        }

    def _tracer(self) -> Tracer:
        # Looked up each time: the one of the process may be set only when the graph is first traced.
        return api.get_tracer("textgrad_lg_tracing", tracer_provider=self._provider)

    def _apart(self) -> bool:
        """Whether the spans go to another provider than that of the process, which has one."""
        found = api.get_tracer_provider()
        if isinstance(found, api.ProxyTracerProvider | api.NoOpTracerProvider):
            return False
        return self._provider is not None and self._provider is not found

    def _failed(self, error: Exception) -> None:
        # Only the type: the text of a network error may hold the endpoint and its token.
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        _log.log(
            level, "spans could not be written (%s); the run is not affected; this is said once", type(error).__name__
        )
