"""The main job, end to end, in simulated worlds."""

import asyncio
from typing import Any

import pytest
from langgraph.pregel import Pregel

from tests.run import worlds
from textgrad_lg import Evals, MemoryRegistry, Settings, Strategy, aoptimize, optimize
from textgrad_lg.errors import UnknownParameter
from textgrad_lg.events import (
    BackwardFinished,
    Committed,
    Discovered,
    ExampleScored,
    Gated,
    RolledBack,
    RunFinished,
    RunStarted,
)
from textgrad_lg.optim import TGD
from textgrad_lg.types import Phase

SETTINGS = Settings(steps=2, batch=6, concurrency=4)


def told(outputs, reference_outputs):
    """An evaluator whose comment is advice, as the structural strategy needs it."""
    return outputs["page"] == reference_outputs["page"], worlds.WANTED


def run(graph, evals, **options):
    events = []
    options = {"settings": SETTINGS, "registry": MemoryRegistry(), "callbacks": [events.append]} | options
    return optimize(graph, evals, **options), events


def blamed(events):
    found = (event.gradients.parameters() for event in events if isinstance(event, BackwardFinished))
    return {str(site) for parameters in found for site in parameters}


@pytest.mark.parametrize("strategy", [Strategy.CHAIN, Strategy.STRUCTURAL, Strategy.AUTO])
def test_only_the_node_at_fault_is_changed_and_the_scores_rise(strategy):
    graph = worlds.three_nodes(worlds.review_model())
    evaluator = worlds.right_page if strategy is Strategy.CHAIN else told
    critic = worlds.critic("I think this is", worlds.WANTED) if strategy is Strategy.CHAIN else None
    settings = Settings(steps=3, batch=6, strategy=strategy)
    # Without a critic of its own the run asks the graph's model, which cannot criticise: only insert and demos propose.
    result, events = run(graph, Evals(worlds.reviews(), [evaluator]), model=critic, settings=settings)

    assert "judge/system" in blamed(events)
    assert [site.path for site in result.texts] == [("judge",)]
    assert (result.validation.before, result.validation.after) == (0.0, 1.0)
    assert (result.test.before, result.test.after) == (0.0, 1.0)
    assert result.improved
    assert result.test.p_value < 0.01
    assert result.test.n == 12


def test_the_critics_words_reach_the_one_prompt_at_fault():
    graph = worlds.three_nodes(worlds.review_model())
    critic = worlds.critic("I think this is", worlds.WANTED)
    settings = Settings(steps=1, batch=6, strategy=Strategy.CHAIN)
    result, events = run(graph, worlds.page_evals(), model=critic, optimizer=TGD(), settings=settings)
    assert blamed(events) == {"judge/system"}
    assert result.prompts["judge/system"] == f"{worlds.JUDGE}\n\n{worlds.WANTED}"
    assert {site: text for site, text in result.prompts.items() if text != result.original[site]}.keys() == {
        "judge/system"
    }
    assert worlds.WANTED in result.diff()
    assert "why: the feedback asks for it (by rewrite" in result.diff("judge/system")
    assert result.diff("extract/system") == ""


def test_a_fault_in_an_agents_system_prompt_inside_a_subgraph():
    graph = worlds.shop(worlds.shop_model())
    critic = worlds.critic("About ten coins", worlds.AGENT_WANTED)
    result, events = run(
        graph, worlds.shop_evals(), model=critic, settings=Settings(steps=1, batch=6, strategy=Strategy.CHAIN)
    )
    (site,) = result.texts
    assert site.agent == "clerk"
    assert site.path[:2] == ("desk", "serve")
    assert site.role == "system"
    assert blamed(events) == {str(site)}
    assert (result.validation.before, result.validation.after) == (0.0, 1.0)
    assert (result.test.before, result.test.after) == (0.0, 1.0)
    assert result.graph.invoke({"item": "tea"})["answer"] == "tea costs 3 coins"
    assert graph.invoke({"item": "tea"})["answer"] == "About ten coins, I guess."


def test_the_result_is_a_graph_of_the_same_class_and_the_one_given_is_untouched():
    graph = worlds.three_nodes(worlds.review_model())
    result, events = run(
        graph, Evals(worlds.reviews(), [told]), settings=Settings(steps=3, batch=6, strategy=Strategy.STRUCTURAL)
    )
    assert isinstance(result.graph, type(graph))
    assert isinstance(result.graph, Pregel)
    good = worlds.State(review="a good film")
    assert result.graph.invoke(good)["page"] == "<p>positive</p>"
    assert "I think" in graph.invoke(good)["page"]
    result.rollback()
    assert "I think" in result.graph.invoke(good)["page"]
    assert isinstance(events[-1], RolledBack)


