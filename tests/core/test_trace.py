import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgrad_lg.errors import TraceError
from textgrad_lg.site import Site
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.trace import CANDIDATE, CONFIRMED, Edge, Span, Trace
from textgrad_lg.types import SpanKind
from textgrad_lg.variable import Variable, leaf_texts, text_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def traces(draw):
    values = draw(st.lists(json_values, min_size=1, max_size=6))
    spans = tuple(
        Span(
            f"s{at}",
            draw(st.sampled_from(SpanKind)),
            draw(st.text(max_size=5)),
            f"s{at - 1}" if at else None,
            ("a", "b")[:at],
            at,
        )
        for at in range(draw(st.integers(1, 3)))
    )
    sites = st.none() | st.builds(
        Site, st.lists(st.text(max_size=4), max_size=2).map(tuple), st.just("system"), st.integers(0, 3)
    )
    variables = tuple(
        Variable(
            f"v{at}",
            value,
            draw(st.text(max_size=5)),
            draw(st.none() | st.just("s0")),
            draw(sites),
            draw(st.booleans()),
        )
        for at, value in enumerate(values)
    )
    pairs = [(low, high) for high in range(len(values)) for low in range(high)]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=5)) if pairs else []
    edges = tuple(
        Edge(f"v{low}", f"v{high}", "s0", draw(st.sampled_from([CONFIRMED, CANDIDATE])), "text") for low, high in chosen
    )
    return Trace(
        "t" * 32, "graph", spans, variables, edges, {"in": "v0"}, {"out": f"v{len(values) - 1}"}, "ex", ("warned",), 5.5
    )


@given(traces())
def test_json_and_back_is_the_identity(trace):
    assert Trace.from_json(trace.to_json()) == trace
    assert Trace.from_json(trace.to_json().encode()).to_json() == trace.to_json()


def test_what_is_no_trace_is_refused():
    with pytest.raises(TraceError, match="this is not a trace"):
        Trace.from_json(json.dumps({"id": 1}))


V = Variable("v", 1, "value")
W = Variable("w", 2, "value", "s0")
S = Span("s0", SpanKind.GRAPH, "g")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"spans": (S, S)}, "the same id"),
        ({"variables": (V, V)}, "the same id"),
        ({"spans": (S,), "variables": (V,), "edges": (Edge("v", "x", "s0"),)}, "names something it does not hold"),
        ({"spans": (S,), "variables": (V, W), "edges": (Edge("w", "v", "s0"),)}, "points forwards"),
        ({"outputs": {"label": "x"}}, "there is no variable x"),
        ({"variables": (W,)}, "names the span s0"),
    ],
)
def test_a_trace_that_does_not_hold_together_is_refused(fields, problem):
    with pytest.raises(TraceError, match=problem):
        Trace("t", "g", **fields)


def test_a_trace_answers_by_id():
    build = TraceBuilder("desk", example="e1")
    question = build.input("question", "How?")
    found = build.tool("search", result="a page", reads=[question])
    answer = build.llm(
        "answer",
        reads=[question, found],
        prompts={"answer/system": "Be brief."},
        reply="So.",
        weights={found: CANDIDATE},
    )
    again = build.llm("answer", reads=[answer], reply="So!")
    done = build.node("post", value="SO!", reads=[again])
    trace = build.finish({"answer": done})
    assert trace.output() == {"answer": "SO!"}
    assert [str(parameter.site) for parameter in trace.parameters] == ["answer/system"]
    assert [span.visit for span in trace.spans if span.kind is SpanKind.LLM] == [0, 1]
    assert {edge.source: edge.weight for edge in trace.incoming["s3.out"]} == {question: 1.0, found: 0.1, "s3.in0": 1.0}
    assert trace.span_by_id["s1"].name == "search"
    assert trace.variable_by_id["s3.in0"].requires_grad


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ({"role": "assistant", "content": "hi"}, "hi"),
        ({"content": [{"type": "text", "text": "a"}, "b", {"type": "image"}]}, "a\nb"),
        ({"content": "", "tool_calls": [{"name": "f", "args": {}}]}, '[{"args": {}, "name": "f"}]'),
        ({"content": 3}, "3"),
        ([{"role": "user", "content": "q"}, {"content": "a"}], "user: q\nmessage: a"),
        ({"b": 1, "a": "é"}, '{"a": "é", "b": 1}'),
        ([], "[]"),
        (True, "true"),
    ],
)
def test_a_value_in_words(value, text):
    assert text_of(value) == text


def test_leaf_texts_come_in_a_fixed_order():
    assert list(leaf_texts({"b": ["x", 1, None], "a": {"c": True}})) == ["true", "x", "1"]
