"""A run becomes spans: their tree, their links, their times, and what is said on each."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from typing import cast

import pytest
from inline_snapshot import snapshot
from opentelemetry import trace as api
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from textgrad_lg import events
from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.trace import Span, Trace
from textgrad_lg.types import Phase, SpanKind
from textgrad_lg_tracing import Detail, OTelCallback, default_callback

from .support import RUN, T0, a_run, by_name, memory, scored, trace_of, tree, went_back, written


def test_the_whole_run_as_a_tree():
    spans = written(a_run())
    assert tree(spans, "textgrad.step", "textgrad.example.id", "textgrad.phase", "textgrad.score") == snapshot("""\
textgrad example | CHAIN | step=1 | example.id=e1 | phase=optimize
  forward | CHAIN | step=1 | example.id=e1 | phase=forward
    plan | CHAIN | step=1 | example.id=e1 | phase=forward
      chat gpt-small | LLM | step=1 | example.id=e1 | phase=forward
    search | TOOL | step=1 | example.id=e1 | phase=forward
    answer | CHAIN | step=1 | example.id=e1 | phase=forward
      chat gpt-small | LLM | step=1 | example.id=e1 | phase=forward
  loss right | EVALUATOR | step=1 | example.id=e1 | phase=loss | score=0.0 | -> forward
  backward | CHAIN | step=1 | example.id=e1 | phase=backward | -> forward
    backward right | CHAIN | step=1 | example.id=e1 | phase=backward | -> loss right
    backward answer | CHAIN | step=1 | example.id=e1 | phase=backward | -> chat gpt-small
      chat critic | LLM | step=1 | example.id=e1 | phase=backward
    backward search | CHAIN | step=1 | example.id=e1 | phase=backward | -> search
    backward plan | CHAIN | step=1 | example.id=e1 | phase=backward | -> chat gpt-small | ERROR: RateLimitError
      chat critic | LLM | step=1 | example.id=e1 | phase=backward | ERROR: RateLimitError
textgrad example | CHAIN | step=1 | example.id=e2 | phase=optimize
  forward | CHAIN | step=1 | example.id=e2 | phase=forward
    plan | CHAIN | step=1 | example.id=e2 | phase=forward
      chat gpt-small | LLM | step=1 | example.id=e2 | phase=forward
    search | TOOL | step=1 | example.id=e2 | phase=forward
    answer | CHAIN | step=1 | example.id=e2 | phase=forward
      chat gpt-small | LLM | step=1 | example.id=e2 | phase=forward
  loss right | EVALUATOR | step=1 | example.id=e2 | phase=loss | score=1.0 | -> forward
textgrad step 1 | CHAIN | step=1 | phase=optimize | score=0.5 | -> textgrad example | -> textgrad example
  reduce answer/system | CHAIN | step=1 | phase=optimize
  reduce plan/system | CHAIN | step=1 | phase=optimize
  propose | CHAIN | step=1 | phase=optimize
    chat writer | LLM | step=1 | phase=optimize
  update answer/system | CHAIN | step=1 | phase=optimize
    gate minibatch | CHAIN | step=1 | phase=optimize
    gate validation | CHAIN | step=1 | phase=optimize
    commit answer/system | CHAIN | step=1 | phase=optimize
  update plan/system | CHAIN | step=1 | phase=optimize
    gate edit | CHAIN | step=1 | phase=optimize
  validate | CHAIN | step=1 | phase=validate | score=0.5
    rollout | CHAIN | step=1 | example.id=v0 | phase=validate | score=1.0
    rollout | CHAIN | step=1 | example.id=v1 | phase=validate | score=0.0
textgrad run | CHAIN | phase=optimize
  validate | CHAIN | phase=validate | score=0.5
    rollout | CHAIN | example.id=v1 | phase=validate | score=0.5
  test | CHAIN | phase=test | score=1.0
    rollout | CHAIN | example.id=t1 | phase=test | score=1.0\
