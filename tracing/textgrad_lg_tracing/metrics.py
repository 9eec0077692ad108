"""Metrics of an optimisation run, for who has set up a meter provider."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textgrad_lg import events
from textgrad_lg.types import Phase
from textgrad_lg_tracing import attributes as at

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.util.types import AttributeValue

PHASES = {
    Phase.ROLLOUT: "forward",
    Phase.JUDGE: "loss",
    Phase.GRADIENT: "backward",
    Phase.PROPOSAL: "optimize",
    Phase.VALIDATION: "validate",
    Phase.TEST: "test",
}
"""What the spans call the phases."""
_TOKENS = tuple(float(4**n) for n in range(14))
"""Bounds of the buckets of `gen_ai.client.token.usage`, as the GenAI conventions have them."""
_SHARES = tuple(n / 20 for n in range(21))
_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0)


def set_provider() -> MeterProvider | None:
    """The meter provider that was set for this process; None where none was."""
    from opentelemetry import metrics
    from opentelemetry.metrics import _internal

    # There is no public way to tell a provider that was set from the stand-in that waits for one.
    found = metrics.get_meter_provider()
    return None if isinstance(found, _internal._ProxyMeterProvider | metrics.NoOpMeterProvider) else found  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


@dataclass
class Metrics:
    """Records the metrics of runs. The attributes have few values each: no id of a run, of an example or of a text is one.

    Attributes:
        provider: Where they go.
    """

    provider: MeterProvider
    _graphs: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        meter = self.provider.get_meter("textgrad_lg_tracing")
        self._duration = meter.create_histogram(
            at.METRIC_STEP, "s", "How long a step took", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._loss = meter.create_histogram(
            at.METRIC_LOSS, "1", "1 minus the score of a rollout", explicit_bucket_boundaries_advisory=_SHARES
        )
        self._gradients = meter.create_counter(at.GRADIENT_COUNT, "{gradient}", "Gradients on Parameters")
        self._accepted = meter.create_counter(
            at.METRIC_ACCEPTED, "{update}", "Updates that the validation gate has accepted"
        )
        self._rejected = meter.create_counter(at.METRIC_REJECTED, "{update}", "Updates that a gate has rejected")
        self._tokens = meter.create_histogram(
            at.METRIC_TOKENS, "{token}", "Tokens of a model call", explicit_bucket_boundaries_advisory=_TOKENS
        )

    def record(self, event: events.Event) -> None:
        """Record what an event says."""
        known: dict[str, AttributeValue] = {}
        if event.run in self._graphs:
            known[at.GRAPH] = self._graphs[event.run]
        match event:
            case events.RunStarted():
                self._graphs[event.run] = event.graph
            case events.RunFinished():
                self._graphs.pop(event.run, None)
            case events.StepFinished():
                self._duration.record(max(0.0, event.time - event.started), {**known, at.ACCEPTED: event.accepted})
            case events.ExampleScored():
                self._scored(event, known)
            case events.BackwardFinished():
                self._went_back(event, known)
            case events.Gated():
                self._gated(event, known)
            case events.ModelsCalled():
                for call in event.calls:
                    self._called(call, known)
            case _:
                pass

    def _scored(self, event: events.ExampleScored, known: dict[str, AttributeValue]) -> None:
        for score in event.scores:
            if score.value is not None and not event.cached:
                about = {at.PHASE: PHASES[event.phase], at.GEN_AI_EVALUATION: score.key}
                self._loss.record(1.0 - score.value, {**known, **about})

    def _went_back(self, event: events.BackwardFinished, known: dict[str, AttributeValue]) -> None:
        for site, found in event.gradients.parameters().items():
            self._gradients.add(len(found), {**known, at.PARAMETER: str(site)})

    def _gated(self, event: events.Gated, known: dict[str, AttributeValue]) -> None:
        if event.accepted and event.gate != "validation":
            return  # The next gate decides.
        counter = self._accepted if event.accepted else self._rejected
        for update in (event.update, *event.together):
            about = {at.PARAMETER: str(update.site), at.GATE: event.gate, at.PROPOSER: update.proposer}
            counter.add(1, {**known, **about})

    def _called(self, call: events.MadeCall, known: dict[str, AttributeValue]) -> None:
        about = {**known, at.PHASE: PHASES[call.phase], at.GEN_AI_OPERATION: "chat", at.GEN_AI_MODEL: call.model}
        if call.provider:
            about[at.GEN_AI_PROVIDER] = call.provider
        for kind, tokens in (("input", call.input_tokens), ("output", call.output_tokens)):
            if tokens is not None:
                self._tokens.record(tokens, {**about, at.TOKEN_TYPE: kind})
