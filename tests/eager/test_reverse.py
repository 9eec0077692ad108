"""From the eager graph to Traces and back: examples, shared results, what must always hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

import textgrad_lg.eager as tg
from textgrad_lg.autograd import relevant
from textgrad_lg.eager.graph import passes
from textgrad_lg.errors import UnusableReply
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.trace import Trace
from textgrad_lg.types import SpanKind

from .support import asked, fixed, model, text


def judge(variable, words="Judge.", engine=None):
    return tg.TextLoss(words, engine or model(call="Wrong."))(variable)


def test_a_batch_is_one_trace_for_each_example():
    engine = model(call=lambda messages: f"reply to {messages[-1].text}")
    prompt = text("Be brief.", "prompt")
    llm = tg.BlackboxLLM(engine, prompt)
    total = tg.sum([judge(llm(fixed(q, "query")), engine=engine) for q in ("one", "two", "three")])
    found, reached = passes(total)
    assert [one.trace.example for one in found] == ["1", "2", "3"]
    assert all("two" not in one.trace.to_json() for one in (found[0], found[2]))
    assert prompt in reached
    total.backward(engine)
    assert [f.gradient.example for f in prompt.gradients if isinstance(f, tg.Feedback)] == ["1", "2", "3"]
    for request in asked(engine, "critic"):
        assert sum(f"query: {q}\n" in request for q in ("one", "two", "three")) == 1


def test_losses_that_judge_the_same_result_are_one_example_and_are_asked_once():
    engine = model(call="reply")
    prompt = text("Be brief.", "prompt")
    llm = tg.BlackboxLLM(engine, prompt)
    shared, other = llm(fixed("a")), llm(fixed("b"))
    losses = [
        judge(shared, "Is it kind?", engine),
        judge(other, "Is it new?", engine),
        judge(shared, "Is it true?", engine),
    ]
    losses.append(judge(shared + other, "Both?", engine))
    found, _ = passes(tg.sum(losses))
    assert len(found) == 1
    found, _ = passes(tg.sum(losses[:3]))
    assert [one.goal for one in found] == ["Is it kind?\nIs it true?", "Is it new?"]
    tg.sum(losses[:3]).backward(engine)
    assert len(asked(engine, "critic")) == 2


def test_sums_of_sums_and_a_loss_named_twice():
    solution = text("x", "solution")
    first, second = judge(solution, "a"), judge(solution, "b")
    total = tg.sum([tg.sum([first, second]), first])
    total.backward()
    assert solution.get_gradient_text() == "Wrong.\nWrong."


def test_what_is_in_a_trace():
    engine = model(call="reply")
    prompt = text("Be brief.", "prompt")
    reply = tg.BlackboxLLM(engine, prompt)(fixed("q", "query"))
    check = tg.StringBasedFunction(lambda said: 0.5, "measures it")
    (one,), _ = passes(check({"said": reply}, "score"))
    trace = one.trace
    assert Trace.from_json(trace.to_json()) == trace
    assert [span.kind for span in trace.spans] == [SpanKind.GRAPH, SpanKind.LLM, SpanKind.EVAL]
    assert trace.inputs == {"query": "v1"}
    assert trace.output() == {"response from the language model": "reply"}
    assert [str(v.site) for v in trace.parameters] == ["variable:prompt/text"]
    (again,), _ = passes(check({"said": reply}, "score"))
    assert again.trace.id == trace.id != "0" * 32


def test_variables_of_one_role_are_told_apart():
    engine = model(call="reply")
    call = tg.FormattedLLMCall(engine, "{a}{b}{c}{d}", list("abcd"))
    parts = {"a": text("1", "part"), "b": text("2", "part"), "c": fixed("3", "given"), "d": fixed("4", "given")}
    (one,), _ = passes(judge(call(parts)))
    assert [str(v.site) for v in one.trace.parameters] == ["variable:part/text", "variable:part/text#1"]
    assert list(one.trace.inputs) == ["given", "given 2"]


def test_a_loss_that_depends_on_nothing_trainable_is_left_out():
    engine = model(call="Wrong.")
    solution = text("x", "solution")
    total = tg.sum([judge(fixed("y"), engine=engine), judge(solution, engine=engine)])
    total.backward()
    assert solution.get_gradient_text() == "Wrong."
    text("alone").backward()
    assert passes(judge(fixed("y"), engine=engine))[0] == []


def test_merging_needs_an_engine_even_where_no_pass_does():
    solution = text("x", "solution")
    total = tg.aggregate([judge(solution, "a"), judge(solution, "b")])
    with pytest.raises(tg.NoEngine):
        total.backward()
    assert list(solution.gradients) == []
    total.backward(model())
    assert solution.get_gradient_text() == "all of it"


def test_one_piece_of_feedback_is_not_merged():
    solution = text("x", "solution")
    tg.aggregate([judge(solution)]).backward()
    assert solution.get_gradient_text() == "Wrong."


def test_losses_beside_an_aggregate_are_not_merged_with_it():
    solution = text("x", "solution")
    engine = model()
    inner = tg.aggregate([tg.sum([judge(solution, "a"), judge(solution, "b")]), judge(solution, "c")])
    tg.sum([inner, judge(solution, "d")]).backward(engine)
    assert solution.get_gradient_text() == "all of it\nWrong."
    assert "The feedback, 3 pieces" in asked(engine, "merge")[0]


def test_an_engine_that_gives_no_usable_reply_puts_feedback_nowhere():
    engine = model(call="reply")
    prompt = text("Be brief.", "prompt")
    llm = tg.BlackboxLLM(engine, prompt)
    total = tg.sum([judge(llm(fixed("a")), engine=engine), judge(llm(fixed("b")), engine=engine)])
    broken = ScriptedChatModel(
        replies=lambda messages: "no form" if "given: a" in messages[1].text else {"about_this": [], "about_inputs": []}
    )
    with pytest.raises(UnusableReply):
        total.backward(broken)
    assert (list(prompt.gradients), prompt.reached) == ([], False)


class Refusing(ScriptedChatModel):
    """Refuses by a message, so that there is no exception behind the failure."""


def test_a_refusal_is_raised_as_what_it_is():
    engine = model(call="reply")
    loss = judge(tg.BlackboxLLM(engine, text("p"))(fixed("a")), engine=engine)
    refusal = AIMessage("", response_metadata={"finish_reason": "content_filter"})
    with pytest.raises(UnusableReply, match="refused"):
        loss.backward(Refusing(replies=[refusal]))


@st.composite
def graphs(draw):
    """A random graph: how each step is made from which earlier ones, and what is trainable."""
    leaves = draw(st.lists(st.booleans(), min_size=1, max_size=4))
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["llm", "function", "sum", "vote"]), st.lists(st.integers(0, 9), min_size=1, max_size=3)
            ),
            min_size=1,
            max_size=7,
        )
    )
    judged = draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))
    return leaves, steps, judged


def build(graph):
    """The graph's Variables and its loss."""
    leaves, steps, judged = graph
    engine = model(call=lambda messages: f"reply {len(messages[-1].text)}")
    made = [tg.Variable(f"leaf {n}", requires_grad=t, role_description=f"leaf {n}") for n, t in enumerate(leaves)]
    for number, (kind, places) in enumerate(steps):
        used = [made[place % len(made)] for place in places]
        fields = {f"f{at}": source for at, source in enumerate(used)}
        if kind == "llm":
            new = tg.FormattedLLMCall(engine, " ".join(f"{{{name}}}" for name in fields), list(fields))(fields)
        elif kind == "function":
            new = tg.StringBasedFunction(lambda number=number, **given: f"result {number} {len(given)}", "works")(
                fields
            )
        else:
            new = tg.sum(used) if kind == "sum" else tg.majority_vote(used)
        made.append(new)
    losses = [judge(made[-1 - place % len(made)], f"Judge {at}.", engine) for at, place in enumerate(judged)]
    return engine, made, tg.sum(losses)


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_what_must_always_hold(graph):
    engine, made, loss = build(graph)
    for one in passes(loss)[0]:
        assert Trace.from_json(one.trace.to_json()) == one.trace
        assert relevant(one.trace).seeds
    loss.backward(engine)
    first = [[feedback.text for feedback in variable.gradients] for variable in made]
    for variable in made:
        assert variable.requires_grad or not variable.gradients
        spans = [(f.gradient.trace, f.gradient.span, f.text) for f in variable.gradients if isinstance(f, tg.Feedback)]
        assert len(set(spans)) == len(spans)
    requests = sorted(asked(engine, "critic"))
    loss.backward(engine)
    assert [[feedback.text for feedback in variable.gradients] for variable in made] == first
    other, _, again = build(graph)
    again.backward(other)
    assert sorted(asked(other, "critic")) == requests