""")


def test_every_span_says_which_run_step_and_phase_it_is_of():
    for span in written(a_run()):
        known = span.attributes
        assert known["session.id"] == known["textgrad.run.id"] == RUN
        assert known["textgrad.schema.version"] == "1"
        assert known["textgrad.phase"] in {"forward", "loss", "backward", "optimize", "validate", "test"}
        assert known["textgrad.graph.name"] == "desk"
        assert json.loads(known["metadata"])["textgrad.run.id"] == RUN
        assert known["langsmith.metadata.textgrad.phase"] == known["textgrad.phase"]
        assert {"langsmith.span.kind", "langfuse.observation.type"} <= set(known)
        assert len(known) < 64


def test_a_model_call_of_the_graph_carries_what_the_backends_ask_for():
    span = by_name(written(a_run()), "chat gpt-small")
    assert span.kind is api.SpanKind.CLIENT
    assert {k: v for k, v in span.attributes.items() if "metadata" not in k} == snapshot(
        {
            "graph.node.id": "answer",
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-small",
            "llm.model_name": "gpt-small",
            "gen_ai.provider.name": "openai",
            "llm.provider": "openai",
            "gen_ai.usage.input_tokens": 100,
            "llm.token_count.prompt": 100,
            "gen_ai.usage.output_tokens": 10,
            "llm.token_count.completion": 10,
            "textgrad.phase": "forward",
            "textgrad.candidate": "c0",
            "textgrad.cached": False,
            "textgrad.span.id": "s5",
            "textgrad.visit": 0,
            "textgrad.node.name": "answer",
            "textgrad.param.names": ("answer/system",),
            "textgrad.source": "live",
            "textgrad.run.id": "run-1",
            "textgrad.graph.name": "desk",
            "textgrad.step": 1,
            "textgrad.example.id": "e1",
            "openinference.span.kind": "LLM",
            "langsmith.span.kind": "llm",
            "langfuse.observation.type": "generation",
            "textgrad.schema.version": "1",
            "session.id": "run-1",
        }
    )


@pytest.mark.parametrize(
    "name", ["loss right", "backward answer", "update answer/system", "gate validation", "validate"]
)
def test_what_is_said_on(name):
    span = by_name(written(a_run()), name)
    common = ("metadata", "session.id", "textgrad.schema", "textgrad.run", "textgrad.graph", "langsmith", "langfuse")
    shown = {k: v for k, v in span.attributes.items() if not k.startswith(common)}
    assert (
        shown
        == snapshot(
            {
                "loss right": {
                    "gen_ai.evaluation.name": "right",
                    "gen_ai.evaluation.score.value": 0.0,
                    "evaluation.name": "right",
                    "evaluation.score": 0.0,
                    "textgrad.phase": "loss",
                    "textgrad.candidate": "c0",
                    "textgrad.cached": False,
                    "textgrad.score": 0.0,
                    "textgrad.forward.trace_id": "00000000000000000000000000000001",
                    "textgrad.forward.span_id": "0000000000000002",
                    "textgrad.source": "live",
                    "textgrad.step": 1,
                    "textgrad.example.id": "e1",
                    "openinference.span.kind": "EVALUATOR",
                },
                "backward answer": {
                    "textgrad.phase": "backward",
                    "textgrad.gradient.count": 2,
                    "textgrad.gradient.ids": ("0eba8d051535", "1ff657f12b19"),
                    "textgrad.param.names": ("answer/system",),
                    "textgrad.span.id": "s5",
                    "textgrad.visit": 0,
                    "textgrad.node.name": "answer",
                    "textgrad.forward.trace_id": "00000000000000000000000000000001",
                    "textgrad.forward.span_id": "0000000000000007",
                    "textgrad.source": "live",
                    "textgrad.step": 1,
                    "textgrad.example.id": "e1",
                    "openinference.span.kind": "CHAIN",
                },
                "update answer/system": {
                    "gen_ai.prompt.name": "answer/system",
                    "gen_ai.prompt.version": "2",
                    "llm.prompt_template.version": "2",
                    "textgrad.phase": "optimize",
                    "textgrad.param.name": "answer/system",
                    "textgrad.param.hash.before": "850701febf03",
                    "textgrad.param.hash.after": "c7996abf8800",
                    "textgrad.proposer": "rewrite",
                    "textgrad.gradient.count": 1,
                    "textgrad.gradient.ids": ("0eba8d051535",),
                    "textgrad.decision": "committed",
                    "textgrad.gate.name": "validation",
                    "textgrad.accepted": True,
                    "textgrad.gate.n": 2,
                    "textgrad.gate.before": 0.25,
                    "textgrad.gate.after": 0.5,
                    "textgrad.gate.p_value": 0.04,
                    "textgrad.gate.alpha": 0.05,
                    "textgrad.param.version.after": "2",
                    "textgrad.param.label": "candidate",
                    "textgrad.param.version.before": "1",
                    "textgrad.source": "live",
                    "textgrad.step": 1,
                    "openinference.span.kind": "CHAIN",
                },
                "gate validation": {
                    "textgrad.phase": "optimize",
                    "textgrad.gate.name": "validation",
                    "textgrad.accepted": True,
                    "textgrad.gate.n": 2,
                    "textgrad.gate.before": 0.25,
                    "textgrad.gate.after": 0.5,
                    "textgrad.gate.p_value": 0.04,
                    "textgrad.gate.alpha": 0.05,
                    "textgrad.source": "live",
                    "textgrad.step": 1,
                    "openinference.span.kind": "CHAIN",
                },
                "validate": {
                    "textgrad.phase": "validate",
                    "textgrad.candidate": "c1",
                    "textgrad.example.count": 2,
                    "textgrad.score": 0.5,
                    "textgrad.source": "live",
                    "textgrad.step": 1,
                    "openinference.span.kind": "CHAIN",
                },
            }
        )[name]
    )


def test_only_model_calls_have_an_operation():
    spans = written(a_run())
    assert {span.name for span in spans if "gen_ai.operation.name" in span.attributes} == snapshot(
        {"chat critic", "chat gpt-small", "chat writer"}
    )


def test_a_backward_span_links_to_what_it_differentiates_and_repeats_the_link_as_attributes():
    spans = written(a_run())
    by_id = {span.context.span_id: span for span in spans}
    backward = [span for span in spans if span.name.startswith("backward")]
    assert {span.name: by_id[span.links[0].context.span_id].name for span in backward} == snapshot(
        {
            "backward plan": "chat gpt-small",
            "backward search": "search",
            "backward answer": "chat gpt-small",
            "backward right": "loss right",
            "backward": "forward",
        }
    )
    for span in backward:
        (link,) = span.links
        assert link.context.trace_id == span.context.trace_id
        for attributes in (span.attributes, link.attributes):
            assert int(attributes["textgrad.forward.trace_id"], 16) == link.context.trace_id
            assert int(attributes["textgrad.forward.span_id"], 16) == link.context.span_id


def test_times_are_those_of_the_run_and_parents_cover_their_children():
    spans = written(a_run())
    by_id = {span.context.span_id: span for span in spans}
    for span in spans:
        assert span.start_time <= span.end_time
        if span.parent:
            parent = by_id[span.parent.span_id]
            assert parent.start_time <= span.start_time
            assert span.end_time <= parent.end_time
    answer = by_name(spans, "answer")
    trace = by_id[answer.parent.span_id]
    assert answer.start_time - trace.start_time == 3_000_000_000
    assert trace.start_time == round((T0 + 10) * 1e9)


def test_the_same_run_gives_the_same_spans():
    first, second = ([span.to_json() for span in written(a_run())] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("detail", Detail)
def test_detail(detail):
    spans = written(a_run(), detail=detail.value)
    roots = sorted(f"{span.name} {span.attributes.get('textgrad.example.id', '')}" for span in spans if not span.parent)
    names = [span.name for span in spans]
    count = {name: names.count(name) for name in ("plan", "backward plan", "rollout", "forward", "backward")}
    assert (roots, count) == snapshot(
        {
            "summary": (
                [
                    "textgrad example e1",
                    "textgrad example e2",
                    "textgrad run ",
                    "textgrad step 1 ",
                ],
                {"plan": 0, "backward plan": 0, "rollout": 4, "forward": 2, "backward": 1},
            ),
            "nodes": (
                [
                    "textgrad example e1",
                    "textgrad example e2",
                    "textgrad run ",
                    "textgrad step 1 ",
                ],
                {"plan": 2, "backward plan": 1, "rollout": 4, "forward": 2, "backward": 1},
            ),
            "full": (
                [
                    "textgrad example e1",
                    "textgrad example e2",
                    "textgrad example t1",
                    "textgrad example v0",
                    "textgrad example v1",
                    "textgrad example v1",
                    "textgrad run ",
                    "textgrad step 1 ",
                ],
                {"plan": 6, "backward plan": 1, "rollout": 0, "forward": 6, "backward": 1},
            ),
        }
    )[detail.value]


def test_an_unknown_detail_is_refused():
    with pytest.raises(ValueError, match="everything"):
        OTelCallback(detail="everything")


def long_trace(nodes):
    spans = [Span("s0", SpanKind.GRAPH, "loop", end=float(nodes))]
    for at in range(nodes):
        spans.append(Span(f"n{at}", SpanKind.NODE, "turn", "s0", ("turn",), at, start=float(at), end=at + 1.0))
        spans.append(Span(f"m{at}", SpanKind.LLM, "gpt", f"n{at}", ("turn",), at, start=float(at), end=at + 1.0))
    return Trace(f"{7:032x}", "loop", tuple(spans), example="e1", started=T0 + 10)


def test_a_long_loop_is_cut_to_300_spans_and_the_root_says_so():
    trace = long_trace(500)
    items = tuple(Gradient("v", f"{at}", f"m{at}", trace.id) for at in reversed(range(500)))
    back = events.BackwardFinished(
        run=RUN, time=T0 + 1000, step=1, trace=trace, gradients=Gradients(items), started=T0 + 999, ended=T0 + 1000
    )
    ended = events.StepFinished(run=RUN, time=T0 + 1001, step=1, started=T0, score=0.0, accepted=False)
    spans = written([scored(trace), back, ended])
    (root,) = [span for span in spans if span.name == "textgrad example"]
    mine = [span for span in spans if span.context.trace_id == root.context.trace_id]
    assert len(mine) == 300
    # example, forward, loss, backward; 500 nodes with a call each; 500 backward spans
    assert root.attributes["textgrad.spans.dropped"] == 4 + 1000 + 500 - 300
    names = [span.name for span in mine]
    # Both branches are cut alike, nodes before the calls inside them.
    assert (names.count("turn"), names.count("backward turn"), names.count("chat gpt")) == (148, 148, 0)
    # What a backward span differentiates was cut: the link goes to the nearest span above that was not.
    by_id = {span.context.span_id: span for span in mine}
    assert all(span.links[0].context.span_id in by_id for span in mine if span.name == "backward turn")


def test_at_most_128_links_and_a_count_of_the_rest():
    rollouts = [scored(trace_of(f"e{at}", number=at + 1)) for at in range(130)]
    ended = events.StepFinished(run=RUN, time=T0 + 60, step=1, started=T0, score=0.0, accepted=False)
    root = by_name(written([*rollouts, ended], detail=Detail.SUMMARY), "textgrad step 1")
    assert len(root.links) == 128
    assert root.dropped_links == 0
    assert root.attributes["textgrad.links.dropped"] == 2
    assert root.attributes["textgrad.example.count"] == 130


def test_a_rollout_that_failed_is_an_error_all_the_way_up():
    trace = trace_of("e1")
    broken = replace(trace.spans[1], error="ValueError: no plan")
    trace = replace(trace, spans=(trace.spans[0], broken, *trace.spans[2:]))
    spans = written([scored(trace, error="ValueError: no plan")])
    failed = {span.name: span for span in spans if not span.status.is_ok}
    assert set(failed) == {"textgrad example", "forward", "plan", "textgrad run"}
    assert failed["plan"].status.description == failed["plan"].attributes["error.type"] == "ValueError"
    (event,) = failed["plan"].events
    assert (event.name, dict(event.attributes)) == ("exception", {"exception.type": "ValueError"})


def test_a_graph_that_could_not_be_started_and_an_evaluator_that_failed():
    event = scored(trace_of("e1"), None)
    event = replace(event, trace=None, error="who knows", scores=(replace(event.scores[0], error="KeyError: 'x'"),))
    spans = written([event])
    assert tree(spans, "error.type") == snapshot("""\
