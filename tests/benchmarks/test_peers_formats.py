"""The peers' request formats: each gets the same knowledge, in the shape that the peer's parser reads, and no more."""

import json
import re
import xml.etree.ElementTree as ET
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.world import formats
from benchmarks.world.asked import Asked
from benchmarks.world.critic import Critic
from benchmarks.world.task import Kind, Task, comment

TASK = Task(seed=3)
NODES = list(TASK.nodes.values())
CASE = next(case for case in TASK.splits["train"] if len(case.needs) == len(NODES))
BRACKETS = "<IMPROVED_VARIABLE>"


def said(node, failed):
    return TASK.said(CASE, node, frozenset(failed))


def verdict(failed):
    return comment(said("reply", failed), CASE.answer)


def answer(system, user, *, task=TASK, salt="", tools=(), more=()):
    messages = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": user}, *more]
    asked = Asked.parse({"model": "critic", "messages": messages, "tools": [tool(it) for it in tools]})
    return formats.answered(asked, Critic(task, asked.text, salt))


def tool(name):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


def gepa(old, evidence, **more):
    user = (
        f"I provided an assistant with the following instructions to perform a task for me:\n```\n{old}\n```\n\n"
        f"The following are examples:\n```\n# Example 1\n## Generated Outputs\n{evidence}\n\n```\n\n"
        "Provide the new instructions within ``` blocks."
    )
    reply = answer("", user, **more)
    # As gepa extracts it: between the first and the last fence.
    return reply, reply.text[reply.text.find("```") + 3 : reply.text.rfind("```")].strip()


def dspy(old, evidence, *, as_json=True, name="new_instruction", **more):
    given = "current_instruction" if name == "new_instruction" else "basic_instruction"
    wanted = (
        f"Respond with a JSON object in the following order of fields: `{name}`."
        if as_json
        else f"Respond with the corresponding output fields, starting with the field `[[ ## {name} ## ]]`, "
        "and then ending with the marker for `[[ ## completed ## ]]`."
    )
    examples = json.dumps([{"Generated Outputs": {"reply": evidence}, "Feedback": evidence}])
    user = f"[[ ## {given} ## ]]\n{old}\n\n[[ ## examples_with_feedback ## ]]\n{examples}\n\n{wanted}"
    reply = answer("Your input fields are: ...", user, **more)
    if as_json:
        return reply, json.loads(reply.text)[name]
    return reply, re.search(rf"\[\[ ## {name} ## \]\]\n(.*?)\n\n\[\[ ## completed", reply.text, re.DOTALL)[1]


def textgrad(old, evidence, *, shown=None, **more):
    user = (
        "Here is the role of the variable you will improve: <ROLE>system prompt</ROLE>.\n\n"
        f"The variable is the text within the following span: <VARIABLE> {shown or old} </VARIABLE>\n\n"
        "Here is the context and feedback we got for the variable:\n\n<CONTEXT>Here is a conversation:\n\n<CONVERSATION>"
        f"<LM_SYSTEM_PROMPT> {old} </LM_SYSTEM_PROMPT>\n\n<LM_INPUT> ... </LM_INPUT>\n\n</CONVERSATION>\n\n"
        f"<FEEDBACK>{evidence}</FEEDBACK></CONTEXT>\n\nSend the improved variable in the following format:\n\n"
        f"{BRACKETS}{{the improved variable}}</IMPROVED_VARIABLE>\n\n"
        f"Send ONLY the improved variable between the {BRACKETS} tags, and nothing else."
    )
    system = f"You MUST give your response between {BRACKETS} {{improved variable}} </IMPROVED_VARIABLE> tags."
    reply = answer(system, user, **more)
    return reply, reply.text.split(BRACKETS)[1].split("</IMPROVED_VARIABLE>")[0].strip()


def adalflow(old, evidence, **more):
    system = "<response>\n<proposed_variable>The proposed variable content</proposed_variable>\n</response>"
    user = (
        f"<START_OF_VARIABLE_DESC>\n<NAME> p </NAME>\n<VARIABLE>{old}</VARIABLE>\n<END_OF_VARIABLE_DESC>\n"
        f"<VARIBLE_PEERS>PEER_VARIABLE: x</VARIBLE_PEERS>\n<START_OF_CONTEXT_FEEDBACK>{evidence}<END_OF_CONTEXT_FEEDBACK>"
    )
    reply = answer(system, user, **more)
    return reply, ET.fromstring(reply.text).find("proposed_variable").text.strip()