def test_what_was_accepted_is_in_the_registry_with_its_origin():
    registry = MemoryRegistry()
    graph = worlds.three_nodes(worlds.review_model())
    result, events = run(
        graph,
        Evals(worlds.reviews(), [told]),
        registry=registry,
        settings=Settings(steps=3, batch=6, strategy=Strategy.STRUCTURAL),
    )
    (site,) = result.texts
    own, new = registry.history(f"pages:{site}")
    assert (own.template, own.parent) == (result.parameters[site], None)
    assert (new.template, new.parent, new.score) == (result.texts[site].new, own.version, 1.0)
    assert new.provenance["run"] == result.run
    assert new.provenance["gradients"]
    assert registry.labels(f"pages:{site}") == {"candidate": 2, "production": 2}
    (committed,) = [event for event in events if isinstance(event, Committed)]
    assert (committed.version, committed.label) == (2, "candidate")


def test_no_improvement_is_a_result_like_any_other():
    graph = worlds.three_nodes(worlds.review_model())
    evals = Evals(worlds.reviews(), [lambda outputs: (False, "It should be better.")])
    result, events = run(graph, evals)
    assert not result.improved
    assert result.texts == {}
    assert result.test is None
    assert "no edit passed the gates" in result.reason
    assert "graph unchanged" in result.summary()
    assert not any(isinstance(event, ExampleScored) and event.phase is Phase.TEST for event in events)
    assert result.graph.invoke({"review": "good"}) == graph.invoke({"review": "good"})


def test_where_nothing_fails_nothing_is_asked():
    model = worlds.review_model()
    critic = worlds.critic("I think this is", worlds.WANTED)
    result, _ = run(worlds.three_nodes(model), Evals(worlds.reviews(), [lambda outputs: True]), model=critic)
    assert critic.requests == []
    assert result.decisions == ()


def test_the_test_set_is_read_once_and_after_the_last_step():
    graph = worlds.three_nodes(worlds.review_model())
    _, events = run(
        graph, Evals(worlds.reviews(), [told]), settings=Settings(steps=2, batch=6, strategy=Strategy.STRUCTURAL)
    )
    tested = [event for event in events if isinstance(event, ExampleScored) and event.phase is Phase.TEST]
    assert len(tested) == 2 * 12
    assert {event.step for event in tested} == {0}
    others = {event.example for event in events if isinstance(event, ExampleScored) and event.phase is not Phase.TEST}
    assert others.isdisjoint(event.example for event in tested)


def test_the_gates_compare_the_same_examples_and_say_why():
    graph = worlds.three_nodes(worlds.review_model())
    result, events = run(
        graph, Evals(worlds.reviews(), [told]), settings=Settings(steps=1, batch=6, strategy=Strategy.STRUCTURAL)
    )
    minibatch = [gated for gated in result.decisions if gated.gate == "minibatch"]
    assert {gated.n for gated in minibatch} == {6}
    assert {gated.accepted for gated in minibatch} == {True, False}
    (validation,) = [gated for gated in result.decisions if gated.gate == "validation"]
    assert (validation.accepted, validation.n) == (True, 12)
    assert validation.p_value < 0.05
    assert "validation 0.00 -> 1.00, n = 12" in validation.reason
    assert [type(event) for event in events].count(Gated) == len(result.decisions)


def test_a_changed_text_costs_nothing_where_it_is_not_visited():
    model = worlds.review_model()
    graph = worlds.three_nodes(model)
    result, events = run(
        graph, Evals(worlds.reviews(), [told]), settings=Settings(steps=1, batch=6, strategy=Strategy.STRUCTURAL)
    )
    rollouts = [event for event in events if isinstance(event, ExampleScored)]
    spans = [span for event in rollouts if not event.cached for span in event.trace.spans if span.kind == "llm"]
    paid = sum("replayed" not in span.attributes for span in spans)
    assert paid + result.spend.phases[Phase.PROPOSAL].calls == len(model.requests) == result.spend.total.calls
    # Rollouts of texts that were not visited are not run again, and the others replay what does not depend on an edit.
    assert len(spans) == 3 * sum(not event.cached for event in rollouts) < 3 * len(rollouts)
    assert paid < len(spans)