textgrad example | CHAIN | error.type=_OTHER | ERROR: _OTHER
  forward | CHAIN | error.type=_OTHER | ERROR: _OTHER
  loss right | EVALUATOR | error.type=KeyError | -> forward | ERROR: KeyError
textgrad step 1 | CHAIN | -> textgrad example
textgrad run | CHAIN | error.type=RuntimeError | ERROR: RuntimeError\
""")


def test_several_candidates_on_one_example_share_its_trace_and_a_journalled_one_is_not_drawn_twice():
    base, other = trace_of("e1", number=1), trace_of("e1", number=2, started=T0 + 30)
    first = scored(base)
    again = scored(base, cached=True, time=T0 + 29)
    spans = written([first, went_back(base, first.scores), again, scored(other, 1.0, candidate="c1")])
    forwards = [span for span in spans if span.name == "forward"]
    assert [span.attributes["textgrad.candidate"] for span in forwards] == ["c1", "c0"]
    assert len({span.context.trace_id for span in forwards}) == 1


def test_a_journalled_rollout_is_drawn_where_it_was_used():
    old = trace_of("e1", started=T0 - 90_000)
    span = by_name(written([scored(old, cached=True, time=T0 + 20)]), "forward")
    assert (span.start_time, span.end_time) == (round((T0 + 15) * 1e9), round((T0 + 20) * 1e9))
    assert span.attributes["textgrad.cached"] is True


def test_a_rollout_made_before_the_first_step_and_used_in_it_is_drawn_there_once():
    trace = trace_of("e1")
    early = [scored(trace, step=0), scored(trace_of("e2", number=2), step=0)]
    found = scored(trace, cached=True, time=T0 + 30)
    ended = events.StepFinished(run=RUN, time=T0 + 40, step=1, started=T0 + 29, score=0.0, accepted=False)
    spans = written([*early, found, went_back(trace, found.scores), ended])
    assert tree([span for span in spans if not span.parent or span.name == "forward"], "textgrad.step") == snapshot("""\
