"""Feedback is split: what is about a prompt stays with it, and only what is about what it was given goes upstream."""

from __future__ import annotations

import re
from typing import TypedDict

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph

from textgrad_lg.autograd import backward, seed
from textgrad_lg.example import Score
from textgrad_lg.record import discover, record
from textgrad_lg.testing import ScriptedChatModel, SimulatedChatModel, TraceBuilder
from textgrad_lg.testing.models import Rule
from textgrad_lg.types import Strategy

from .helpers import chain, critic
from .parts import part, parts, step

CHAIN, FUSED, STRUCTURAL = Strategy.CHAIN, Strategy.FUSED, Strategy.STRUCTURAL


def texts(gradients) -> dict[str, list[str]]:
    return {str(site): [g.text for g in found] for site, found in gradients.parameters().items()}


async def test_what_is_about_a_prompt_is_in_no_request_upstream():
    def reply(messages):
        name = re.search(r"model call in `(n\d+)`", messages[-1].text)[1]
        return {
            "about_this": [{"id": "P1", "feedback": f"THIS {name}"}],
            "about_inputs": [{"id": "V1", "feedback": f"GIVEN {name}"}],
        }

    model = critic(reply)
    gradients = await backward(chain(12), model, strategy=CHAIN)
    assert texts(gradients) == {f"n{at}/system": [f"THIS n{at}"] for at in reversed(range(12))}
    for at, request in zip(reversed(range(11)), model.requests[1:], strict=True):
        assert "THIS" not in request.messages[-1].text
        assert part(request, "feedback on it") == f"- GIVEN n{at + 1} (score 0, 1 example)"
    assert not [g for g in gradients if g.site is None and "THIS" in g.text]


async def test_what_is_about_the_inputs_stays_off_the_prompt():
    replies = [{"about_this": [], "about_inputs": [{"id": "V1", "feedback": "Deliver a city."}]}]
    model = critic([*replies, {"about_this": [{"id": "P1", "feedback": "Name a city."}], "about_inputs": []}])
    gradients = await backward(chain(2), model, strategy=CHAIN)
    assert texts(gradients) == {"n0/system": ["Name a city."]}


@pytest.mark.parametrize(
    ("reply", "kept", "name"),
    [
        (
            {
                "about_this": [{"id": "P1", "feedback": "Ask for a city."}],
                "about_inputs": [{"id": "P1", "feedback": "It should have been given the country."}],
            },
            {"n1/system": ["Ask for a city."]},
            "P1",
        ),
        ({"about_this": [{"id": "V1", "feedback": "Say it in English."}], "about_inputs": []}, {}, "V1"),
    ],
)
async def test_feedback_whose_heading_and_id_contradict_each_other_blames_nobody(reply, kept, name):
    model = critic([reply])
    gradients = await backward(chain(2), model, strategy=CHAIN)
    assert texts(gradients) == kept
    (failure,) = gradients.failures
    assert failure.startswith(f"`n1` (s4): the model put feedback on {name} under the wrong heading")


# A world in which one of three prompts is at fault, and a critic that says only what the request lets it see

NUMBER = "A-17"
KEEP = "Keep the order number."


class State(TypedDict, total=False):
    letter: str
    facts: str
    summary: str
    answer: str


NODES = {"extract": ("letter", "facts"), "condense": ("facts", "summary"), "reply": ("summary", "answer")}