def optoprime(olds, evidence, **more):
    system = 'Output_format: {"reasoning": ..., "answer": ..., "suggestion": {...}} ... TERMINATE'
    shown = "\n".join(f"(str) prompt_{name}={text}" for name, text in olds.items())
    user = (
        "Now you see problem instance:\n\n#Instruction\n...\n\n#Code\ny = f(x)\n\n"
        f"#Variables\n{shown}\n\n#Constraints\n\n\n#Inputs\n\n\n#Others\n{evidence}\n\n#Feedback\n{evidence}\n"
    )
    reply = answer(system, user, **more)
    return reply, {} if reply.text == "TERMINATE" else json.loads(reply.text)["suggestion"]


def langmem(old, evidence, **more):
    user = (
        f"<current_prompt>\n{old}\n</current_prompt>\n\n<hypotheses>\n{evidence}\n</hypotheses>\n\n"
        "<recommendations>\n...\n</recommendations>"
    )
    reply = answer("", user, tools=("OptimizedPromptOutput",), **more)
    (name, values) = reply.calls[0]
    assert name == "OptimizedPromptOutput"
    return reply, values["improved_prompt"]


def one_variable(old, evidence, **more):
    reply, new = optoprime({"it": old}, evidence, **more)
    return reply, new.get("prompt_it", old)


def dspy_markers(old, evidence, **more):
    return dspy(old, evidence, as_json=False, name="proposed_instruction", **more)


REWRITES = [gepa, dspy, dspy_markers, textgrad, adalflow, langmem, one_variable]


@pytest.mark.parametrize("rewrite", REWRITES)
@pytest.mark.parametrize("node", NODES, ids=lambda it: it.name)
class TestRewriting:
    def test_the_nodes_own_failure_gives_its_instruction(self, rewrite, node):
        evidence = f"{said(node.name, {node.name})}\n{verdict({node.name})}"
        reply, new = rewrite(node.prompt, evidence)
        assert new == f"{node.prompt}\n{node.instruction}"
        assert reply.kind == "proposal"

    def test_another_nodes_failure_leaves_it_alone(self, rewrite, node):
        other = next(it for it in NODES if it is not node)
        _, new = rewrite(node.prompt, f"{said(other.name, {other.name})}\n{verdict({other.name})}")
        assert new == node.prompt

    def test_no_failure_leaves_it_alone(self, rewrite, node):
        _, new = rewrite(node.prompt, f"{said(node.name, ())}\nright")
        assert new == node.prompt

    def test_the_failure_without_the_expected_answer_gives_no_instruction(self, rewrite, node):
        _, new = rewrite(node.prompt, said(node.name, {node.name}))
        assert not node.holds(new)

    def test_a_failure_whose_cause_is_not_shown_gives_advice(self, rewrite, node):
        _, new = rewrite(node.prompt, f"expected {CASE.answer}, got nothing")
        assert new.startswith(f"{node.prompt}\n")
        assert not TASK.named(new)

    def test_in_the_null_world_nothing_is_known(self, rewrite, node):
        task = Task(Kind.NULL, seed=3)
        case = next(it for it in task.splits["train"] if len(it.needs) == len(NODES))
        bad = task.said(case, node.name, frozenset({node.name}))
        _, new = rewrite(node.prompt, f"{bad}\nexpected {case.answer}, got {bad}", task=task)
        assert not task.named(new)

    def test_feedback_that_is_carried_is_enough(self, rewrite, node):
        _, new = rewrite(node.prompt, f"The prompt of {node.name}: {formats.SAY} {node.instruction}")
        assert new == f"{node.prompt}\n{node.instruction}"

    def test_what_it_holds_already_is_not_said_twice(self, rewrite, node):
        old = f"{node.prompt}\n{node.instruction}"
        _, new = rewrite(old, f"{said(node.name, {node.name})}\n{verdict({node.name})}")
        assert new == old

    def test_with_a_salt_every_reply_is_new(self, rewrite, node):
        if rewrite is one_variable:
            assert rewrite(node.prompt, "right", salt="note 1")[0].text == "TERMINATE"
            return
        old = f"{node.prompt}\n{node.instruction}"
        news = {rewrite(old, "right", salt=f"note {at}")[1] for at in range(3)}
        assert len(news) == 3
        assert all(new.startswith(old) for new in news)


def gradient(system, prompt, given, output, feedback):
    user = (
        f"Here is a conversation with a language model (LM):\n\n<LM_SYSTEM_PROMPT> {prompt} </LM_SYSTEM_PROMPT>\n\n"
        f"<LM_INPUT> {given} </LM_INPUT>\n\n<LM_OUTPUT> {output} </LM_OUTPUT>\n\n<OBJECTIVE_FUNCTION>Your goal is to give "
        f"feedback to the variable to address the following feedback on the LM_OUTPUT: {feedback} </OBJECTIVE_FUNCTION>"
    )
    return answer(system, user)