textgrad example | CHAIN | step=1
  forward | CHAIN | step=1
textgrad step 1 | CHAIN | step=1 | -> textgrad example
textgrad example | CHAIN | step=0
  forward | CHAIN | step=0
textgrad run | CHAIN | -> textgrad example | ERROR: RuntimeError\
""")
    forward = by_name(spans, "forward")
    assert forward.start_time == round(trace.started * 1e9)
    assert forward.attributes["textgrad.cached"] is False


def test_a_journalled_rollout_that_the_run_did_not_make_before_is_used_as_it_is():
    spans = written([scored(trace_of("e2", number=2), step=0), scored(trace_of("e1"), cached=True, time=T0 + 30)])
    assert {
        s.attributes["textgrad.example.id"]: s.attributes["textgrad.step"] for s in spans if s.name == "forward"
    } == {
        "e1": 1,
        "e2": 0,
    }


def test_a_node_of_a_subgraph_names_the_node_around_it():
    trace = trace_of("e1")
    inner = replace(trace.spans[2], kind=SpanKind.NODE, name="model", path=("plan", "model"))
    spans = written([scored(replace(trace, spans=(*trace.spans[:2], inner, *trace.spans[3:])))])
    known = by_name(spans, "model").attributes
    assert (known["graph.node.id"], known["graph.node.parent_id"]) == ("plan/model", "plan")


def test_a_replayed_call_says_so_and_is_not_priced_again():
    trace = trace_of("e1")
    known = [{**s.attributes, "replayed": True} if s.kind is SpanKind.LLM else s.attributes for s in trace.spans]
    replayed = [replace(span, attributes=own) for span, own in zip(trace.spans, known, strict=True)]
    calls = [s for s in written([scored(replace(trace, spans=tuple(replayed)))]) if s.name == "chat gpt-small"]
    assert calls
    assert all(span.attributes["textgrad.cached"] for span in calls)
    assert not any("tokens" in key for span in calls for key in span.attributes)


def test_a_journalled_pass_is_drawn_where_it_was_used():
    first = scored(trace_of("e1"))
    back = went_back(first.trace, first.scores)
    spans = written([first, replace(back, started=T0 + 900, ended=T0 + 901)])
    calls = [span for span in spans if span.name == "chat critic"]
    assert max(span.end_time for span in calls) == round((T0 + 901) * 1e9)
    assert all(span.attributes["textgrad.cached"] for span in calls)
    assert by_name(spans, "backward").start_time == min(span.start_time for span in calls)


def test_parameters_found_after_the_rollout_are_named_on_its_calls():
    trace = trace_of("e1")
    blank = replace(trace, variables=tuple(replace(variable, site=None) for variable in trace.variables))
    first = scored(blank)
    names = [s.attributes["textgrad.param.names"] for s in written([first]) if s.name == "chat gpt-small"]
    assert names == [(), ()]
    names = [
        s.attributes["textgrad.param.names"]
        for s in written([first, went_back(trace, first.scores)])
        if s.name == "chat gpt-small"
    ]
    assert names == [("answer/system",), ("plan/system",)]


def test_the_structural_pass_has_no_calls_and_is_drawn_in_its_order():
    first = scored(trace_of("e1"))
    spans = written([first, went_back(first.trace, first.scores, calls=False)])
    nodes = [span for span in spans if span.name.startswith("backward ")]
    assert [span.name for span in sorted(nodes, key=lambda s: s.context.span_id)] == snapshot(
        ["backward right", "backward answer", "backward search", "backward plan"]
    )
    assert not [span for span in spans if span.name == "chat critic"]


def test_a_fused_pass_hangs_its_call_on_the_graph_and_names_unknown_spans_as_they_are():
    first = scored(trace_of("e1"))
    back = went_back(first.trace, first.scores)
    gradients = Gradients(
        (replace(back.gradients.items[1], span="s0"), replace(back.gradients.items[1], span="gone")),
        calls=(replace(back.gradients.calls[0], span="s0"),),
    )
    spans = written([first, replace(back, gradients=gradients)])
    assert [span.name for span in spans if span.name.startswith(("backward ", "chat critic"))] == snapshot(
        ["backward gone", "chat critic", "backward desk"]
    )


def test_an_imported_trace_is_linked_and_not_written_again():
    ids = {"s0": "00000000000000aa", "s1": "00000000000000ab"}
    trace = Trace(
        f"{255:032x}",
        "desk",
        (Span(ids["s0"], SpanKind.GRAPH, "desk"), Span(ids["s1"], SpanKind.LLM, "gpt", ids["s0"], ("plan",))),
        example="e9",
    )
    items = (Gradient("v", "t", ids["s1"], trace.id), Gradient("v", "t", "gone", trace.id))
    back = events.BackwardFinished(
        run=RUN, time=T0 + 2, step=1, trace=trace, gradients=Gradients(items), started=T0, ended=T0 + 2
    )
    spans = written([back])
    assert tree(spans, "textgrad.source", "textgrad.forward.trace_id", "textgrad.forward.span_id") == snapshot("""\
