"""`read_traces` and then `learn`, on what each instrumentation writes: what can be learnt from, and what is said where not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.run.imported import GOODBYE, PRODUCERS, WANTED, answers, critic, desk, files, polite, writer
from textgrad_lg import TGD, MemoryRegistry, Settings, Strategy, learn
from textgrad_lg.errors import DataError
from textgrad_lg.events import BackwardFinished, Committed, ExampleScored
from textgrad_lg.run.lacking import CAPTURED, lacking
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.types import Phase, SpanKind
from textgrad_lg_tracing.readers import read_traces

COUNT = 12
SETTINGS = Settings(strategy=Strategy.CHAIN, steps=2, batch=4)
PROMPTS = {"plan/system", "research/model/system", "critic/system", "join/system"}
NAMELESS = {"/system", "/system#1", "/system#2", "/system#3"}


def learnt(graph, traces, folder, **options):
    options = {"registry": MemoryRegistry(), "settings": SETTINGS, "optimizer": TGD(), "model": critic(), **options}
    return learn(graph, traces, polite, run_dir=folder / "run", **options), options["registry"]


def traces_of(producer, folder, count=COUNT, graph=None, **options):
    found = list(read_traces(files(producer, count, folder, **options), graph=graph, report=lambda _: None))
    assert len(found) == count
    return found


@pytest.mark.parametrize("producer", PRODUCERS)
def test_without_the_graph_each_producers_spans_show_the_prompts(producer, tmp_path):
    discovered = []
    result, registry = learnt(
        None, traces_of(producer, tmp_path), tmp_path, answers=answers(), callbacks=[discovered.append]
    )
    assert len(result.failing) == COUNT
    (parameters,) = [event.parameters for event in discovered if hasattr(event, "parameters")]
    nameless = producer == "gen_ai"
    assert {str(site) for site in parameters if site.role == "system"} == (NAMELESS if nameless else PROMPTS)
    ((site, change),) = result.texts.items()
    assert change.new.text.endswith(WANTED)
    assert registry.get(f"desk:{site}").provenance["verified"] is False
    if nameless:
        # These spans show model calls and nothing of the graph: that is said, and what to do about it.
        assert "gen_ai spans do not show nodes" in result.warnings[0]
        assert "12 of 12 traces" in result.warnings[0]
        assert "named by its order" in result.warnings[-1]
        assert "read traces that show nodes" in result.warnings[-1]
    else:
        assert str(site) == "join/system"
        assert result.warnings == ()


@pytest.mark.parametrize("producer", PRODUCERS)
@pytest.mark.parametrize("with_graph", [False, True])
def test_spans_without_content_are_refused_with_cause_and_cure(producer, with_graph, tmp_path):
    graph = desk.build() if with_graph else None
    traces = traces_of(producer, tmp_path, graph=graph, content=False)
    model = critic()
    with pytest.raises(DataError) as error:
        learnt(graph, traces, tmp_path, model=model)
    assert "none of the 12 traces holds what its run was given and what came out" in str(error.value)
    assert "12 of 12 traces: of the run, this trace holds structure only" in str(error.value)
    assert "content was not captured" in str(error.value)
    assert "turn the capture of content on where the graph runs" in str(error.value)
    assert model.requests == []


@pytest.mark.parametrize("producer", ["openinference", "langsmith"])
def test_from_spans_of_production_to_a_published_prompt(producer, tmp_path):
    """The whole way: spans of production, read with the graph; nothing is run before the first gradients."""
    graph = desk.build(model=writer)
    traces = traces_of(producer, tmp_path, 20, graph)
    assert not any(GOODBYE in str(one.trace.output()["answer"]) for one in traces)
    told = []
    result, registry = learnt(graph, traces, tmp_path, callbacks=[told.append])
    assert result.verified
    assert result.improved, result.summary()
    assert result.published == {"desk:join/system": 2}
    assert result.result.graph.invoke(desk.inputs(), desk.config())["answer"].endswith(GOODBYE)
    # The first minibatch is what was recorded: four rollouts, none of them made, each by its production trace's id.
    ids = {one.trace.id for one in traces}
    first = next(at for at, event in enumerate(told) if isinstance(event, BackwardFinished))
    batch = [event for event in told[:first] if isinstance(event, ExampleScored) and event.phase is Phase.ROLLOUT]
    assert len({event.example for event in batch}) == SETTINGS.batch
    assert all(event.cached for event in batch)
    learnt_from = {event.trace.id for event in batch}
    assert learnt_from <= ids
    assert {event.trace.id for event in told if isinstance(event, BackwardFinished)} == learnt_from
    made = [event for event in told if isinstance(event, ExampleScored) and not event.cached]
    assert not ids & {event.trace.id for event in made}
    # The version says which production traces it was learnt from.
    version = registry.get("desk:join/system", label="production")
    assert version.template.text == f"{desk.JOIN} {WANTED}"
    assert set(version.provenance["traces"]) == learnt_from
    assert any(isinstance(event, Committed) for event in told)


def test_a_graph_that_cannot_be_run_from_what_the_spans_hold_is_told_why(tmp_path):
    """These spans hold the messages that the run was given, and not the rest of its input."""
    graph = desk.build(model=writer)
    result, registry = learnt(graph, traces_of("gen_ai", tmp_path, graph=graph), tmp_path)
    assert result.published == {}
    assert registry.names() == ()
    assert "the graph raised on every example before a prompt was seen, first: KeyError: 'topic'" in result.reason
    assert "gen_ai spans do not show nodes" in " ".join(result.warnings)
    assert "\nwarning: 12 of 12 traces: of the run, this trace holds messages only" in result.summary()


def test_traces_that_show_no_prompt_are_told_apart_from_those_that_hold_nothing(tmp_path):
    """What went in and what came out is there, and the calls' messages are not."""

    def silent(one):
        trace = one.trace
        calls = {span.id for span in trace.spans if span.kind is SpanKind.LLM}
        spans = tuple(
            replace(span, attributes={k: v for k, v in span.attributes.items() if k != "messages"})
            for span in trace.spans
        )
        kept = {v.id: replace(v, role="state", site=None) if v.site else v for v in trace.variables}
        told = (*trace.warnings, "6 of 6 model calls are without their messages")
        assert calls
        return replace(trace, spans=spans, variables=tuple(kept.values()), warnings=told)

    model = critic()
    result, registry = learnt(
        None, [silent(one) for one in traces_of("langsmith", tmp_path)], tmp_path, model=model, answers=answers()
    )
    assert result.texts == {}
    assert "no prompt was found" in result.reason
    assert "12 of 12 traces: 6 of 6 model calls are without their messages." in result.reason
    assert "Turn the capture" not in result.reason
    assert CAPTURED[1:] in result.reason
    assert model.requests == []
    assert registry.names() == ()


def test_too_few_sources_are_refused_in_words(tmp_path):
    traces = traces_of("langsmith", tmp_path)
    with pytest.raises(DataError, match=r"12 traces with different inputs, of 1 sources, .* at least three sources"):
        learnt(None, traces, tmp_path, sources={one.trace.id: "one user" for one in traces}, answers=answers())


def test_what_many_traces_lack_is_said_once():
    build = TraceBuilder("shop")
    one = build.finish({"answer": build.input("question", "q")})
    texts = ["s1: odd", "of the run, this trace holds messages only: why", *(f"rare {at}" for at in range(9))]
    traces = [replace(one, warnings=(texts[0], texts[1], texts[2 + at])) for at in range(9)]
    assert lacking(traces) == (f"9 of 9 traces: {texts[1]}", "9 of 9 traces: s1: odd", "1 of 9 traces: rare 0")
    assert lacking([replace(one, warnings=("x" * 999,))])[0] == f"1 of 1 traces: {'x' * 300}"
    assert lacking([one]) == ()
