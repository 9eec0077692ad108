"""Replay inside `optimize`: rollouts pay for what an edit changes, and everything else stays as it was."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import TypedDict

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph

from tests.run import worlds
from textgrad_lg import Evals, MemoryRegistry, Settings, Site, Strategy, optimize
from textgrad_lg.errors import DataError, JournalError
from textgrad_lg.events import ExampleScored
from textgrad_lg.testing import Rule, SimulatedChatModel
from textgrad_lg.types import Phase, Tools

SETTINGS = Settings(steps=1, batch=6, strategy=Strategy.STRUCTURAL)


class Six(TypedDict, total=False):
    review: str
    text: str


def six_nodes(model):
    """n1 -> ... -> n6, each told the text of the one before."""
    graph = StateGraph(Six)
    for at in range(1, 7):

        def node(state, at=at):
            given = state.get("text", state["review"])
            return {"text": model.invoke([SystemMessage(f"You are step {at}."), HumanMessage(given)]).text}

        graph.add_node(f"n{at}", node)
        graph.add_edge(START if at == 1 else f"n{at - 1}", f"n{at}")
    graph.add_edge("n6", END)
    return graph.compile(name="six")


def counting_steps():
    """Adds its step to what it is given; the fifth is loud where it was told to be."""
    return SimulatedChatModel(
        answer=lambda messages: f"{messages[-1].text}+{messages[0].text.split('.')[0][-1]}",
        rules=[Rule("Expected: LOUD", lambda reply, _: reply.upper())],
    )


def loud(outputs, reference_outputs):
    return outputs["text"][:-2].isupper(), "Expected: LOUD"


def llm_spans(event):
    return [span for span in event.trace.spans if span.kind == "llm"]


def test_a_candidate_that_changes_the_fifth_of_six_nodes_pays_for_two_calls_an_example():
    model, events = counting_steps(), []
    result = optimize(
        six_nodes(model),
        Evals(worlds.reviews(24), [loud]),
        registry=MemoryRegistry(),
        settings=SETTINGS,
        callbacks=[events.append],
        optimize_only=["n5"],
    )
    assert result.improved
    assert [str(site) for site in result.texts] == ["n5/system"]
    rollouts = [event for event in events if isinstance(event, ExampleScored) and not event.cached]
    paid = {"original": 0, "changed": 0}
    for event in rollouts:
        asked = [str(span.path[0]) for span in llm_spans(event) if "replayed" not in span.attributes]
        assert len(llm_spans(event)) == 6
        # The sixth is not asked again where the edit has changed nothing in what the fifth says.
        allowed = (["n1", "n2", "n3", "n4", "n5", "n6"],) if event.candidate == "original" else (["n5", "n6"], ["n5"])
        assert asked in allowed
        paid["original" if event.candidate == "original" else "changed"] += len(asked)
    assert {event.candidate for event in rollouts} > {"original"}
    proposals = result.spend.phases[Phase.PROPOSAL].calls
    assert sum(paid.values()) + proposals == len(model.requests) == result.spend.total.calls


def test_without_replay_every_rollout_makes_all_its_calls_and_decides_the_same():
    results = {}
    for on in (True, False):
        model, events = counting_steps(), []
        results[on] = optimize(
            six_nodes(model),
            Evals(worlds.reviews(24), [loud]),
            registry=MemoryRegistry(),
            settings=replace(SETTINGS, replay=on),
            callbacks=[events.append],
        )
        rollouts = [event for event in events if isinstance(event, ExampleScored) and not event.cached]
        spans = [span for event in rollouts for span in llm_spans(event)]
        paid = sum("replayed" not in span.attributes for span in spans)
        proposals = results[on].spend.phases[Phase.PROPOSAL].calls
        assert paid + proposals == len(model.requests) == results[on].spend.total.calls
        assert (paid == len(spans)) != on
    told = [
        [(gated.update.site, gated.gate, gated.accepted, gated.before, gated.after) for gated in result.decisions]
        for result in results.values()
    ]
    assert told[0] == told[1]
    assert results[True].texts == results[False].texts
    assert results[True].test == results[False].test
    assert results[True].spend.total.calls < results[False].spend.total.calls * 0.7


def test_what_a_rollout_had_asked_when_it_was_cut_off_is_not_paid_for_again(tmp_path):
    whole = counting_steps()
    options = {"settings": replace(SETTINGS, concurrency=1), "optimize_only": ["n5"]}
    expected = optimize(six_nodes(whole), Evals(worlds.reviews(24), [loud]), registry=MemoryRegistry(), **options)

    class Ends(SimulatedChatModel):
        """Is cut off in the middle of a rollout."""

        limit: int = 0

        def _reply(self, messages, at):
            return KeyboardInterrupt() if at == self.limit else super()._reply(messages, at)

    made = counting_steps()
    # In the first rollout, in a candidate's, and in the test set's.
    limits = [4, len(whole.requests) // 2, len(whole.requests) - 3]
    answered = []
    result = None
    for limit in [*limits, -1]:
        model = Ends(answer=made.answer, rules=made.rules, limit=limit - len(answered) if limit >= 0 else -1)
        run = {"registry": MemoryRegistry(), "run_dir": tmp_path / "run", **options}
        if limit >= 0:
            with pytest.raises(KeyboardInterrupt):
                optimize(six_nodes(model), Evals(worlds.reviews(24), [loud]), **run)
            answered += [str(request) for request in model.requests[:-1]]
        else:
            result = optimize(six_nodes(model), Evals(worlds.reviews(24), [loud]), **run)
            answered += [str(request) for request in model.requests]
    assert sorted(answered) == sorted(str(request) for request in whole.requests)
    assert result.texts == expected.texts
    assert result.test == expected.test


# Tools


class Desk:
    """Looks a price up with a tool that costs something, and tells it to the customer."""

    def __init__(self, asks_by="given"):
        self.looked_up: list[str] = []

        @tool
        def price_of(item: str) -> str:
            """The price of an item."""
            self.looked_up.append(item)
            return f"{len(item)} coins"

        def answer(messages):
            system, given = messages[0].text, messages[-1].text
            if system.startswith("You find"):
                return given if asks_by == "given" else f"{given}{len(system)}"
            return f"I think that it costs {given}."

        self.model = SimulatedChatModel(
            answer=answer, rules=[Rule("Expected: the price alone", lambda reply, m: m[-1].text)]
        )

        class Order(TypedDict, total=False):
            item: str
            answer: str

        def find(state: Order):
            item = self.model.invoke([SystemMessage("You find the item."), HumanMessage(state["item"])]).text
            return {"answer": price_of.invoke({"item": item})}

        def tell(state: Order):
            return {"answer": self.model.invoke([SystemMessage("You tell."), HumanMessage(state["answer"])]).text}

        graph = StateGraph(Order)
        graph.add_node("find", find)
        graph.add_node("tell", tell)
        graph.add_edge(START, "find")
        graph.add_edge("find", "tell")
        self.graph = graph.compile(name="desk")

    def optimize(self, **options):
        data = [
            {"inputs": {"item": "a" * (at + 1)}, "reference_outputs": {"answer": f"{at + 1} coins"}} for at in range(40)
        ]
        events = []
        result = optimize(
            self.graph,
            Evals(data, [alone]),
            registry=MemoryRegistry(),
            callbacks=[events.append],
            settings=replace(SETTINGS, **options),
        )
        return result, [event for event in events if isinstance(event, ExampleScored)]


def alone(outputs, reference_outputs):
    return outputs["answer"] == reference_outputs["answer"], "Expected: the price alone"


def test_tools_really_run_unless_they_are_to_be_replayed():
    desk = Desk()
    result, events = desk.optimize()
    assert result.improved
    assert len(desk.looked_up) == sum(not event.cached for event in events) > len(set(desk.looked_up))


@pytest.mark.parametrize("how", ["record", Tools.REPLAY])
def test_where_tools_are_replayed_none_runs_twice_on_an_example(how):
    desk = Desk()
    result, _ = desk.optimize(tools=how)
    assert result.improved
    assert result.unjudged == {}
    assert len(desk.looked_up) == len(set(desk.looked_up))


def test_a_candidate_that_calls_a_tool_otherwise_is_not_judged_and_a_pure_tool_runs():
    desk = Desk(asks_by="prompt")
    result, events = desk.optimize(tools="replay")
    refused = [event for event in events if event.scores[0].key == "replay"]
    assert refused
    assert all(event.scores[0].value is None for event in refused)
    assert "price_of(item=" in str(refused[0].scores[0].error)
    assert any("example" in line and "mark it pure" in line for line in result.unjudged.values())
    assert len(desk.looked_up) == len(set(desk.looked_up)) == len({event.example for event in events})
    # An edit of the node that asks the tool cannot be told good or bad, and is not taken.
    assert Site(("find",), "system") not in result.texts

    pure = Desk(asks_by="prompt")
    result, events = pure.optimize(tools="replay", pure_tools=["price_of"])
    assert not any(event.scores[0].key == "replay" for event in events)
    assert len(pure.looked_up) == len(set(pure.looked_up)) > len({event.example for event in events})


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tools": "sometimes"}, "tools='sometimes'.*run, record, replay"),
        ({"tools": "replay", "replay": False}, "without replay all tools run"),
        ({"pure_tools": "search"}, "the names of tools, as a tuple"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, why):
    with pytest.raises(DataError, match=why):
        Settings(**options)


def test_a_journal_with_damaged_calls_is_refused(tmp_path):
    def run():
        return optimize(
            worlds.branches(worlds.review_model()),
            Evals(worlds.reviews(), [alone_page]),
            registry=MemoryRegistry(),
            settings=SETTINGS,
            run_dir=tmp_path,
        )

    run()
    with sqlite3.connect(tmp_path / "journal.sqlite3") as db:
        db.execute("UPDATE entries SET value = '[\"a\", 3]' WHERE kind LIKE 'calls of rollout %'")
        db.execute("DELETE FROM entries WHERE kind = 'rollout'")
    db.close()
    with pytest.raises(JournalError, match=r"calls .* cannot be read: ReplayError: this is not a memo"):
        run()


def alone_page(outputs):
    return "page" in outputs, "no page"