textgrad example | CHAIN | source=imported
  backward | CHAIN | source=imported | forward.trace_id=000000000000000000000000000000ff | forward.span_id=00000000000000aa | -> ?
    backward plan | CHAIN | source=imported | forward.trace_id=000000000000000000000000000000ff | forward.span_id=00000000000000ab | -> ?
    backward gone | CHAIN | source=imported
textgrad step 1 | CHAIN | source=live | -> textgrad example
textgrad run | CHAIN | source=live | ERROR: RuntimeError\
""")


@pytest.mark.parametrize("trace", [Trace("x", "g"), Trace("7", "g", (Span("1", SpanKind.GRAPH, "g"),))])
def test_ids_that_are_not_those_of_opentelemetry_are_not_linked(trace):
    back = events.BackwardFinished(run=RUN, time=T0, step=1, trace=trace, gradients=Gradients(), started=T0, ended=T0)
    assert by_name(written([back]), "backward").links == ()


def test_a_rollback_after_the_run_is_a_trace_of_its_own():
    event = events.RolledBack(run=RUN, time=T0 + 99, label="production", versions={"answer/system": 1})
    spans = written([event])
    assert tree(spans, "textgrad.param.version.after", "textgrad.param.label") == snapshot("""\
textgrad rollback | CHAIN | param.label=production
  rollback answer/system | CHAIN | param.version.after=1 | param.label=production\
