"""The spans that are started before the graph runs: what is current meanwhile, and that each ends once, whatever happens."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.util._once import Once

from textgrad_lg import events
from textgrad_lg.types import Phase
from textgrad_lg_tracing import Detail, OTelCallback
from textgrad_lg_tracing import attributes as at

from .support import RUN, T0, by_name, scored, trace_of, went_back


class World:
    """A callback, where its spans go, and somebody else who traces the graph on the same provider."""

    def __init__(self, sampler=None, **options: Any):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.callback = OTelCallback(self.provider, **options)

    def runs(self, event, name="theirs"):
        """The graph runs, and is traced; returns the current span meanwhile."""
        with self.callback.around(event):
            with self.provider.get_tracer("theirs").start_as_current_span(name):
                pass
            return api.get_current_span()

    def told(self, *run):
        for event in run:
            self.callback(event)

    @property
    def spans(self) -> Any:
        """All that was written; what has been started and not ended is told of as well."""
        self.callback.close()
        assert not self.callback._live._examples
        return self.exporter.get_finished_spans()


def begun(trace, *, phase=Phase.ROLLOUT, step=1, candidate="c0", run=RUN):
    return events.RolloutStarted(
        run=run,
        time=trace.started,
        step=step,
        rollout=trace.id,
        phase=phase,
        candidate=candidate,
        example=trace.example,
    )


def ended(trace, **more):
    return scored(trace, rollout=trace.id, **more)


def finished(step=1, *, accepted=False):
    return events.StepFinished(run=RUN, time=T0 + 60, step=step, started=T0, score=0.0, accepted=accepted)


OVER = events.RunFinished(run=RUN, time=T0 + 70, summary="", started=T0)


def parents(spans):
    """The name of each span's parent; "?" where it is missing."""
    names = {span.context.span_id: span.name for span in spans}
    return {span.name: names.get(span.parent.span_id, "?") if span.parent else None for span in spans}


def test_what_others_trace_is_under_the_forward_span_and_all_is_drawn_into_it():
    world, trace = World(), trace_of("e1")
    current = world.runs(begun(trace)).get_span_context()
    assert not api.get_current_span().get_span_context().is_valid
    result = ended(trace)
    world.told(result, went_back(trace, result.scores), finished(), OVER)
    spans = world.spans
    forward = by_name(spans, "forward")
    assert forward.context == current
    assert parents(spans)["theirs"] == "forward"
    assert parents(spans)["forward"] == parents(spans)["backward"] == "textgrad example"
    assert (
        [span.name for span in spans].count("forward") == [span.name for span in spans].count("textgrad example") == 1
    )
    assert forward.attributes[at.TRACE] == trace.id
    assert forward.attributes[at.GRAPH] == "desk"
    assert list(forward.attributes)[-1] == at.SESSION
    assert forward.start_time == int(T0 + 10) * 10**9
    root = by_name(spans, "textgrad example")
    assert root.attributes[at.STEP] == 1
    assert (root.status.is_ok, forward.status.is_ok) == (True, True)
    assert by_name(spans, "textgrad step 1").links[0].context == root.context


def test_several_rollouts_of_an_example_are_one_trace():
    world = World()
    first, second = trace_of("e1", number=1), trace_of("e1", number=2, started=T0 + 20)
    current = [world.runs(begun(trace)).get_span_context() for trace in (first, second)]
    assert current[0].trace_id == current[1].trace_id
    assert current[0].span_id != current[1].span_id
    world.told(ended(first), ended(second), finished())
    assert [span.context for span in world.spans if span.name == "forward"] == current[::-1]


def test_a_rollout_that_is_made_again_is_one_span():
    world, trace = World(), trace_of("e1")
    assert world.runs(begun(trace), "first") is world.runs(replace(begun(trace), time=T0 + 12), "again")
    world.told(ended(trace), finished())
    spans = world.spans
    assert parents(spans)["first"] == parents(spans)["again"] == "forward"
    assert [span.name for span in spans].count("forward") == 1
    assert by_name(spans, "forward").start_time == int(T0 + 10) * 10**9


def test_a_rollout_made_before_the_first_step_is_in_the_trace_of_the_step_that_uses_it():
    world, before, candidate = World(), trace_of("e1", number=1), trace_of("e1", number=2, started=T0 + 20)
    current = world.runs(begun(before, step=0))
    world.told(ended(before, step=0))
    assert world.runs(begun(candidate)).get_span_context().trace_id == current.get_span_context().trace_id
    world.told(scored(before, cached=True), ended(candidate), finished(), OVER)
    spans = world.spans
    forwards = [span for span in spans if span.name == "forward"]
    assert len(forwards) == 2
    assert current.get_span_context() in [span.context for span in forwards]
    assert by_name(spans, "textgrad example").attributes[at.STEP] == 1


