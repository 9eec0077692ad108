"""A share of the examples' traces is kept: always the same ones, and all of a step that changed a Parameter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult

from textgrad_lg import events
from textgrad_lg.types import Phase
from textgrad_lg_tracing import Detail, OTelCallback

from .support import RUN, T0, a_run, by_name, scored, trace_of, written


def a_step(examples, *, accepted=False, run=RUN, step=1):
    for at in range(examples):
        yield replace(scored(trace_of(f"e{at}", number=at + 1), step=step), run=run)
    yield events.StepFinished(run=run, time=T0 + 60, step=step, started=T0, score=0.0, accepted=accepted)


def kept(spans):
    return {span.attributes["textgrad.example.id"] for span in spans if span.name == "textgrad example"}


def test_a_share_is_kept_and_the_rest_is_counted_and_not_linked_to():
    spans = written(a_step(60), sample=0.25, detail="summary")
    step = by_name(spans, "textgrad step 1")
    assert 5 <= len(kept(spans)) <= 25
    assert step.attributes["textgrad.example.unsampled"] == 60 - len(kept(spans))
    assert step.attributes["textgrad.example.count"] == 60
    ids = {span.context.span_id for span in spans}
    assert len(step.links) == len(kept(spans))
    assert all(link.context.span_id in ids for link in step.links)


def test_the_same_ones_each_time_and_others_in_another_run_or_step():
    first, again = (kept(written(a_step(60), sample=0.5, detail="summary")) for _ in range(2))
    other = kept(written(a_step(60, run="run-2"), sample=0.5, detail="summary"))
    later = kept(written(a_step(60, step=2), sample=0.5, detail="summary"))
    assert first == again
    assert first not in (other, later)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_what_a_smaller_one_keeps(one, other):
    few, many = (kept(written(a_step(8), sample=share, detail="summary")) for share in sorted((one, other)))
    assert few <= many


def test_nothing_is_kept_of_a_share_of_nothing_but_the_step_and_the_run():
    spans = written(a_step(5), sample=0)
    assert {span.name for span in spans} == {"textgrad step 1", "textgrad run"}


def test_a_step_that_changed_a_parameter_is_kept_whole():
    assert kept(written(a_step(5, accepted=True), sample=0)) == {f"e{at}" for at in range(5)}
    spans = written(a_run(), sample=0)
    assert kept(spans) == {"e1", "e2"}
    assert "textgrad.example.unsampled" not in by_name(spans, "textgrad step 1").attributes


def test_at_full_detail_a_validation_rollout_that_is_not_kept_is_one_span():
    rollout = scored(trace_of("v1"), phase=Phase.VALIDATION)
    spans = written([rollout], detail=Detail.FULL, sample=0)
    assert kept(spans) == set()
    assert by_name(spans, "rollout").attributes["textgrad.example.id"] == "v1"


@pytest.mark.parametrize("sample", [-0.1, 1.1, float("nan")])
def test_a_share_is_from_0_to_1(sample):
    with pytest.raises(ValueError, match="from 0 to 1"):
        OTelCallback(sample=sample)


class Examples(Sampler):
    """Samples what is no example."""

    def should_sample(self, parent_context, trace_id, name, *args, **kwargs):
        return SamplingResult(Decision.DROP if name == "textgrad example" else Decision.RECORD_AND_SAMPLE)

    def get_description(self):
        return "examples"


@pytest.mark.parametrize(("sampler", "names"), [(ALWAYS_OFF, set()), (Examples(), {"textgrad step 1", "textgrad run"})])
def test_what_the_providers_sampler_leaves_out_is_not_linked_to(sampler, names):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    callback = OTelCallback(provider, detail="summary")
    for event in a_step(3):
        callback(event)
    callback.close()
    spans = exporter.get_finished_spans()
    assert names <= {span.name for span in spans}
    ids = {span.context.span_id for span in spans}
    assert all(link.context.span_id in ids for span in spans for link in span.links)