""")


def test_two_runs_at_once_stay_apart():
    other = [replace(event, run="run-2") for event in a_run()]
    spans = written([event for pair in zip(a_run(), other, strict=True) for event in pair])
    assert {span.attributes["session.id"] for span in spans} == {"run-1", "run-2"}
    for name in ("run-1", "run-2"):
        assert len([span for span in spans if span.attributes["session.id"] == name]) == len(written(a_run()))


def test_what_is_left_of_a_run_that_was_cut_off_is_written_on_close():
    spans = written(list(a_run())[:7])
    assert tree(spans) == snapshot("""\
textgrad example | CHAIN
  forward | CHAIN
    plan | CHAIN
      chat gpt-small | LLM
    search | TOOL
    answer | CHAIN
      chat gpt-small | LLM
  loss right | EVALUATOR | -> forward
  backward | CHAIN | -> forward
    backward right | CHAIN | -> loss right
    backward answer | CHAIN | -> chat gpt-small
      chat critic | LLM
    backward search | CHAIN | -> search
    backward plan | CHAIN | -> chat gpt-small | ERROR: RateLimitError
      chat critic | LLM | ERROR: RateLimitError
textgrad example | CHAIN
  forward | CHAIN
    plan | CHAIN
      chat gpt-small | LLM
    search | TOOL
    answer | CHAIN
      chat gpt-small | LLM
  loss right | EVALUATOR | -> forward