def test_what_is_not_sampled_has_no_live_span_and_a_step_that_changed_is_written_all_the_same():
    world, trace = World(sample=0.0), trace_of("e1")
    assert not world.runs(begun(trace)).get_span_context().is_valid
    world.told(ended(trace), finished(accepted=True))
    spans = world.spans
    assert by_name(spans, "forward").attributes[at.TRACE] == trace.id
    assert parents(spans)["theirs"] is None


@pytest.mark.parametrize("phase", [Phase.VALIDATION, Phase.TEST])
def test_validation_and_test_rollouts_have_a_live_span_where_they_have_a_trace_of_their_own(phase):
    trace, again = trace_of("v1", number=1), trace_of("v1", number=2)
    assert not World().runs(begun(trace, phase=phase)).get_span_context().is_valid
    world = World(detail=Detail.FULL)
    current = [world.runs(begun(at, phase=phase), f"of {at.id}").get_span_context() for at in (trace, again)]
    assert current[0].trace_id != current[1].trace_id
    world.told(ended(trace, phase=phase), ended(again, phase=phase), finished())
    spans = world.spans
    assert [span.context for span in spans if span.name == "forward"] == current
    assert "?" not in parents(spans).values()


def test_a_validation_rollout_from_the_journal_takes_no_span_that_another_was_started_for():
    world, trace = World(detail=Detail.FULL), trace_of("e1")
    current = world.runs(begun(trace))
    world.told(scored(trace_of("e1", number=2), phase=Phase.VALIDATION, cached=True), ended(trace), finished())
    forwards = {span.attributes.get(at.TRACE): span.context for span in world.spans if span.name == "forward"}
    assert forwards[trace.id] == current.get_span_context()
    assert len(forwards) == 2


def test_in_summary_only_the_forward_span_is_ours():
    world, trace = World(detail="summary"), trace_of("e1")
    world.runs(begun(trace))
    world.told(ended(trace), finished())
    spans = world.spans
    assert [name for name, parent in parents(spans).items() if parent == "forward"] == ["theirs"]


def test_a_rollout_of_which_nothing_was_recorded_ends_when_its_run_did():
    world, trace = World(), trace_of("e1")
    current = world.runs(begun(trace))
    error = "TimeoutError: the graph had not ended after 1 seconds"
    world.told(replace(ended(trace), trace=None, error=error), finished())
    forward = by_name(world.spans, "forward")
    assert forward.context == current.get_span_context()
    assert not forward.status.is_ok
    assert forward.start_time == int(T0 + 10) * 10**9


class Stopped(BaseException):
    """What a run is stopped by."""


def test_a_rollout_that_was_stopped_is_ended_with_what_stopped_it_and_where_no_step_ended_with_the_run():
    world, trace, later = World(content=True), trace_of("e1"), trace_of("e2", number=2)
    with pytest.raises(Stopped), world.callback.around(begun(trace)):
        raise Stopped("no more money")
    # Nothing else was heard of the second step, and this rollout is still under way in a thread that was left behind.
    still = world.callback.around(begun(later, step=2))
    still.__enter__()
    world.told(events.RunFinished(run=RUN, time=T0 + 70, summary="", started=T0, error="Stopped"))
    assert not world.callback._live._examples
    spans = world.spans
    first, second = sorted((s for s in spans if s.name == "forward"), key=lambda s: s.attributes[at.EXAMPLE])
    assert first.status.description == "Stopped: no more money"
    assert second.status.description == "RuntimeError: the rollout did not end"
    assert [span.attributes[at.STEP] for span in (first, second)] == [1, 2]
    assert not any(span.status.is_ok for span in spans if span.name == "textgrad example")
    assert at.TRACE not in first.attributes
    assert len([span for span in spans if span.name == "textgrad example"]) == 2
    assert by_name(spans, "textgrad run").links
    still.__exit__(None, None, None)
    assert world.spans == spans


@pytest.mark.parametrize("error", [None, "ValueError: no page"])
def test_a_rollout_that_was_made_and_never_judged_stands_in_its_examples_trace(error):
    world, trace, lost = World(), trace_of("e1", number=1), trace_of("e1", number=2)
    world.runs(begun(trace))
    world.runs(begun(lost, candidate="c9"))
    world.told(ended(trace, error=error), finished())
    forwards = [span for span in world.spans if span.name == "forward"]
    assert len({span.context.trace_id for span in forwards}) == 1
    assert [span.attributes[at.CANDIDATE] for span in forwards if at.TRACE not in span.attributes] == ["c9"]
    assert [s.status.status_code for s in forwards if at.TRACE not in s.attributes] == [api.StatusCode.OK]
    assert [span.status.is_ok for span in forwards if at.TRACE in span.attributes] == [error is None]


