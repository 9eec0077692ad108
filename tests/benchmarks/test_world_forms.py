"""The critic in the forms that this library asks for: the requests are the library's own, made by its own code."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from benchmarks.world.asked import Asked, tokens
from benchmarks.world.critic import Critic
from benchmarks.world.forms import answered, fences, filled
from benchmarks.world.task import Kind, Task, comment
from textgrad_lg.autograd.request import CallFeedback, Feedback
from textgrad_lg.optim.joint import JointPlans
from textgrad_lg.optim.patch import Patches
from textgrad_lg.optim.rewrite import Alternatives
from textgrad_lg.optim.sections import apply
from textgrad_lg.templates import fence, fill

TASK = Task(Kind.PLAIN, 0)
CASE = next(case for case in TASK.splits["train"] if case.needs == {"price"})
BAD = TASK.said(CASE, "price", frozenset({"price"}))
WRONG = TASK.said(CASE, "reply", frozenset({"price"}))
VERDICT = fence("verdicts on the output of the whole system", comment(WRONG, CASE.answer), tokens=400)
READ, PRICE, REPLY = TASK.nodes.values()


def asked(messages, schema: type[BaseModel], *, as_tool: bool = False) -> Asked:
    """The request as ChatOpenAI sends it, with the schema as the reply's form or as a tool."""
    roles = {"system": "system", "human": "user"}
    body = {"model": "critic", "messages": [{"role": roles[one.type], "content": one.text} for one in messages]}
    form = {"name": schema.__name__, "schema": schema.model_json_schema()}
    if as_tool:
        function = {"name": form["name"], "parameters": form["schema"]}
        return Asked.parse({**body, "tools": [{"type": "function", "function": function}]})
    return Asked.parse({**body, "response_format": {"type": "json_schema", "json_schema": form}})


def answer(request: Asked, schema):
    """The critic's reply, as the library reads it; and what kind of call it was."""
    found = answered(request, Critic(TASK, request.text))
    assert found is not None
    if found.calls:
        return schema.model_validate(found.calls[0][1]), found.kind
    return schema.model_validate_json(found.text), found.kind


def values(template: str, **given: str) -> dict[str, str]:
    """Values for a template of the library; empty for those that are not given."""
    from textgrad_lg.templates import _PLACEHOLDER, _sections

    names = {name for _, text in _sections(template) for name in _PLACEHOLDER.findall(text)}
    return {**dict.fromkeys(names, ""), **given}


def backward(node, reply: str, given: str):
    return fill(
        "backward_llm",
        **values(
            "backward_llm",
            verdicts=VERDICT,
            prompts=fence("P1: system prompt", node.prompt, tokens=400),
            inputs=fence("V1: what it was given", given, tokens=400),
            reply=fence("reply of the call", reply, tokens=400),
            wanted="P1, V1",
        ),
    )


def test_at_the_faulty_call_the_prompt_is_told_its_instruction():
    said, kind = answer(asked(backward(PRICE, BAD, "Lines of it"), CallFeedback), CallFeedback)
    assert kind == "gradient"
    assert [(one.id, one.feedback) for one in said.about_this] == [("P1", PRICE.instruction)]
    assert said.about_inputs == []


def test_at_the_call_after_it_the_input_is_blamed_and_not_the_prompt():
    said, _ = answer(asked(backward(REPLY, WRONG, BAD), CallFeedback), CallFeedback)
    assert said.about_this == []
    assert [(one.id, one.feedback) for one in said.about_inputs] == [("V1", PRICE.instruction)]


def test_without_evidence_the_prompt_gets_useless_advice():
    request = asked(backward(REPLY, "EUR 1.00", "The sum of it"), CallFeedback)
    said, _ = answer(request, CallFeedback)
    assert [one.id for one in said.about_this] == ["P1"]
    assert TASK.named(said.about_this[0].feedback) == ()


def test_one_request_on_a_whole_run_names_the_right_prompt_among_several():
    run = "\n\n".join(
        [
            fence("P1: system prompt of `read`", READ.prompt, tokens=400),
            fence("P2: system prompt of `price`", PRICE.prompt, tokens=400),
            fence("P3: system prompt of `reply`", REPLY.prompt, tokens=400),
            fence("S1: reply of `price`, from P2", BAD, tokens=400),
        ]
    )
    messages = fill(
        "backward_fused", **values("backward_fused", name="run", run=run, verdicts=VERDICT, wanted="P1, P2, P3, S1")
    )
    said, kind = answer(asked(messages, Feedback), Feedback)
    assert kind == "gradient"
    assert [(one.id, one.feedback) for one in said.feedback if one.id.startswith("P")] == [("P2", PRICE.instruction)]
    as_tool, _ = answer(asked(messages, Feedback, as_tool=True), Feedback)
    assert as_tool == said