textgrad step 1 | CHAIN | -> textgrad example | -> textgrad example
  reduce answer/system | CHAIN
  reduce plan/system | CHAIN
  update answer/system | CHAIN
textgrad run | CHAIN | ERROR: RuntimeError
  validate | CHAIN
    rollout | CHAIN\
""")


class Broken(SpanProcessor):
    def on_start(self, span, parent_context=None):
        raise RuntimeError("https://user:token@example.invalid")


class BrokenProvider(api.TracerProvider):
    def get_tracer(self, *args, **kwargs):
        raise RuntimeError("no")


def broken_processor():
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Broken())
    return provider


@pytest.mark.parametrize("provider", [broken_processor, BrokenProvider])
def test_a_provider_that_raises_is_logged_once_without_what_it_said(provider, caplog):
    callback = OTelCallback(provider())
    with caplog.at_level(logging.WARNING):
        for event in a_run():
            callback(event)
        callback.close()
    (record,) = [record for record in caplog.records if record.name == "textgrad_lg_tracing"]
    assert "RuntimeError" in record.getMessage()
    assert "token" not in caplog.text


class Stuck(InMemorySpanExporter):
    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def export(self, spans):
        self.go.wait()
        return super().export(spans)


def test_an_exporter_that_blocks_does_not_block_the_run_and_loses_nothing():
    exporter = Stuck()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    callback = OTelCallback(provider, patience=0)
    for event in a_run():
        callback(event)
    assert exporter.get_finished_spans() == ()
    exporter.go.set()
    callback._patience = 60
    callback.close()
    assert len(exporter.get_finished_spans()) == len(written(a_run()))


def test_what_can_not_be_understood_does_not_keep_the_rest_from_being_written():
    callback, exporter = memory()
    callback(cast("events.Event", None))
    for event in a_run():
        callback(event)
    assert len(exporter.get_finished_spans()) == len(written(a_run()))


def test_many_spans_are_flushed_so_that_the_queue_of_the_sdk_does_not_overflow():
    flushed = []

    class Provider(TracerProvider):
        def force_flush(self, timeout_millis=30_000):
            flushed.append(len(exporter.get_finished_spans()))
            return True

    exporter = InMemorySpanExporter()
    provider = Provider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    callback = OTelCallback(provider)
    for at in range(10):
        callback(scored(replace(long_trace(400), id=f"{at:032x}", example=f"e{at}")))
    callback.close()
    assert flushed == [1200, 2400]


def test_the_current_span_of_the_process_is_neither_parent_nor_child():
    callback, exporter = memory()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("app")
    with tracer.start_as_current_span("request") as request:
        for event in a_run():
            callback(event)
        assert api.get_current_span() is request
    assert request.get_span_context().trace_id not in {s.context.trace_id for s in exporter.get_finished_spans()}


def test_default_callback_is_there_only_where_a_provider_is_set(monkeypatch):
    assert default_callback() is None
    monkeypatch.setattr(api, "_TRACER_PROVIDER", api.NoOpTracerProvider())
    assert default_callback() is None
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(api, "_TRACER_PROVIDER", provider)
    callback = default_callback()
    assert callback is not None
    for event in a_run():
        callback(event)
    assert exporter.get_finished_spans()


def test_without_a_provider_nothing_is_written_and_none_is_set(monkeypatch):
    callback = OTelCallback()
    for event in a_run():
        callback(event)
    callback.close()
    assert api._TRACER_PROVIDER is None


def test_validation_rollouts_that_could_not_start_have_no_score():
    event = replace(scored(trace_of("v1"), None, phase=Phase.VALIDATION), trace=None, error="ValueError: x")
    spans = written([event])
    group = by_name(spans, "validate")
    assert "textgrad.score" not in group.attributes
    assert by_name(spans, "rollout").attributes["textgrad.scores"] == '{"right": null}'
