"""Metrics of a run, for who has set a meter provider; none for who has not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from inline_snapshot import snapshot
from opentelemetry import metrics as api
from opentelemetry import trace
from opentelemetry.metrics import _internal
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from textgrad_lg import events
from textgrad_lg_tracing import OTelCallback, default_callback

from .support import SECRET, a_run, memory, scored, trace_of, written


@pytest.fixture
def meters():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield provider, reader
    provider.shutdown()


def points(reader):
    """Each data point: the metric, its unit, its attributes in brief, and its sum with the count if it is a histogram."""
    data = reader.get_metrics_data()
    found = []
    for metric in [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            about = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in sorted(point.attributes.items()))
            value = f"{point.sum} of {point.count}" if hasattr(point, "count") else point.value
            found.append(f"{metric.name} [{metric.unit}] {about}: {value}")
    return found


def test_what_is_measured_of_a_run(meters):
    provider, reader = meters
    written(a_run(), meter_provider=provider)
    found = points(reader)
    assert found == snapshot(
        [
            "textgrad.loss [1] name=right, name=desk, phase=validate: 1.5 of 3",
            "textgrad.loss [1] name=right, name=desk, phase=forward: 1.0 of 2",
            "textgrad.loss [1] name=right, name=desk, phase=test: 0.0 of 1",
            "textgrad.gradient.count [{gradient}] name=desk, name=answer/system: 1",
            "textgrad.gradient.count [{gradient}] name=desk, name=plan/system: 1",
            "textgrad.update.rejected [{update}] name=edit, name=desk, name=plan/system, proposer=insert: 1",
            "textgrad.update.accepted [{update}] name=validation, name=desk, name=answer/system, proposer=rewrite: 1",
            "gen_ai.client.token.usage [{token}] name=chat, name=openai, model=gpt-small, type=input, name=desk, phase=forward: 100 of 1",
            "gen_ai.client.token.usage [{token}] name=chat, name=openai, model=gpt-small, type=output, name=desk, phase=forward: 10 of 1",
            "gen_ai.client.token.usage [{token}] name=chat, name=openai, model=critic, type=input, name=desk, phase=backward: 500 of 1",
            "gen_ai.client.token.usage [{token}] name=chat, name=openai, model=critic, type=output, name=desk, phase=backward: 50 of 1",
            "gen_ai.client.token.usage [{token}] name=chat, model=writer, type=input, name=desk, phase=optimize: 700 of 1",
            "textgrad.step.duration [s] accepted=True, name=desk: 33.0 of 1",
        ]
    )
    assert SECRET not in "".join(found)


def test_a_set_meter_provider_is_found_and_is_enough(meters, monkeypatch):
    provider, reader = meters
    monkeypatch.setattr(_internal, "_METER_PROVIDER", provider)
    callback = default_callback()
    assert callback is not None
    for event in a_run():
        callback(event)
    assert points(reader)
    assert trace._TRACER_PROVIDER is None


@pytest.mark.parametrize("given", [None, api.NoOpMeterProvider()])
def test_without_a_meter_provider_there_are_no_metrics_and_none_is_set(given, monkeypatch):
    monkeypatch.setattr(_internal, "_METER_PROVIDER", given)
    callback, exporter = memory()
    for event in a_run():
        callback(event)
    assert callback._metrics is None
    assert exporter.get_finished_spans()
    assert _internal._METER_PROVIDER is given
    assert default_callback() is None


def test_a_journalled_rollout_and_one_without_a_score_are_no_loss(meters):
    provider, reader = meters
    run = [scored(trace_of("e1"), cached=True), scored(trace_of("e2"), None)]
    written(run, meter_provider=provider)
    assert points(reader) == []


def test_a_candidate_of_several_edits_counts_each_of_them(meters):
    provider, reader = meters
    gated = next(event for event in a_run() if isinstance(event, events.Gated))
    other = replace(gated.update, proposer="other")
    written([replace(gated, together=(other,))], meter_provider=provider)
    assert points(reader) == snapshot(
        [
            "textgrad.update.rejected [{update}] name=edit, name=plan/system, proposer=insert: 1",
            "textgrad.update.rejected [{update}] name=edit, name=plan/system, proposer=other: 1",
        ]
    )


def test_a_meter_that_raises_costs_the_metrics_alone(meters):
    provider, reader = meters
    callback, exporter = memory(meter_provider=provider)

    def broken(event):
        raise RuntimeError("no")

    callback._metrics.record = broken
    for event in a_run():
        callback(event)
    assert len(exporter.get_finished_spans()) == len(written(a_run()))
    assert isinstance(callback, OTelCallback)
    assert points(reader) == []