BACKWARD = "You are part of an optimization system. You are the gradient (feedback) engine. Only provide feedback."


class TestTextGrad:
    def test_a_chain_of_gradients_reaches_the_first_node(self):
        failed = frozenset({"read"})
        first = answer(
            BACKWARD,
            f"<INPUTS_TO_FUNCTION> **Prediction**: {said('reply', failed)}\n\n**Ground truth answer**: {CASE.answer} "
            "</INPUTS_TO_FUNCTION>\n\n<OUTPUT_OF_FUNCTION> 0 </OUTPUT_OF_FUNCTION>",
        )
        assert CASE.answer in first.text
        assert not TASK.named(first.text)
        feedback = first.text
        for node, before in (
            ("reply", said("price", failed)),
            ("price", said("read", failed)),
            ("read", CASE.question),
        ):
            reply = gradient(BACKWARD, TASK.nodes[node].prompt, before, said(node, failed), feedback)
            assert reply.kind == "gradient"
            feedback = reply.text
        assert [it.name for it in TASK.named(feedback)] == ["read"]
        _, new = textgrad(TASK.nodes["read"].prompt, feedback)
        assert TASK.nodes["read"].holds(new)

    def test_a_right_answer_gets_no_feedback(self):
        reply = gradient(BACKWARD, NODES[0].prompt, CASE.question, said("read", ()), "")
        assert reply.text == formats.NOTHING

    def test_a_variable_that_textgrad_cut_is_restored_from_the_conversation(self):
        node = NODES[0]
        whole = f"{node.prompt} {'Be brief and friendly. ' * 8}Sign with your name."
        words = whole.split(" ")
        shown = f"{' '.join(words[:10])} (...) {' '.join(words[-10:])}"
        evidence = f"{said(node.name, {node.name})}\n{verdict({node.name})}"
        _, new = textgrad(whole, evidence, shown=shown)
        assert new == f"{whole}\n{node.instruction}"

    def test_summaries_of_feedback_carry_what_was_named(self):
        system = "Your only responsibility is to critically aggregate and summarize the feedback from sources."
        told = f"The prompt of read: {formats.SAY} {NODES[0].instruction}"
        assert NODES[0].instruction in answer(system, f"<FEEDBACK>{told}</FEEDBACK>").text


class TestDspy:
    SYSTEM = f"Your input fields are: ... your objective is: \n        {NODES[0].prompt}"

    @pytest.mark.parametrize("as_json", [False, True])
    def test_a_node_gets_its_input_and_answers_in_the_field_that_is_asked_for(self, as_json):
        wanted = (
            "Respond with a JSON object in the following order of fields: `reply`."
            if as_json
            else "Respond with the corresponding output fields, starting with the field `[[ ## reply ## ]]`, "
            "and then ending with the marker for `[[ ## completed ## ]]`."
        )
        human = f"{NODES[0].marker}\n{CASE.question}"
        user = f"[[ ## request ## ]]\n{human}\n\n{wanted}"
        demo = [{"role": "user", "content": "[[ ## request ## ]]\nother"}, {"role": "assistant", "content": "..."}]
        messages = [{"role": "system", "content": self.SYSTEM}, *demo, {"role": "user", "content": user}]
        call = formats.read_call({"messages": messages})
        assert (call.human, call.outputs, call.as_json) == (human, ("reply",), as_json)
        assert NODES[0].prompt in call.system
        text = formats.answer_call(call, "EUR 1.00")
        assert (
            (json.loads(text) == {"reply": "EUR 1.00"}) if as_json else text.startswith("[[ ## reply ## ]]\nEUR 1.00\n")
        )

    def test_other_fields_are_feedback_in_words(self):
        user = (
            "[[ ## program_code ## ]]\n...\n\nRespond with the corresponding output fields, starting with the field "
            "`[[ ## program_description ## ]]`, and then ending with the marker for `[[ ## completed ## ]]`."
        )
        reply = answer("...", user)
        assert reply.kind == "other"
        assert reply.text == f"[[ ## program_description ## ]]\n{formats.NOTHING}\n\n[[ ## completed ## ]]"


