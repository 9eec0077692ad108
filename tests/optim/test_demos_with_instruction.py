"""An instruction and the demonstrations beside it are optimised together: neither is lost to the other."""

from __future__ import annotations

from typing import TypedDict

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from textgrad_lg import TGD, Evals, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.optim import Demos, Joint, StepContext
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.site import Site
from textgrad_lg.testing import Rule, ScriptedChatModel, SimulatedChatModel

ALONE = "Reply with one word."
SITE = Site(("label",), "system")
SHOWN = Demo((("human", "a dull book"),), "bad")


class State(TypedDict, total=False):
    text: str
    label: str


def label_model():
    """Says its label at length unless told otherwise, and knows what is meant of a book only where it was shown one."""

    def answer(messages):
        given = messages[-1].text
        books = any("book" in message.text for message in messages[:-1] if message.type == "human")
        known = "film" in given or books
        return f"I would say: {'good' if 'fine' in given and known else 'bad' if known else 'neutral'}"

    return SimulatedChatModel(answer=answer, rules=[Rule(ALONE, lambda reply, _: reply.rpartition(": ")[2])])


def labelling(model):
    def label(state: State):
        return {"label": model.invoke([SystemMessage("You label texts."), HumanMessage(state["text"])]).text}

    graph = StateGraph(State)
    graph.add_node("label", label)
    graph.add_edge(START, "label")
    return graph.compile(name="labels")


def data(count=48):
    kinds = [(word, what) for word in ("fine", "dull") for what in ("film", "book")]
    return [
        {
            "inputs": {"text": f"a {kinds[at % 4][0]} {kinds[at % 4][1]}, number {at}"},
            "reference_outputs": {"label": "good" if kinds[at % 4][0] == "fine" else "bad"},
        }
        for at in range(count)
    ]


def right(outputs, reference_outputs):
    return outputs["label"] == reference_outputs["label"], ALONE


def test_steps_bring_an_instruction_and_demonstrations_to_one_prompt():
    """Each alone leaves half of the examples wrong, or all of them; both together leave none."""
    model = label_model()
    result = optimize(
        labelling(model),
        Evals(data(), [right]),
        optimizer=TGD(proposals=8),
        settings=Settings(steps=4, batch=8, strategy=Strategy.STRUCTURAL),
        registry=MemoryRegistry(),
    )
    new = result.texts[SITE].new
    assert ALONE in new.text
    assert any("book" in dict(demo.inputs)["human"] for demo in new.demos)
    assert (result.validation.before, result.validation.after) == (0.0, 1.0)
    assert result.test.after == 1.0
    model.requests.clear()
    assert result.graph.invoke({"text": "a fine book"})["label"] == "good"
    (request,) = model.requests
    assert ALONE in request.messages[0].text
    assert "book" in str(request)


def context(template, model=None, demos=(SHOWN,)):
    blame = Gradient("v", ALONE, "s1", "t1", score=0.0, site=SITE)
    return StepContext({SITE: template}, Gradients((blame,)), model=model, demos={SITE: tuple(demos)})


def writer():
    def reply(messages):
        text = f"You label texts. {ALONE}"
        if "plans" in messages[0].text or "plan" in messages[-1].text:
            return {"plans": [{"why": "asked for", "edits": [{"parameter": "P1", "replacement": text}]}]}
        return {"alternatives": [{"why": "asked for", "text": text}]}

    return ScriptedChatModel(replies=reply)


@pytest.mark.parametrize("optimizer", [TGD(), Joint()])
async def test_a_new_instruction_keeps_the_demonstrations(optimizer):
    template = Template("You label texts.", demos=(SHOWN,))
    proposals = await optimizer.propose(context(template, writer()))
    told = [update for update in proposals.updates if ALONE in update.new.text]
    assert told
    assert {update.new.demos for update in told} == {(SHOWN,)}


async def test_new_demonstrations_keep_the_instruction():
    template = Template(f"You label texts. {ALONE}", demos=(SHOWN,))
    more = Demo((("human", "a fine book"),), "good")
    proposals = await TGD(proposers=[Demos()]).propose(context(template, demos=(SHOWN, more)))
    assert proposals.updates
    assert {update.new.text for update in proposals.updates} == {template.text}
    assert {more, SHOWN} == set(proposals.updates[-1].new.demos)