def test_two_runs_with_the_same_examples_stay_apart():
    world, trace = World(), trace_of("e1")
    current = [world.runs(begun(trace, run=run)).get_span_context().trace_id for run in ("run-a", "run-b")]
    assert len(set(current)) == 2
    world.told(*(replace(ended(trace), run=run) for run in ("run-a", "run-b")))
    found = {span.attributes[at.RUN]: span.context.trace_id for span in world.spans if span.name == "forward"}
    assert found == {"run-a": current[0], "run-b": current[1]}


def test_where_no_one_is_listening_the_users_span_stays_the_current_one():
    provider = TracerProvider(shutdown_on_exit=False)
    callback = OTelCallback(api.NoOpTracerProvider())
    with (
        provider.get_tracer("app").start_as_current_span("request") as request,
        callback.around(begun(trace_of("e1"))),
    ):
        assert api.get_current_span() is request
    assert not callback._live._examples


def test_a_provider_that_is_set_while_the_graph_runs_has_the_spans_from_then_on(monkeypatch):
    """As LangSmith's SDK sets one when it first traces a run."""
    monkeypatch.setattr(api, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(api, "_TRACER_PROVIDER_SET_ONCE", Once())
    world, callback = World(), OTelCallback()
    traces = [trace_of(f"e{number}", number=number) for number in (1, 2)]
    with callback.around(begun(traces[0])):
        assert not api.get_current_span().get_span_context().is_valid
        api.set_tracer_provider(world.provider)
    with callback.around(begun(traces[1])):
        current = api.get_current_span().get_span_context()
    for event in (*map(ended, traces), finished()):
        callback(event)
    callback.close()
    forwards = {span.attributes[at.EXAMPLE]: span.context for span in world.spans if span.name == "forward"}
    assert sorted(forwards) == ["e1", "e2"]
    assert forwards["e2"] == current


@pytest.mark.parametrize("set_first", ["none", "no-op", "ours", "another"])
def test_a_span_that_is_written_elsewhere_than_those_of_the_process_is_no_parent_of_theirs(set_first, monkeypatch):
    world, other = World(), TracerProvider(shutdown_on_exit=False)
    found = {"none": None, "no-op": api.NoOpTracerProvider(), "ours": world.provider, "another": other}[set_first]
    monkeypatch.setattr(api, "_TRACER_PROVIDER", found)
    trace = trace_of("e1")
    assert world.runs(begun(trace)).get_span_context().is_valid == (set_first != "another")
    world.told(ended(trace), finished())
    assert parents(world.spans)["forward"] == "textgrad example"


def test_the_rest_of_the_context_is_kept():
    token = context.attach(baggage.set_baggage("tenant", "t1"))
    try:
        with World().callback.around(begun(trace_of("e1"))):
            assert baggage.get_baggage("tenant") == "t1"
    finally:
        context.detach(token)


class NoExamples(Sampler):
    def should_sample(self, parent_context, trace_id, name, *args, **kwargs):
        keep = name != "textgrad example"
        return SamplingResult(Decision.RECORD_AND_SAMPLE if keep else Decision.DROP)

    def get_description(self):
        return "no examples"


def test_what_the_providers_sampler_leaves_out_is_left_out_with_what_is_under_it():
    world, trace = World(ParentBased(NoExamples())), trace_of("e1")
    world.runs(begun(trace))
    world.told(ended(trace), finished())
    spans = world.spans
    assert {span.name for span in spans} == {"textgrad step 1", "textgrad run"}
    assert not by_name(spans, "textgrad step 1").links


def test_a_live_span_is_written_however_many_others_there_are():
    world = World()
    traces = [trace_of("e1", number=number + 1) for number in range(160)]
    current = {world.runs(begun(trace)).get_span_context().span_id for trace in traces}
    world.told(*(ended(trace) for trace in traces), finished())
    spans = world.spans
    assert {span.context.span_id for span in spans if span.name == "forward"} == current
    root = by_name(spans, "textgrad example")
    ours = [span for span in spans if span.context.trace_id == root.context.trace_id and span.name != "theirs"]
    assert len(ours) == 300
    assert root.attributes[at.DROPPED_SPANS] > 0


def test_what_cannot_be_written_is_ended_so_that_what_is_under_it_keeps_its_parent(caplog):
    world, trace = World(), trace_of("e1")
    current = world.runs(begun(trace))
    broken: Any = "no number"
    world.told(ended(trace, value=broken), finished())
    spans = world.spans
    assert by_name(spans, "forward").context == current.get_span_context()
    assert "?" not in parents(spans).values()
    assert "spans could not be written (ValueError)" in caplog.text


async def test_rollouts_side_by_side_each_have_their_own_current_span():
    world, traces = World(), [trace_of(f"e{number}", number=number + 1) for number in range(5)]

    async def one(trace):
        with world.callback.around(begun(trace)):
            before = api.get_current_span()
            await asyncio.sleep(0)
            inside = await asyncio.to_thread(api.get_current_span)
            assert before is inside is api.get_current_span()
            return before.get_span_context().span_id

    assert len(set(await asyncio.gather(*map(one, traces)))) == 5