class TestOptoPrime:
    OLDS: ClassVar = {node.name: node.prompt for node in NODES}

    def test_all_prompts_that_lack_something_are_suggested_together(self):
        failed = {"read", "reply"}
        evidence = "\n".join([said("read", {"read"}), said("reply", failed), verdict(failed)])
        _, new = optoprime(self.OLDS, evidence)
        assert set(new) == {"prompt_read", "prompt_reply"}

    def test_it_ends_if_nothing_fails(self):
        assert optoprime(self.OLDS, "right")[0].text == "TERMINATE"

    def test_a_text_of_several_lines_is_read_whole(self):
        olds = {**self.OLDS, "read": f"{NODES[0].prompt}\nBe brief.\nBe kind."}
        _, new = optoprime(olds, f"{said('read', {'read'})}\n{verdict({'read'})}")
        assert new == {"prompt_read": f"{olds['read']}\n{NODES[0].instruction}"}

    def test_no_text_has_the_letters_that_make_trace_run_a_code_formatter(self):
        texts = [
            text for kind in Kind for node in Task(kind).nodes.values() for text in (node.prompt, node.instruction)
        ]
        advice = [Critic(TASK, str(at)).advice() for at in range(200)]
        assert not [text for text in (*texts, *advice) if "def" in text]


class TestAdalFlow:
    def test_signs_of_xml_in_a_prompt_survive(self):
        old = f"{NODES[0].prompt} Tea & mugs are < 5 > 3."
        evidence = f"{said('read', {'read'})}\n{verdict({'read'})}"
        assert adalflow(old, evidence)[1] == f"{old}\n{NODES[0].instruction}"

    def test_feedback_on_one_variable_and_on_several(self):
        system = "You MUST determining the root cause of a system error."
        evidence = f"{said('read', {'read'})}\n{verdict({'read'})}"
        one = answer(system, evidence)
        assert NODES[0].instruction in one.text
        listed = "<VARIABLES>\nLength of the list: 2\n1.\nNAME: a,\nTYPE: t\n2.\nNAME: b,\nTYPE: t\n</VARIABLES>"
        several = answer(f"{system} a list of strings with the SAME LENGTH as", f"{listed}\n{evidence}")
        assert json.loads(several.text) == [one.text, one.text]


class TestLangmem:
    EVIDENCE = f"{said('price', {'price'})}\n<FEEDBACK>\n{verdict({'price'})}\n</FEEDBACK>"

    def test_credit_goes_to_the_prompts_that_lack_something_by_their_own_names(self):
        shown = "".join(f"p-{node.name}: {node.prompt}\n" for node in NODES)
        user = (
            f"Analyze the following trajectories\n\n{self.EVIDENCE}\n\nBelow are the prompts being optimized:\n{shown}\n\n"
            'Return JSON with "which": [...], listing the names of prompts that need updates.'
        )
        assert answer("", user, tools=("Classify",)).calls[0][1]["which"] == ["p-price"]
        held = user.replace(NODES[1].prompt, f"{NODES[1].prompt}\n{NODES[1].instruction}")
        assert answer("", held, tools=("Classify",)).calls[0][1]["which"] == []
        assert answer("", held, tools=("Classify",), salt="note 1").calls[0][1]["which"] == []

    def test_it_thinks_and_then_recommends(self):
        user = (
            f"<current_prompt>\n{NODES[1].prompt}\n</current_prompt>\n<trajectories>\n{self.EVIDENCE}\n</trajectories>"
        )
        assert answer("", user, tools=("think", "critique")).calls[0][0] == "think"
        name, values = answer("", user, tools=("think", "critique", "recommend")).calls[0]
        assert (name, values["warrants_adjustment"]) == ("recommend", True)
        assert NODES[1].instruction in values["full_recommendations"]

    def test_it_recommends_nothing_for_a_prompt_that_is_not_at_fault(self):
        user = (
            f"<current_prompt>\n{NODES[0].prompt}\n</current_prompt>\n<trajectories>\n{self.EVIDENCE}\n</trajectories>"
        )
        assert answer("", user, tools=("recommend",)).calls[0][1]["warrants_adjustment"] is False


@given(failed=st.sets(st.sampled_from([node.name for node in NODES])))
def test_every_format_of_feedback_names_the_same(failed):
    shown = "\n".join(said(node.name, failed) for node in NODES)
    evidence = f"{shown}\n{verdict(failed)}"
    system = "You MUST determining the root cause of a system error."
    texts = [
        answer(BACKWARD, evidence).text,
        answer(system, evidence).text,
        answer("", f"<current_prompt>x</current_prompt>{evidence}", tools=("think",)).calls[0][1]["thought"],
    ]
    assert all({it.name for it in TASK.named(text)} == failed for text in texts)


def test_a_request_in_no_peers_format_is_left_to_others():
    assert answer("You are kind.", "Hello") is None
    assert answer("You are kind.", "Hello", tools=("look_up",)) is None