def rewriting(template: str, feedback: str, count: str = "4 alternative versions", **given: str):
    return fill(
        template,
        **values(
            template,
            role="system prompt of `price`",
            text=fence("the text now", PRICE.prompt, tokens=400),
            feedback=fence("feedback, the most pressing first", feedback, tokens=400),
            count=count,
            longest="900",
            **given,
        ),
    )


@pytest.mark.parametrize("template", ["rewrite", "momentum"])
def test_new_versions_hold_what_the_feedback_names(template):
    said, kind = answer(asked(rewriting(template, PRICE.instruction), Alternatives), Alternatives)
    texts = [one.text for one in said.alternatives]
    assert kind == "proposal"
    assert len(set(texts)) == 4
    assert all(PRICE.holds(text) and text.startswith(PRICE.prompt) for text in texts)


def test_new_versions_without_knowledge_do_not_help():
    for feedback in "Be careful.", READ.instruction:
        said, _ = answer(asked(rewriting("rewrite", feedback, "one new version"), Alternatives), Alternatives)
        assert [TASK.named(one.text) for one in said.alternatives] == [()]
        assert said.alternatives[0].text != PRICE.prompt


def test_edits_can_be_applied_and_hold_what_the_feedback_names():
    messages = rewriting(
        "patch", PRICE.instruction, "2 alternative sets of edits", sections=fence("its sections", "S1", tokens=99)
    )
    said, _ = answer(asked(messages, Patches), Patches)
    assert [PRICE.holds(apply(PRICE.prompt, one.edits)) for one in said.alternatives] == [True, True]


def test_a_plan_changes_exactly_the_prompts_whose_instruction_is_known():
    about = "\n\n".join(
        fence(f"P{at} now", node.prompt, tokens=400) + "\n" + fence("feedback", feedback, tokens=400)
        for at, (node, feedback) in enumerate(
            [(READ, READ.instruction), (PRICE, "Be careful."), (REPLY, REPLY.instruction)], 1
        )
    )
    messages = fill("joint", **values("joint", parameters=about, count="3 alternative plans"))
    said, kind = answer(asked(messages, JointPlans), JointPlans)
    assert kind == "proposal"
    assert [[edit.parameter for edit in plan.edits] for plan in said.plans] == [["P1", "P3"]] * 3
    assert READ.holds(said.plans[0].edits[0].replacement)
    assert REPLY.holds(said.plans[0].edits[1].replacement)


def test_an_instruction_that_the_prompt_has_already_is_not_said_twice():
    old = f"{PRICE.prompt} {PRICE.instruction}"
    new = Critic(TASK, f"{old} {BAD} {comment(WRONG, CASE.answer)}").improved(old)
    assert new.startswith(old)
    assert new.count("subtract the voucher") == 1


def test_other_forms_are_left_to_others():
    assert (
        answered(Asked.parse({"model": "critic", "messages": [{"role": "user", "content": "hello"}]}), Critic(TASK, ""))
        is None
    )
    other = asked(fill("judge", **values("judge", instruction="x", inputs="y", outputs="z")), Patches)
    strange = Asked.parse(
        {
            **other.body,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "X", "schema": {"properties": {"x": {}}}},
            },
        }
    )
    assert answered(strange, Critic(TASK, "")) is None


def test_a_form_that_is_not_known_is_filled_so_that_it_is_valid():
    class Inner(BaseModel):
        name: str
        count: int
        share: float
        sure: bool

    class Outer(BaseModel):
        inner: Inner
        many: list[Inner]
        maybe: str | None

    found = Outer.model_validate(filled(Outer.model_json_schema(), lambda: "words"))
    assert found.inner.name == found.maybe == "words"
    assert len(found.many) == 1


def test_fenced_parts_are_found_by_their_id():
    text = "\n".join([fence("P1 now", "one", tokens=9), fence("feedback", "two\nlines", tokens=9)])
    assert fences(text) == {"P1": "one", "feedback": "two\nlines"}


def test_tokens_are_four_characters():
    assert [tokens("a" * count) for count in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_arguments_of_tool_calls_count_as_text():
    message = {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": json.dumps({"a": 1})}}]}
    parts = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    assert '{"a": 1}' in Asked.parse({"messages": [message]}).text
    assert Asked.parse({"messages": [parts]}).text == "hello"