async def test_the_async_form_gives_the_same_result():
    settings = Settings(steps=1, batch=6, strategy=Strategy.STRUCTURAL)
    evals = Evals(worlds.reviews(), [told])
    there = await aoptimize(
        worlds.three_nodes(worlds.review_model()), evals, registry=MemoryRegistry(), settings=settings
    )
    # A sync call inside a running loop, as in a notebook.
    here = optimize(worlds.three_nodes(worlds.review_model()), evals, registry=MemoryRegistry(), settings=settings)
    assert there.test == here.test
    assert there.texts == here.texts
    assert [gated.reason for gated in there.decisions] == [gated.reason for gated in here.decisions]


def test_events_tell_the_whole_run():
    _, events = run(worlds.three_nodes(worlds.review_model()), Evals(worlds.reviews(), [told]))
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert {event.run for event in events} == {events[0].run}
    assert events[-1].improved


def test_optimize_only_freezes_the_rest():
    graph = worlds.three_nodes(worlds.review_model())
    result, events = run(graph, Evals(worlds.reviews(), [told]), optimize_only=["extract", "publish"])
    assert not any(site.startswith("judge") for site in blamed(events))
    assert not result.improved


def test_a_plan_calls_no_model():
    model = worlds.review_model()
    plan = optimize(
        worlds.three_nodes(model), worlds.page_evals(), optimizer=TGD(proposals=3), dry_run=True, settings=SETTINGS
    )
    assert model.requests == []
    assert plan.examples == (16, 12, 12)
    assert worlds.JUDGE in {template.text for template in plan.parameters.values()}
    text = str(plan)
    assert "examples: 16 train, 12 validation, 12 test" in text
    assert "no price known" in text
    assert plan.calls[Phase.TEST] == 2 * 12 * 3


async def test_two_runs_at_once_stay_apart():
    evals = Evals(worlds.reviews(), [told])
    settings = Settings(steps=1, batch=6, strategy=Strategy.STRUCTURAL)
    results = await asyncio.gather(
        *(
            aoptimize(worlds.three_nodes(worlds.review_model()), evals, registry=MemoryRegistry(), settings=settings)
            for _ in range(3)
        )
    )
    assert len({str(result.texts) for result in results}) == 1
    assert all(result.improved for result in results)


def test_a_bound_graph_is_made_better_from_the_texts_it_has():
    registry = MemoryRegistry()
    graph = worlds.three_nodes(worlds.review_model())
    settings = Settings(steps=2, batch=6, strategy=Strategy.STRUCTURAL)
    first, _ = run(graph, Evals(worlds.reviews(), [told]), registry=registry, settings=settings)

    def shout(outputs, reference_outputs):
        return outputs["page"].isupper(), worlds.LOUD

    second, _ = run(first.graph, Evals(worlds.reviews(), [shout]), registry=registry, settings=settings)
    assert second.original == first.prompts
    assert second.improved
    assert second.graph.invoke({"review": "a good film"})["page"] == "<P>POSITIVE</P>"
    second.rollback()
    assert second.graph.invoke({"review": "a good film"})["page"] == "<p>positive</p>"
    first.rollback()
    assert "I think" in first.graph.invoke({"review": "a good film"})["page"]


@pytest.mark.parametrize(
    ("only", "changed"), [(None, ["judge", "publish"]), (["judge"], ["judge"]), (["judge", "pub*"], None)]
)
def test_a_prompt_that_an_accepted_edit_opens_the_way_to_can_be_changed_next(only, changed):
    def stages(outputs, reference_outputs):
        if "page" not in outputs:
            return 0.0, worlds.WANTED
        return (1.0 if outputs["page"].isupper() else 0.5), worlds.LOUD

    evals = Evals(worlds.reviews(), [stages])
    settings = Settings(steps=3, batch=6, strategy=Strategy.STRUCTURAL)
    graph = worlds.branches(worlds.review_model())
    if changed is None:
        # A name must fit something that the graph as it is has reached; a typo would go unnoticed otherwise.
        with pytest.raises(UnknownParameter, match=r"pub\*"):
            run(graph, evals, settings=settings, optimize_only=only)
        return
    result, events = run(graph, evals, settings=settings, optimize_only=only)
    assert sorted(site.path[0] for site in result.texts) == changed
    assert result.test.after == (1.0 if "publish" in changed else 0.5)
    found = [event.trainable for event in events if isinstance(event, Discovered)]
    assert [{site.path[0] for site in trainable} for trainable in found] == [{"judge"}, set(changed)]


def test_an_option_that_does_not_exist_is_refused():
    graph = worlds.three_nodes(worlds.review_model())
    misspelt: Any = {"bugdet": "$2"}
    with pytest.raises(TypeError, match=r"no option 'bugdet'; it has model, budget, .* and dry_run"):
        optimize(graph, worlds.page_evals(), **misspelt)
