"""Validation and test examples that are run several times: what that asks of models, and what enters the test."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from langchain_core.messages import AIMessage

from tests.run.test_ending import Proposer, graph_of, number, split_reviews
from tests.run.worlds import WANTED
from textgrad_lg import Budget, Evals, MemoryRegistry, Settings, Strategy, Tools, optimize
from textgrad_lg.errors import BudgetTooSmall, DataError
from textgrad_lg.events import ExampleScored
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.types import Phase

SETTINGS = Settings(steps=1, batch=6, strategy=Strategy.STRUCTURAL, repeats=3)


class Moody:
    """A graph whose model is right in two of three runs of an example once it is told to be, and never before."""

    def __init__(self):
        self.seen = Counter()
        self.model = ScriptedChatModel(replies=self.reply)
        self.events = []

    def reply(self, messages):
        asked = (WANTED in messages[0].text, messages[-1].text)
        self.seen[asked] += 1
        right = asked[0] and self.seen[asked] != 2
        return AIMessage("yes" if right else "no")

    def run(self, **options):
        options = {"registry": MemoryRegistry(), "settings": SETTINGS, "optimizer": Proposer()} | options

        def judged(outputs):
            return outputs["page"] == "<p>yes</p>", WANTED

        evals = Evals(split_reviews(), [judged])
        return optimize(graph_of(self.model), evals, callbacks=[self.events.append], **options)


def test_the_mean_of_all_runs_enters_the_tests():
    world = Moody()
    result = world.run()
    two_thirds = pytest.approx(2 / 3)
    assert (result.validation.before, result.validation.after) == (0.0, two_thirds)
    assert (result.test.n, result.test.after) == (10, two_thirds)
    assert all(row[1:] == (0.0, two_thirds) for row in result.test.per_example)
    assert result.improved


def test_each_repetition_asks_the_models_anew_and_train_examples_are_run_once():
    world = Moody()
    result = world.run()
    times = {(told, number(text)): count for (told, text), count in world.seen.items()}
    assert {count for (_, at), count in times.items() if at >= 10} == {3}
    assert {count for (_, at), count in times.items() if at < 10} == {1}
    assert result.spend.phases[Phase.TEST].calls == 2 * 10 * 3
    scored = Counter(event.phase for event in world.events if isinstance(event, ExampleScored))
    assert scored[Phase.VALIDATION] == 2 * 10 * 3


def test_without_repetitions_nothing_is_asked_twice():
    world = Moody()
    result = world.run(settings=replace(SETTINGS, repeats=1))
    assert set(world.seen.values()) == {1}
    assert result.test.after == 1.0


def test_repetitions_are_kept_and_not_paid_for_again(tmp_path):
    first = Moody().run(run_dir=tmp_path / "run")
    world = Moody()
    again = world.run(run_dir=tmp_path / "run")
    assert world.seen == Counter()
    assert (again.test, again.validation) == (first.test, first.validation)


def test_the_budget_keeps_all_repetitions_of_the_test_set_back():
    world = Moody()
    # A minibatch and three runs of each validation example, twice, are 72 calls, and the test set is 60.
    result = world.run(budget=Budget(calls=132))
    assert result.improved
    assert result.spend.total.calls == 132
    with pytest.raises(BudgetTooSmall):
        Moody().run(budget=Budget(calls=90))


@pytest.mark.parametrize("tools", [Tools.RECORD, Tools.REPLAY])
def test_tools_that_may_not_run_again_exclude_repetitions(tools):
    with pytest.raises(DataError, match="a repetition runs tools again"):
        Settings(repeats=2, tools=tools)


def test_once_is_the_least():
    with pytest.raises(DataError, match="repeats=0"):
        Settings(repeats=0)
