"""Test-time optimisation inside a graph: what is to be solved is a Parameter, for one example."""

from __future__ import annotations

import re
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime

import textgrad_lg.eager as tg
from tests.eager.support import fixed, text
from tests.eager.test_twins import world
from textgrad_lg import TGD, Prompt
from textgrad_lg.autograd import backward, seed
from textgrad_lg.eager.autograd.string_based_ops import StringBasedFunction
from textgrad_lg.example import Score
from textgrad_lg.optim import StepContext
from textgrad_lg.overlay import Replacement, overlay
from textgrad_lg.record import discover, record
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.types import Strategy

QUESTION = "How many legs have two spiders and one bee?"


class State(TypedDict, total=False):
    question: str
    answer: str
    verdict: str


class Given(TypedDict):
    answer: str


def examine(messages):
    """A judge that finds the first wrong step, and does not know the result."""
    shown = messages[-1].text
    if "6 legs" in shown:
        return "A spider has more legs than that."
    return "The bee is missing." if "bee" not in shown.partition("Answer:")[2] else "No fault found."


def judging(llm, read):
    def judge(state: State, runtime: Runtime[Given]):
        asked = f"{state['question']}\nAnswer: {read(state, runtime)}"
        return {"verdict": llm.invoke([SystemMessage("You examine answers."), HumanMessage(asked)]).text}

    graph = StateGraph(State, context_schema=Given)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    return graph.compile(name="examination")


def mend(old, feedback):
    if "more legs" in feedback:
        return old.replace("6 legs", "8 legs").replace("12", "16")
    return f"{old}, and a bee has 6, so 22" if "bee is missing" in feedback else old


@pytest.mark.parametrize("door", ["state", "context"])
def test_an_answer_in_the_state_or_the_context_is_solved_by_the_graphs_own_judge(door):
    llm = ScriptedChatModel(replies=examine)
    graph: Any = judging(llm, lambda state, runtime: state["answer"] if door == "state" else runtime.context["answer"])

    def run(question, answer):
        given = {"answer": answer.value}
        if door == "context":
            return graph.invoke({"question": question.value}, context=given)["verdict"]
        return graph.invoke({"question": question.value, **given})["verdict"]

    engine = world(
        lambda messages: "",
        lambda request: next((s for s in ("A spider has more legs", "The bee is missing") if s in request), ""),
        mend,
    )
    examined = StringBasedFunction(run, "examines the answer, and names the first wrong step")
    answer = text("A spider has 6 legs, so two have 12", "answer to the question")
    optimizer = tg.TGD([answer], engine=engine)
    iterates = []
    for _ in range(4):
        optimizer.zero_grad()
        verdict = examined({"question": fixed(QUESTION, "question"), "answer": answer})
        iterates.append(tg.Variable(answer.value, role_description="iterate"))
        if verdict.value != "No fault found.":
            verdict.backward(engine)
            optimizer.step()
    assert answer.value == "A spider has 8 legs, so two have 16, and a bee has 6, so 22"
    voted = tg.majority_vote(iterates, lambda said: (re.findall(r"so (\d+)", said) or [None])[-1])
    assert voted.value == answer.value
    assert len(llm.requests) == 4


@pytest.mark.parametrize("strategy", [Strategy.CHAIN, Strategy.FUSED])
async def test_an_answer_held_by_name_is_solved_step_by_step_on_one_example(strategy):
    """The same by the parts that `optimize` is made of: a handle, a recorded run, a reverse pass, a step, an overlay."""
    draft = Prompt("answer", default="A spider has 6 legs, so two have 12", slots=())
    graph = judging(ScriptedChatModel(replies=examine), lambda state, runtime: str(draft))

    def critic(messages):
        request = messages[-1].text
        if "alternatives" in messages[0].text or "alternative" in request:
            shown = re.search(r"<<<DATA the text now [0-9a-f]+>>>\n(.*?)\n<<<END", request, re.DOTALL)
            old = shown[1] if shown else ""
            said = "more legs" if "more legs" in request and "6 legs" in old else "bee is missing"
            return {"alternatives": [{"why": "asked for", "text": mend(old, said)}]}
        found = re.search(r"<<<DATA (P\d): prompt `answer`", request)
        advice = next((s for s in ("A spider has more legs", "The bee is missing") if s in request), "")
        items = [{"id": found[1], "feedback": advice}] if found and advice else []
        return {"feedback": items, "about_this": items, "about_inputs": []}

    model = ScriptedChatModel(replies=critic)
    texts: dict = {}
    verdicts = []
    for _ in range(3):
        with overlay(texts), record() as recording:
            verdicts.append(graph.invoke({"question": QUESTION}, context={"answer": ""})["verdict"])
        (trace,) = recording.traces
        found = discover([trace], graph, only=["prompts:answer"])
        done = verdicts[-1] == "No fault found."
        scored = seed(found.label(trace), [Score("judge", float(done), verdicts[-1], ("verdict",))])
        if done:
            break
        gradients = await backward(scored, model, strategy=strategy, goal="Answer the question.")
        now = {draft.site: texts[draft.site].new if draft.site in texts else draft.own}
        proposals = await TGD(proposals=1).propose(StepContext(now, gradients, model=model))
        (update,) = proposals.updates
        texts = {draft.site: Replacement(draft.own, update.new)}
    assert verdicts == ["A spider has more legs than that.", "The bee is missing.", "No fault found."]
    assert texts[draft.site].new.text.endswith("so 22")
