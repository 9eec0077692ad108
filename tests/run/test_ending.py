"""The end of a run: the test set is paid for from what was kept back, and decides what is published."""

from __future__ import annotations

from dataclasses import replace

import pytest
from inline_snapshot import snapshot
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from tests.run import worlds
from textgrad_lg import Budget, Evals, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg.errors import TemplateError
from textgrad_lg.optim import Proposals
from textgrad_lg.run.gate import minibatch_gate, validation_gate
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.types import Phase
from textgrad_lg.update import Update

SETTINGS = Settings(steps=2, batch=6, concurrency=8, strategy=Strategy.STRUCTURAL)


def graph_of(model, calls=lambda review: 1):
    """One node; `calls` says how often it calls its model for a review."""

    def judge(state: worlds.State):
        prompt = [SystemMessage(worlds.JUDGE), HumanMessage(state["review"])]
        replies = [model.invoke(prompt).text for _ in range(calls(state["review"]))]
        return {"page": f"<p>{replies[-1]}</p>"}

    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    return graph.compile(name="one")


def split_reviews():
    """Ten reviews a split, which their number tells: train below 10, validation below 20, test from 20 on."""
    names = ["train"] * 10 + ["validation"] * 10 + ["test"] * 10
    return [{**each, "metadata": {"split": name}} for each, name in zip(worlds.reviews(30), names, strict=True)]


def number(review):
    return int(review.split()[-1])


def half_right(outputs, reference_outputs):
    return 0.5 if outputs["page"] == reference_outputs["page"] else 0.0, worlds.WANTED


class Proposer:
    """Proposes what helps in the first step, and does `later` in each further one."""

    proposals = 1

    def __init__(self, later=None):
        self.later = later

    async def propose(self, context):
        if context.step > 1:
            if self.later is not None:
                await self.later()
            return Proposals()
        (site,) = [site for site in context.parameters if site.role == "system"]
        old = context.parameters[site]
        return Proposals((Update(site, old, replace(old, text=f"{old.text} {worlds.WANTED}"), "it helps", "test"),))


def run(graph, evaluator=half_right, **options):
    options = {"registry": MemoryRegistry(), "settings": SETTINGS, "optimizer": Proposer()} | options
    return optimize(graph, Evals(split_reviews(), [evaluator]), **options)


def test_what_is_kept_back_is_enough_for_one_call_at_a_time_where_not_for_eight():
    big = ScriptedChatModel(
        replies=[AIMessage("x", usage_metadata={"input_tokens": 1, "output_tokens": 22_000, "total_tokens": 22_001})]
    )

    async def burn():
        await big.ainvoke("x")

    # Eight calls side by side reserve 33,000 tokens; after the second step some 20,000 are left.
    result = run(graph_of(worlds.review_model()), optimizer=Proposer(burn), budget=Budget(tokens=45_000))
    assert len(big.requests) == 1
    assert result.improved
    assert result.test.n == 10
    total = result.spend.total
    assert total.input_tokens + total.output_tokens <= 45_000


def test_a_test_set_that_costs_more_than_was_measured_and_cannot_be_paid_for():
    model = worlds.review_model()
    result = run(graph_of(model, lambda review: 9 if number(review) >= 20 else 1), budget="80 calls")
    assert "the test set could not be paid for (the budget of 80 calls does not allow this call" in result.reason
    assert result.reason.endswith("graph unchanged")
    assert (result.improved, result.test, result.published) == (False, None, {})
    assert result.texts
    assert result.validation.after == 0.5
    assert len(model.requests) <= 80


def test_no_significant_gain_on_the_test_set_publishes_nothing():
    def evaluator(inputs, outputs, reference_outputs):
        return 0.0 if number(inputs["review"]) >= 20 else half_right(outputs, reference_outputs)[0]

    result = run(graph_of(worlds.review_model()), evaluator)
    assert result.reason == "took 2 steps; no significant improvement; graph unchanged"
    assert (result.improved, result.published) == (False, {})
    assert result.test.difference == 0.0
    assert result.validation.difference == 0.5


