"""A run that is gone on with decides the same, pays for nothing twice, and keeps one Budget over all its sessions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from tests.run import worlds
from textgrad_lg import TGD, Budget, Evals, MemoryRegistry, Settings, SQLiteRegistry, Strategy, aoptimize, optimize
from textgrad_lg.errors import JournalError
from textgrad_lg.events import ExampleScored, StepFinished
from textgrad_lg.example import Example
from textgrad_lg.run.batches import minibatches
from textgrad_lg.run.journal import Journal
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.types import Phase

CHAIN = Settings(steps=2, batch=6, concurrency=4, strategy=Strategy.CHAIN)


def half_right(outputs, reference_outputs):
    """Never perfect, so that every step has something to learn."""
    return 0.5 if outputs["page"] == reference_outputs["page"] else 0.0, f"wanted {reference_outputs['page']}"


class World:
    """A graph, its evals and a critic, with everything that was sent to either model."""

    def __init__(self, **options):
        self.model = worlds.review_model()
        self.critic = worlds.critic("I think this is", worlds.WANTED)
        self.registry = MemoryRegistry()
        self.events = []
        self.options = options

    def arguments(self, **options):
        return {
            "model": self.critic,
            "settings": CHAIN,
            "registry": self.registry,
            "callbacks": [self.events.append],
            **self.options,
            **options,
        }

    def run(self, **options):
        return optimize(
            worlds.three_nodes(self.model), Evals(worlds.reviews(), [half_right]), **self.arguments(**options)
        )


def decisions(result):
    return [
        (gated.gate, gated.update.site, gated.update.new, gated.accepted, gated.reason, gated.step)
        for gated in result.decisions
    ]


def test_after_a_normal_end_nothing_is_paid_for_again_and_everything_is_the_same(tmp_path):
    first = World(run_dir=tmp_path / "run")
    result = first.run()
    assert result.improved
    again = World(run_dir=tmp_path / "run")
    repeated = again.run()
    assert (again.model.requests, again.critic.requests) == ([], [])
    assert decisions(repeated) == decisions(result)
    assert (repeated.test, repeated.validation, repeated.texts) == (result.test, result.validation, result.texts)
    assert repeated.run == result.run
    assert repeated.spend.phases == result.spend.phases
    assert repeated.spend.seconds >= result.spend.seconds
    assert all(event.cached for event in again.events if isinstance(event, ExampleScored))


def test_a_run_that_is_repeated_adds_nothing_to_the_registry(tmp_path):
    registry = SQLiteRegistry(tmp_path / "registry.sqlite3")
    World(run_dir=tmp_path / "run", registry=registry).run()
    (name,) = registry.names()
    before = (registry.history(name), registry.moves(name, "candidate"), registry.moves(name, "production"))
    World(run_dir=tmp_path / "run", registry=registry).run()
    assert (registry.history(name), registry.moves(name, "candidate"), registry.moves(name, "production")) == before


class Stop(BaseException):
    """Ends a run as a kill would, at a point that the test chooses."""


@pytest.mark.parametrize("at", [1, 5, 7, 12, 19, 23, 30, 41, 60, 75])
def test_stopped_anywhere_it_goes_on_to_the_same_end(at, tmp_path):
    whole = World().run()
    seen = []

    def stop(event):
        seen.append(event)
        if len(seen) == at:
            raise Stop

    first = World(run_dir=tmp_path / "run")
    with pytest.raises(Stop) as stopped:
        first.run(callbacks=[stop], settings=replace(CHAIN, concurrency=1))
    assert f"run_dir={str(tmp_path / 'run')!r}" in stopped.value.__notes__[-1]
    second = World(run_dir=tmp_path / "run", registry=first.registry)
    result = second.run()
    assert decisions(result) == decisions(whole)
    assert (result.test, result.validation, result.reason) == (whole.test, whole.validation, whole.reason)
    assert {str(site): text.new for site, text in result.texts.items()} == {
        str(site): text.new for site, text in whole.texts.items()
    }
    # What was asked is asked once: no request of the second session repeats one of the first, bar those cut off.
    calls = len(first.model.requests) + len(second.model.requests)
    assert calls == sum(whole.spend.phases[phase].calls for phase in (Phase.ROLLOUT, Phase.VALIDATION, Phase.TEST))
    asked = Counter(map(str, [*first.critic.requests, *second.critic.requests]))
    assert sum(asked.values()) == whole.spend.phases[Phase.GRADIENT].calls + whole.spend.phases[Phase.PROPOSAL].calls
    assert result.spend.total.calls == whole.spend.total.calls


def test_an_edit_accepted_before_the_stop_is_in_the_registry_and_is_the_same_version_after(tmp_path):
    registry = SQLiteRegistry(tmp_path / "registry.sqlite3")

    def stop(event):
        if isinstance(event, StepFinished):
            raise Stop

    with pytest.raises(Stop) as stopped:
        World(run_dir=tmp_path / "run", registry=registry).run(callbacks=[stop])
    assert "1 accepted edit, labelled 'candidate' in the registry" in stopped.value.__notes__[-1]
    (name,) = registry.names()
    kept = registry.history(name)
    assert registry.labels(name) == {"candidate": 2}
    result = World(run_dir=tmp_path / "run", registry=registry).run()
    assert registry.history(name)[:2] == kept
    assert result.improved
    assert registry.labels(name)["production"] == registry.labels(name)["candidate"]


def test_the_graphs_own_model_is_found_again_without_a_call(tmp_path):
    def stop(event):
        if isinstance(event, ExampleScored) and event.phase is Phase.VALIDATION:
            seen.append(event)
            if len(seen) == 12:
                raise Stop

    seen = []
    options = {"model": None, "run_dir": tmp_path / "run", "settings": replace(CHAIN, concurrency=1)}
    whole = World(model=None, settings=replace(CHAIN, concurrency=1)).run()
    with pytest.raises(Stop):
        World(**options).run(callbacks=[stop])
    second = World(**options)
    result = second.run()
    assert result.spend.phases[Phase.GRADIENT].calls > 0
    assert result.spend.phases == whole.spend.phases
    assert decisions(result) == decisions(whole)
    assert not any("You extract" in str(request) for request in second.model.requests[:1])


@pytest.mark.parametrize("replay", [True, False])
def test_where_another_model_is_called_first_one_run_is_made_to_find_the_graphs_own(replay, tmp_path):
    first = ScriptedChatModel(replies=lambda messages: "hello", model_name="first")
    most = ScriptedChatModel(replies=lambda messages: "hm", model_name="most")

    def judge(state: worlds.State):
        first.invoke([SystemMessage("You greet."), HumanMessage(state["review"])])
        most.invoke([SystemMessage("You think."), HumanMessage(state["review"])])
        return {"page": most.invoke([SystemMessage(worlds.JUDGE), HumanMessage(state["review"])]).text}

    made = StateGraph(worlds.State)
    made.add_node("judge", judge)
    made.add_edge(START, "judge")
    graph = made.compile(name="two")
    validated = []

    def stop(event):
        if isinstance(event, ExampleScored) and event.phase is Phase.VALIDATION:
            validated.append(event)
            if len(validated) == 12:
                raise Stop

    evals = Evals(worlds.reviews(), [half_right])
    options = {"registry": MemoryRegistry(), "run_dir": tmp_path / "run", "settings": replace(CHAIN, concurrency=1)}
    options["settings"] = replace(options["settings"], replay=replay)
    with pytest.raises(Stop):
        optimize(graph, evals, callbacks=[stop], **options)

    def greeted():
        return [request.messages[-1].text for request in first.requests if request.messages[0].text == "You greet."]

    before = greeted()
    assert len(before) == len(set(before)) == 18
    result = optimize(graph, evals, **options)
    if replay:
        # That run pays for nothing, and neither does any other for what does not depend on an edit.
        assert len(greeted()) == len(set(greeted()))
    else:
        assert Counter(greeted()[18:])[before[0]] >= 1
    assert not any("feedback" in str(request).lower() for request in first.requests)
    assert any("feedback" in str(request).lower() for request in most.requests)
    assert result.spend.total.calls == len(first.requests) + len(most.requests)


# The Budget over all sessions


def test_one_budget_covers_all_sessions(tmp_path):
    limit = Budget(calls=130)
    # An optimizer that a run chose by its budget stays the run's, so here one is given.
    first = World(run_dir=tmp_path / "run", budget=limit, optimizer=TGD())
    ended = first.run()
    assert ended.reason.startswith("stopped in step 1: the budget of 130 calls")
    again = World(run_dir=tmp_path / "run", budget=limit, optimizer=TGD())
    repeated = again.run()
    made = len(first.model.requests) + len(first.critic.requests)
    more = len(again.model.requests) + len(again.critic.requests)
    assert made + more <= 130
    assert repeated.spend.total.calls == made + more
    assert repeated.reason.startswith("stopped in step 1: the budget of 130 calls")
    # Raised, it goes on from where it was.
    last = World(run_dir=tmp_path / "run", budget=Budget(calls=1000), optimizer=TGD())
    result = last.run()
    assert result.improved
    whole = World(optimizer=TGD()).run()
    assert decisions(result) == decisions(whole)


def test_the_spend_of_calls_that_were_cut_off_counts(tmp_path):
    calls = []

    class Interrupted(BaseException):
        pass

    def answer(messages):
        calls.append(messages)
        if len(calls) == 4:
            raise Interrupted
        return "hm"

    model = ScriptedChatModel(replies=answer)
    with pytest.raises(Interrupted):
        optimize(
            worlds.three_nodes(model),
            Evals(worlds.reviews(), [half_right]),
            registry=MemoryRegistry(),
            run_dir=tmp_path / "run",
            settings=replace(CHAIN, concurrency=1),
        )
    with Journal(tmp_path / "run") as journal:
        spend: Any = journal.get("run", "spend")
    assert spend["phases"]["rollout"]["calls"] == 4


# Other settings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": replace(CHAIN, steps=3)}, "steps was 2 and is 3"),
        ({"optimize_only": ["judge"]}, 'optimize_only was null and is ["judge"]'),
    ],
)
def test_other_settings_on_the_same_run_dir(change, words, tmp_path):
    World(run_dir=tmp_path / "run").run()
    again = World(run_dir=tmp_path / "run")
    with pytest.raises(JournalError, match="is of a run with other settings") as error:
        again.run(**change)
    assert words in str(error.value)
    assert "Use the same settings to go on with it, or another run_dir to begin anew" in str(error.value)
    assert again.model.requests == []


def test_other_examples_or_texts_on_the_same_run_dir(tmp_path):
    world = World(run_dir=tmp_path / "run")
    result = world.run()
    graph = worlds.three_nodes(world.model)
    with pytest.raises(JournalError, match=r'examples was "40 with hash [0-9a-f]{12}" and is "30 with hash'):
        optimize(graph, Evals(worlds.reviews(30), [half_right]), **world.arguments())
    with pytest.raises(JournalError, match='texts at the start was "original" and is'):
        optimize(result.graph, Evals(worlds.reviews(), [half_right]), **world.arguments())
    with pytest.raises(JournalError, match="evaluators was"):
        optimize(graph, Evals(worlds.reviews(), [worlds.right_page]), **world.arguments())


def test_another_concurrency_is_the_same_run(tmp_path):
    World(run_dir=tmp_path / "run").run()
    again = World(run_dir=tmp_path / "run")
    again.run(settings=replace(CHAIN, concurrency=1))
    assert again.model.requests == []


# Determinism


def stored(registry):
    return {
        name: [
            (version.version, version.template, version.parent, version.score, version.provenance)
            for version in registry.history(name)
        ]
        for name in registry.names()
    }


@pytest.mark.parametrize("model", ["critic", None])
def test_the_same_seed_gives_the_same_run_whatever_the_concurrency(model, tmp_path):
    found = []
    for at, concurrency in enumerate((1, 1, 8)):
        with Journal(tmp_path / f"run{at}") as journal:
            journal.put("run", "id", "a-fixed-run")
        world = World(run_dir=tmp_path / f"run{at}", settings=replace(CHAIN, concurrency=concurrency))
        result = world.run(**({} if model else {"model": None}))
        critic = world.critic if model else world.model
        # Counted, not listed: what is asked at the same time, as of several proposers, may leave in any order.
        requests = Counter(str(request) for request in critic.requests)
        assert stored(world.registry) or not model
        found.append((decisions(result), stored(world.registry), result.summary(), requests))
    assert found[0] == found[1] == found[2]


def test_another_seed_takes_other_examples():
    batches = [next(minibatches([Example(f"e{at}", {}) for at in range(40)], 6, seed)) for seed in (0, 0, 1)]
    assert batches[0] == batches[1] != batches[2]


# Minibatches


@hypothesis_settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 5))
def test_minibatches_take_each_example_once_an_epoch_and_none_twice(count, size, seed):
    train = [Example(f"e{at}", {"n": at}) for at in range(count)]
    batches = minibatches(train, size, seed)
    drawn = Counter({example.id: 0 for example in train})
    for _ in range(20):
        batch = next(batches)
        ids = [example.id for example in batch]
        assert len(ids) == len(set(ids)) == min(size, count)
        drawn.update(ids)
        assert max(drawn.values()) - min(drawn.values()) <= 1


def test_fewer_train_examples_than_a_minibatch():
    data = [
        {**each, "metadata": {"split": "train" if at < 3 else "test" if at < 14 else "validation"}}
        for at, each in enumerate(worlds.reviews(26))
    ]
    world = World()
    result = optimize(worlds.three_nodes(world.model), Evals(data, [half_right]), **world.arguments())
    assert {gated.n for gated in result.decisions if gated.gate == "minibatch"} == {3}
    assert result.improved


# Another process


def test_another_process_runs_with_what_was_published(tmp_path, home):
    World(registry=None).run()
    script = """
        from tests.run import worlds
        from textgrad_lg import from_registry

        graph = from_registry(worlds.three_nodes(worlds.review_model()))
        print(graph.invoke({"review": "a good film"})["page"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout) == (0, "<p>positive</p>\n"), done.stderr
    assert (home / "registry.sqlite3").exists()


async def test_two_runs_on_one_run_dir_at_once(tmp_path):
    worlds_of_two = [World(run_dir=tmp_path / "run") for _ in range(2)]
    found = await asyncio.gather(
        *(
            aoptimize(worlds.three_nodes(world.model), Evals(worlds.reviews(), [half_right]), **world.arguments())
            for world in worlds_of_two
        ),
        return_exceptions=True,
    )
    (refused,) = [each for each in found if isinstance(each, BaseException)]
    assert isinstance(refused, JournalError)
    assert "is in use" in str(refused)
