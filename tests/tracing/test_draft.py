"""A tree of drafts becomes one trace of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.content import Content
from textgrad_lg_tracing.draft import Draft, write


def saved(root, cap=300, current=False):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    if current:
        with tracer.start_as_current_span("request"):
            write(tracer, root, {at.RUN: "r"}, Content(), cap)
    else:
        write(tracer, root, {at.RUN: "r"}, Content(), cap)
    return [span for span in exporter.get_finished_spans() if span.name != "request"]


def test_the_current_span_is_no_parent():
    root = Draft("root", 0, 1)
    root.add(Draft("child", 0, 1))
    child, top = saved(root, current=True)
    assert top.parent is None
    assert child.parent == top.context


def test_a_span_never_ends_before_it_starts():
    (span,) = saved(Draft("root", 2, 1))
    assert (span.start_time, span.end_time) == (2_000_000_000, 2_000_000_000)


def test_covering_children_widens_and_never_narrows():
    root = Draft("root", 5, 6)
    root.cover()
    assert (root.start, root.end) == (5, 6)
    root.add(Draft("child", 4, 5))
    root.add(Draft("child", 6, 9))
    root.cover()
    assert (root.start, root.end) == (4, 9)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 40))
def test_whatever_is_cut_each_span_kept_has_its_parent_and_the_rest_is_counted(parents, cap):
    drafts = [Draft("0", 0, 1)]
    for number, parent in enumerate(parents, 1):
        drafts.append(drafts[parent % number].add(Draft(str(number), 0, 1)))
    spans = saved(drafts[0], cap)
    assert len(spans) == min(cap, len(drafts))
    by_id = {span.context.span_id: span for span in spans if span.context}
    for span in spans:
        wanted = drafts[int(span.name)].parent
        assert (by_id[span.parent.span_id].name if span.parent else None) == (wanted.name if wanted else None)
    (root,) = [span for span in spans if span.parent is None]
    assert (root.attributes or {}).get("textgrad.spans.dropped", 0) == len(drafts) - len(spans)