def test_the_summary_has_both_gains_the_tags_and_what_became_of_the_graph():
    def lucky(inputs, outputs, reference_outputs):
        good = half_right(outputs, reference_outputs)[0] > 0
        return good and number(inputs["review"]) < 22

    examples = [
        {**each, "metadata": {**each["metadata"], "tag": "long" if at % 2 else "short"}}
        for at, each in enumerate(split_reviews())
    ]
    result = optimize(
        graph_of(worlds.review_model()),
        Evals(examples, [lucky]),
        registry=MemoryRegistry(),
        settings=SETTINGS,
        optimizer=Proposer(),
    )
    summary = result.summary().splitlines()
    assert (result.improved, result.graph.get_graph().nodes.keys()) == (False, {"__start__", "judge", "__end__"})
    assert "\n".join(line for line in summary if "calls" not in line) == snapshot("""\
test 0.00 -> 0.20, difference +0.20, 95 % interval [-0.15, +0.48], p = 0.5, n = 10
stopped after step 1: all 10 validation examples pass, so no edit could be proven to be better; no significant improvement; graph unchanged
validation 0.00 -> 1.00, difference +1.00, 95 % interval [+0.52, +1.00], p = 0.002, n = 10
gain on validation +1.00, on test +0.20: it shrank by 0.80, more than chance explains (p = 0.0006). The edit was chosen for its gain on validation, and a part of that was luck (the winner's curse); believe the gain on test
tag long: 0.00 -> 0.20, [-0.33, +0.62], p = 1, n = 5
tag short: 0.00 -> 0.20, [-0.33, +0.62], p = 1, n = 5\
""")


def test_an_edit_that_makes_runs_longer_has_more_kept_back():
    class Longer(Proposer):
        async def propose(self, context):
            found = await super().propose(context)
            return Proposals(
                tuple(
                    replace(update, new=replace(update.new, text=f"{update.new.text} {'Be kind. ' * 400}"))
                    for update in found.updates
                )
            )

    # Without more kept back, the second step spends what the longer prompt's test needs.
    async def burn():
        big = ScriptedChatModel(replies=lambda messages: "x" * 8_000)
        for _ in range(1000):
            await big.ainvoke("x")

    result = run(graph_of(worlds.review_model()), optimizer=Longer(burn), budget=Budget(tokens=70_000))
    assert result.reason.startswith("stopped in step 2: the budget of 70,000 tokens")
    assert result.improved
    assert result.spend.phases[Phase.TEST].input_tokens > 8_000


def test_an_edit_refused_by_code_is_a_decision_too():
    class Refused(Proposer):
        async def propose(self, context):
            found = await super().propose(context)
            return Proposals((), tuple((update, "it is too long") for update in found.updates))

    result = run(graph_of(worlds.review_model()), optimizer=Refused())
    (gated,) = result.decisions
    assert (gated.gate, gated.accepted, gated.reason, gated.n) == ("edit", False, "it is too long", 0)


def test_an_optimizer_that_raises_ends_the_run_with_its_own_exception():
    error = TemplateError("mine")

    async def broken():
        raise error

    with pytest.raises(TemplateError) as raised:
        run(graph_of(worlds.review_model()), optimizer=Proposer(broken))
    assert raised.value is error
    assert "1 accepted edit, labelled 'candidate'" in error.__notes__[-1]


def test_a_graph_that_cannot_be_started():
    result = run(graph_of(worlds.review_model()), config={"recursion_limit": 0})
    assert result.reason.startswith("the graph raised on every example before a prompt was seen, first: ValueError")


@pytest.mark.parametrize("gate", [minibatch_gate, lambda *scores: validation_gate(*scores, alpha=0.05, seed=0)])
def test_a_gate_that_can_compare_nothing_says_so(gate):
    verdict = gate({"a": None, "b": 1.0}, {"a": 1.0, "b": None})
    assert not verdict.accepted
    assert verdict.change is None
    assert "could be judged both times" in verdict.reason
