"""Seeding a Trace with its Scores, and pruning it to what can be blamed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from textgrad_lg.autograd import relevant, seed
from textgrad_lg.example import Score
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.trace import CANDIDATE, CONFIRMED, Edge, Span, Trace
from textgrad_lg.types import SpanKind
from textgrad_lg.variable import Variable

from .helpers import WRONG, long_chain


def two_outputs():
    build = TraceBuilder("desk")
    text = build.input("text", "My bill is wrong.")
    label = build.llm("triage", reads=[text], prompts={"triage/system": "Choose a label."}, reply="sales")
    reason = build.llm("explain", reads=[text], prompts={"explain/system": "Say why."}, reply="because")
    return build.finish({"label": label, "reason": reason})


def sites(pruned) -> list[str]:
    """The Parameters reached, nearest to the output first."""
    found = (pruned.trace.variable_by_id[name] for name in pruned.consumers)
    return [str(variable.site) for variable in found if variable.site is not None]


def test_a_score_becomes_an_eval_span_on_the_fields_that_it_judged():
    trace = two_outputs()
    judged = seed(trace, [Score("right", 0.0, "expected 'billing'", ("label",), {"label": "billing"})])
    span = judged.spans[-1]
    assert (span.kind, span.name, span.parent) == (SpanKind.EVAL, "right", None)
    assert span.attributes == {
        "score": 0.0,
        "comment": "expected 'billing'",
        "expected": {"label": "billing"},
        "fields": ["label"],
    }
    assert judged.variables[-1].value == {"score": 0.0, "comment": "expected 'billing'"}
    assert [(e.source, e.target, e.weight) for e in judged.edges if e.span == span.id] == [
        (trace.outputs["label"], f"{span.id}.out", CONFIRMED)
    ]
    assert Trace.from_json(judged.to_json()) == judged
    assert sites(relevant(judged)) == ["triage/system"]


@pytest.mark.parametrize("fields", [(), ("no_such_field",)])
def test_a_score_that_names_no_output_judges_all_of_them(fields):
    assert sites(relevant(seed(two_outputs(), [Score("all", 0.5, None, fields)]))) == [
        "explain/system",
        "triage/system",
    ]


def test_a_score_without_a_value_seeds_nothing():
    trace = two_outputs()
    assert seed(trace, [Score("broken", None, error="it raised")]) == trace


def test_two_fields_with_one_variable_are_judged_once():
    build = TraceBuilder()
    out = build.llm("a", reads=[build.input("x", "y")], prompts={"a/system": "p"}, reply="r")
    judged = seed(build.finish({"label": out, "copy": out}), [Score("k", 0.0)])
    assert [edge.source for edge in judged.edges if edge.span == judged.spans[-1].id] == [out]


def test_a_failed_run_is_judged_by_what_it_made_last():
    trace = replace(two_outputs(), outputs={})
    judged = seed(trace, [Score("ran", 0.0, "it raised ValueError")])
    edges = [edge for edge in judged.edges if edge.span == judged.spans[-1].id]
    assert [edge.source for edge in edges] == ["s1.out.triage", "s3.out.explain"]
    assert {edge.weight for edge in edges} == {CANDIDATE}
    assert sites(relevant(judged)) == ["explain/system", "triage/system"]


def test_ids_that_are_taken_are_not_used_again():
    trace = Trace("t", "g", (Span("s1", SpanKind.GRAPH, "g"),), (Variable("s2.out", 1, "x"),), outputs={"a": "s2.out"})
    judged = seed(seed(trace, [Score("a", 0.0), Score("b", 0.0)]), [Score("c", 0.0)])
    assert [span.id for span in judged.spans] == ["s1", "s3", "s4", "s5"]


def test_only_what_leads_from_a_trainable_parameter_to_a_verdict_is_kept():
    build = TraceBuilder()
    question = build.input("q", "?")
    build.llm("unused", reads=[question], prompts={"unused/system": "p"}, reply="r")
    frozen = build.llm("frozen", reads=[question], prompts={"frozen/system": "p"}, reply="r1")
    fixed = build.node("fixed", value="v", reads=[question])
    last = build.llm("last", reads=[frozen, fixed], prompts={"last/system": "p"}, reply="r2")
    trace = build.finish({"answer": last})
    variables = tuple(
        replace(v, requires_grad=False) if v.site is not None and v.site.path == ("frozen",) else v
        for v in trace.variables
    )
    pruned = relevant(seed(replace(trace, variables=variables), [Score("k", 0.0)]))
    assert list(pruned.consumers) == [last, "s7.out", "s7.in0"]
    assert sites(pruned) == ["last/system"]


def test_an_unconfirmed_edge_is_followed_only_where_no_confirmed_one_leads_to_a_parameter():
    build = TraceBuilder()
    sure = build.llm("sure", prompts={"sure/system": "p"}, reply="r1")
    maybe = build.llm("maybe", prompts={"maybe/system": "p"}, reply="r2")
    both = build.llm("both", reads=[sure, maybe], weights={maybe: CANDIDATE}, reply="r3")
    only = build.llm("only", reads=[build.input("q", "?"), maybe], weights={maybe: CANDIDATE}, reply="r4")
    trace = build.finish({"both": both, "only": only})
    assert sites(relevant(seed(trace, [Score("k", 0.0, fields=("both",))]))) == ["sure/system"]
    pruned = relevant(seed(trace, [Score("k", 0.0, fields=("only",))]))
    assert sites(pruned) == ["maybe/system"]
    assert pruned.weight["s4.in0"] == CANDIDATE


def test_weights_multiply_along_the_surest_path():
    build = TraceBuilder()
    first = build.llm("first", prompts={"first/system": "p"}, reply="r1")
    second = build.node("second", value="v", reads=[first], weight=CANDIDATE)
    third = build.node("third", value="w", reads=[second], weight=CANDIDATE)
    pruned = relevant(seed(build.finish({"a": third}), [Score("k", 0.0)]))
    assert pruned.weight["s2.in0"] == pytest.approx(CANDIDATE**2)
    pruned = relevant(seed(build.finish({"a": third, "b": second}), [Score("k", 0.0)]))
    assert pruned.weight["s2.in0"] == pytest.approx(CANDIDATE)


def test_what_decided_that_a_node_ran_is_blamed_as_well_at_its_low_weight():
    build = TraceBuilder()
    route = build.llm("route", prompts={"route/system": "p"}, reply="sales")
    answer = build.llm("sales", reads=[build.input("q", "?")], prompts={"sales/system": "p"}, reply="r")
    trace = build.finish({"answer": answer})
    trace = replace(trace, edges=(*trace.edges, Edge(route, answer, "s3", CANDIDATE, "control")))
    pruned = relevant(seed(trace, [WRONG]))
    assert sites(pruned) == ["sales/system", "route/system"]
    assert pruned.weight["s2.in0"] == CANDIDATE


def test_the_pass_starts_from_what_is_wrong_and_from_everything_where_nothing_is():
    wrong, right = Score("w", 0.5, "no reason", ("reason",)), Score("r", 1.0, "fine", ("label",))
    pruned = relevant(seed(two_outputs(), [right, wrong]))
    assert [(found.key, found.score, found.text) for found in pruned.seeds] == [("w", 0.5, "no reason")]
    assert sites(pruned) == ["explain/system"]
    pruned = relevant(seed(two_outputs(), [right, replace(right, key="r2", fields=("reason",))]))
    assert [found.key for found in pruned.seeds] == ["r", "r2"]
    assert pruned.score(two_outputs().outputs["label"]) == 1.0


def test_a_verdict_without_a_comment_says_its_score_and_what_was_expected():
    scores = [Score("a", 0.0, None, (), {"label": "x"}), Score("b", 0.25), Score("c", 0.5, "  said  ")]
    assert [found.text for found in relevant(seed(two_outputs(), scores)).seeds] == [
        'score 0; expected {"label": "x"}',
        "score 0.25",
        "said",
    ]


def test_each_variable_knows_the_verdicts_it_had_a_part_in():
    pruned = relevant(
        seed(
            two_outputs(), [Score("a", 0.5, fields=("label",)), Score("b", 0.25, fields=("reason",)), Score("c", 0.75)]
        )
    )
    outputs = pruned.trace.outputs
    assert pruned.seen_by[outputs["label"]] == (0, 2)
    assert pruned.seen_by[outputs["reason"]] == (1, 2)
    assert pruned.score(outputs["label"]) == 0.5


def test_pruning_is_not_recursive():
    pruned = relevant(long_chain(3_000))
    assert len(sites(pruned)) == 3_000
    assert sites(pruned)[0] == "n2999/system"