def world(fault: str):
    """A graph of three calls that drop the order number unless their prompt says to keep it; all but `fault` do."""

    def drop(messages):
        return messages[-1].text.replace(NUMBER, "").strip()

    model = SimulatedChatModel(answer=drop, rules=[Rule(KEEP, lambda _, messages: messages[-1].text)])
    graph = StateGraph(State)
    for name, (source, target) in NODES.items():
        prompt = f"You are the step {name}. {'' if name == fault else KEEP}".strip()
        graph.add_node(name, call(model, prompt, source, target))
    for before, after in zip([START, *NODES], [*NODES, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile()


def call(model, prompt, source, target):
    def node(state: State):
        return {target: model.invoke([SystemMessage(prompt), HumanMessage(state[source])]).text}

    return node


def judged(fault: str, order: str = NUMBER):
    with record(example="e1") as recording:
        world(fault).invoke({"letter": f"My order {order} has not come."})
    score = Score("names_order", 0.0, f"expected {NUMBER}", ("answer",), {"answer": NUMBER})
    return seed(discover([recording.trace]).label(recording.trace), [score])


def truthful():
    """Blames a prompt where the number was given and is missing from what was made; what was given where it lacked it."""

    def reply(messages):
        request = type("Request", (), {"messages": messages})
        if "<<<DATA P1" in messages[-1].text and "about_this" not in messages[0].text:
            return {"feedback": in_run(request)}
        given = {label: text for label, text in parts(request).items() if re.match(r"V\d+:|the rest", label)}
        if any(NUMBER in text for text in given.values()):
            lost = NUMBER not in part(request, "reply of the call")
            return {"about_this": [{"id": "P1", "feedback": KEEP}] if lost else [], "about_inputs": []}
        lacking = [{"id": label.split(":")[0], "feedback": f"It lacks {NUMBER}."} for label in given if label[0] == "V"]
        return {"about_this": [], "about_inputs": lacking}

    return ScriptedChatModel(replies=reply)


def in_run(request) -> list[dict[str, str]]:
    """The same on a whole run: the first result that lacks the number though what it was made from has it."""
    shown = {re.match(r"\w+", label)[0]: (label, text) for label, text in parts(request).items() if label[0] in "PSG"}
    first = part(request, "input of the whole system")
    for label, text in shown.values():
        sources = re.findall(r"\b[PSG]\d+", label.partition(", from ")[2])
        given = [shown[name][1] for name in sources if name[0] in "SG"] or [first]
        if label[0] == "S" and NUMBER not in text and any(NUMBER in other for other in given):
            return [{"id": name, "feedback": KEEP} for name in sources if name[0] == "P"]
    return []


@pytest.mark.parametrize("strategy", [CHAIN, FUSED])
@pytest.mark.parametrize("fault", NODES)
async def test_the_gradient_is_at_the_prompt_at_fault_and_at_no_other(fault, strategy):
    model = truthful()
    gradients = await backward(judged(fault), model, strategy=strategy)
    assert texts(gradients) == {f"{fault}/system": [KEEP]}
    assert gradients.failures == ()
    assert all((g.example, g.score) == ("e1", 0.0) for g in gradients)
    # The chain stops at the fault: what lies upstream of it is not asked about.
    reached = [*NODES][[*NODES].index(fault) :]
    assert len(model.requests) == (len(reached) if strategy is CHAIN else 1)
    if strategy is CHAIN:
        assert [step(request) for request in model.requests] == reached[::-1]


@pytest.mark.parametrize("strategy", [CHAIN, FUSED])
async def test_where_the_run_was_never_given_it_no_prompt_is_blamed(strategy):
    gradients = await backward(judged("none", order="that I wrote about"), truthful(), strategy=strategy)
    assert texts(gradients) == {}


async def test_without_a_model_the_blame_is_on_all_of_them():
    gradients = await backward(judged("extract"), strategy=STRUCTURAL)
    assert list(texts(gradients)) == ["reply/system", "condense/system", "extract/system"]


def turns(lost: int):
    """A loop of five visits; on one of them the number is lost, and nobody can bring it back."""
    build = TraceBuilder("loop", example="e1")
    text = build.input("text", f"Order {NUMBER}.")
    for visit in range(5):
        said = f"Visit {visit}: order {NUMBER if visit < lost else ''}."
        text = build.llm("revise", reads=[text], prompts={"revise/system": "Revise."}, reply=said)
    return seed(build.finish({"text": text}), [Score("names_order", 0.0, "no number")])


@pytest.mark.parametrize("lost", range(5))
async def test_in_a_loop_the_visit_at_fault_is_blamed_alone(lost):
    gradients = await backward(turns(lost), truthful(), strategy=CHAIN)
    ((found,),) = gradients.parameters().values()
    trace = turns(lost)
    assert (trace.span_by_id[found.span].visit, found.text) == (lost, KEEP)
    model = critic([{"feedback": [{"id": f"P1@S{lost + 1}", "feedback": KEEP}]}])
    fused = await backward(trace, model, strategy=FUSED)
    assert [(g.variable, g.span, g.text) for g in fused] == [(found.variable, found.span, KEEP)]
