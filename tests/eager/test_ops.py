"""Operations, modules and losses: what they record, and what they refuse."""

from __future__ import annotations

import pytest

import textgrad_lg.eager as tg
from textgrad_lg.eager.autograd.functional import formatted_llm_call, llm_call
from textgrad_lg.types import SpanKind

from .support import asked, fixed, model, text
from .test_variable import PNG


def test_a_call_records_its_inputs_in_order():
    engine = model(call="reply")
    prompt, query = text("Be brief.", "prompt"), text("q", "query")
    reply = tg.LLMCall(engine, prompt)(query, "answer")
    assert (reply.value, reply.role_description, reply.predecessors) == ("reply", "answer", [prompt, query])
    assert reply.grad_fn.kind is SpanKind.LLM
    assert llm_call(query, engine).role_description == "response from the language model"
    nameless = tg.Variable("s", role_description="")
    tg.LLMCall(engine, nameless)
    assert nameless.role_description.startswith("system prompt")


def test_what_is_used_twice_is_one_predecessor_and_gets_its_feedback_once():
    engine = model(call="reply")
    twice = text("x", "twice")
    call = tg.FormattedLLMCall(engine, "{a} and {b}", ["a", "b"])
    loss = tg.TextLoss("Judge.", engine)(call({"a": twice, "b": twice}))
    assert loss.predecessors[1].predecessors == [twice]
    loss.backward(engine)
    assert len(twice.gradients) == 1


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ("{a}-{b}", "1-{c}"),
        ("{{a}} {a} {b}", "{a} 1 {c}"),
        ("{a} {", "1 {"),
        ("{a} {other}", "1 {other}"),
        ("{a:>3}{b}", "{a:>3}{c}"),
    ],
)
def test_format_strings(form, sent):
    engine = model(call=lambda messages: messages[-1].text)
    made = formatted_llm_call({"a": text("1"), "b": text("{c}")}, None, engine, form, {"a": None, "b": None})
    assert made.value == sent


def test_fields_have_to_be_those_announced():
    engine = model()
    with pytest.raises(ValueError, match=r"should be \['a'\], and are \['b'\]"):
        tg.FormattedLLMCall(engine, "{a}", ["a"])({"b": text("x")})
    with pytest.raises(ValueError, match="OrderedFieldsMultimodalLLMCall"):
        tg.FormattedLLMCall(engine, "{a}", ["a"])({"a": fixed(PNG)})
    with pytest.raises(ValueError, match="use MultimodalLLMCall"):
        tg.LLMCall(engine)(fixed(PNG))
    with pytest.raises(ValueError, match="should be"):
        tg.OrderedFieldsMultimodalLLMCall(engine, ["a"])({})
    assert tg.FormattedLLMCall(engine, "{}", [])({}).value == "reply"


def test_examples_for_the_reverse_pass_and_a_final_part():
    replies = iter(["I think <FINAL> do it </FINAL> so", "plain", "<FINAL>open"])
    engine = model(call=lambda messages: next(replies))
    plan = text("a plan", "plan")
    call = tg.LLMCall_with_in_context_examples(engine, fixed("s"))
    first = call(plan, "better plan", ["one example", "another"])
    assert first.value == "do it"
    assert [call(plan).value for _ in range(2)] == ["plain", "open"]
    equal = tg.StringBasedFunction(lambda plan: "bad", "judges the plan")
    equal({"plan": first}).backward(engine)
    assert "one example\n\nanother" in asked(engine, "critic")[1]


def test_a_functions_result_may_be_json_and_its_errors_are_its_own():
    plan = text({"dose": 1.5}, "plan")
    simulate = tg.StringBasedFunction(lambda plan: {"rectum": plan.value["dose"] * 2}, "simulates the plan")
    made = simulate({"plan": plan})
    assert made.value == {"rectum": 3.0}
    assert made.role_description == "output of the function that simulates the plan"
    with pytest.raises(ZeroDivisionError):
        tg.StringBasedFunction(lambda plan: 1 // 0, "fails")({"plan": plan})

    class Simulator:
        def __call__(self, plan):
            return "ok"

    assert tg.StringBasedFunction(Simulator(), "simulates")({"plan": plan}).grad_fn.name == "Simulator"


def test_modules_find_their_parameters():
    class Pair(tg.Module):
        def __init__(self):
            self.llm = tg.BlackboxLLM(model(), text("first", "one"))
            self.more = [text("second", "two"), {"x": text("third", "three")}, self.llm, fixed("no")]

        def forward(self, x):
            return self.llm(x)

    pair = Pair()
    assert [name for name, _ in pair.named_parameters()] == ["one", "two", "three"]
    pair.parameters()[0].gradients.add(text("x"))
    pair.zero_grad()
    assert [list(parameter.gradients) for parameter in pair.parameters()] == [[], [], []]
    assert pair(fixed("q")).value == "reply"
    assert tg.BlackboxLLM(model(), "not trained").parameters() == []


def test_sums():
    one, two = text("a", "one"), text("b", "two")
    total = tg.sum([one, two])
    assert (total.value, total.role_description) == ("a\nb", "a combination of the following: one, two")
    assert tg.sum([fixed("a")]).requires_grad is False
    assert tg.aggregate([one, two]).role_description.startswith("a combination of the following variables")
    with pytest.raises(ValueError, match="nothing to sum"):
        tg.sum([])
    with pytest.raises(ValueError, match="an image cannot be part"):
        tg.sum([fixed(PNG)])


def test_votes():
    answers = [text(value, "answer") for value in ("I pass", "Answer: B!", "so Answer: A", "Answer: A.")]

    def letter(value):
        return value.partition("Answer: ")[2][:1] or None

    won = tg.majority_vote(answers, letter)
    assert (won.value, won.predecessors) == ("so Answer: A", answers)
    assert tg.majority_vote(answers[:3], letter).value == "Answer: B!"
    assert tg.majority_vote(answers[:1], letter).value == "I pass"
    with pytest.raises(ValueError, match="nothing to vote"):
        tg.majority_vote([])


def test_the_losses_refuse_what_they_cannot_read():
    engine = model(call="no tags")
    evaluation = tg.MultiFieldTokenParsedEvaluation("Equal?", ["a", "b"], engine, parse_tags=["<X>", "</X>"])
    with pytest.raises(ValueError, match="nothing between <X> and </X>"):
        evaluation.parse_output(evaluation([text("1"), text("2")]))
    with pytest.raises(ValueError, match="2 things are compared, and 1 are given"):
        evaluation([text("1")])


def test_where_a_judge_was_given_several_things_somebody_is_asked_which_is_at_fault():
    engine = model(call="Wrong.")
    solution, judge = text("x", "solution"), text("Judge.", "judge's prompt")
    tg.TextLoss(judge, engine)(solution).backward(engine)
    (request,) = asked(engine, "critic")
    assert "P1: judge's prompt" in request
    assert "P2: solution" in request
    assert (judge.get_gradient_text(), solution.get_gradient_text()) == ("Say more about P1.", "Say more about P2.")


def test_a_silent_judge_is_no_verdict_that_gets_lost():
    solution = text("x", "solution")
    tg.TextLoss("Judge.", model(call=""))(solution).backward()
    assert solution.get_gradient_text() == "The evaluation said nothing."
