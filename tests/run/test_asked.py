"""What a session has asked is found again by the next one: by what it was about, and by nothing that may differ."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sqlite3
import threading
from dataclasses import field, fields, make_dataclass, replace
from typing import Any

import pytest

from tests.run import worlds
from textgrad_lg import Budget, Evals, MemoryRegistry, Settings, Site, Strategy, optimize
from textgrad_lg.errors import JournalError
from textgrad_lg.gradient import Gradient, GradientCall, Gradients
from textgrad_lg.optim import Attempt, StepContext
from textgrad_lg.overlay import Replacement
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.replay import Memo
from textgrad_lg.replay.book import Book
from textgrad_lg.run.asked import content_key
from textgrad_lg.run.journal import FILE
from textgrad_lg.run.opening import opened
from textgrad_lg.run.prices import Prices
from textgrad_lg.run.target import LocalGraph
from textgrad_lg.types import Phase
from textgrad_lg.update import Update

# So few examples that a gate at the usual levels would take nothing.
SETTINGS = Settings(steps=1, batch=3, strategy=Strategy.CHAIN, alpha=0.2, significance=0.3)
HERE, THERE = Site(("judge",), "system"), Site(("write",), "human", 1, "clerk")


class Loud:
    """A domain as a user may write one: it prints as the place in memory where it lies."""

    def __init__(self, values):
        self.values = frozenset(values)


def context(**others) -> StepContext:
    """All that a step's proposals are made from, made anew each time."""
    update = Update(HERE, Template("Old."), Template("New."), "shorter", "rewrite", ("abc",))
    given: dict[str, Any] = {
        "parameters": {HERE: Template("Judge {it}.", ("it",)), THERE: Template("Write.")},
        "gradients": Gradients(
            (Gradient("a.in", "Be short.", "a", "t1", "e1", 0.5, HERE, 0.3),), ("no reply",), (GradientCall("a", "m"),)
        ),
        "goal": "labels",
        "demos": {HERE: (Demo((("it", "good"),), "positive"),)},
        "attempts": (Attempt(update, False, -0.5, "not better", 1, ("Be short.",)),),
        "step": 2,
        "seed": 3,
        "own": {HERE: Template("Judge {it}.", ("it",))},
        "domains": {THERE: Loud(["never", "sometimes", "always", "often", "seldom"])},
    }
    return StepContext(**{**given, **others})


def test_the_same_content_has_one_key():
    assert content_key(context()) == content_key(context())
    assert content_key(context(), {HERE: ["a"]}) == content_key(context(), {HERE: ["a"]})


def test_when_a_model_was_called_does_not_count():
    gradients = context().gradients
    calls = (GradientCall("a", "m", 7, 8, start=1_000.0, end=1_002.5), GradientCall("b", "m", start=1_001.0))
    later = context(gradients=replace(gradients, calls=calls))
    assert content_key(later) == content_key(context())


def test_the_order_in_which_a_mapping_was_filled_does_not_count():
    parameters = dict(reversed(list(context().parameters.items())))
    assert content_key(context(parameters=parameters)) == content_key(context())


def test_a_field_that_a_later_release_adds_changes_no_key_until_it_is_used():
    later: Any = make_dataclass(
        "StepContext",
        [("shy", bool, False), ("more", list, field(default_factory=list))],
        bases=(StepContext,),
        frozen=True,
    )
    given = {each.name: getattr(context(), each.name) for each in fields(StepContext)}
    assert content_key(later(**given)) == content_key(context(**given))
    assert content_key(later(**given, shy=True)) != content_key(context(**given))


def variants(value):
    """`value` with one thing in it made another, in each place there is; what cannot be told apart by a key is left out."""
    if isinstance(value, GradientCall):
        return
    if isinstance(value, Loud):
        yield Loud(["never"])
    elif isinstance(value, str):
        yield f"{value}!"
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
    elif isinstance(value, dict):
        yield {}
        for key, held in value.items():
            yield from ({**value, key: other} for other in variants(held))
    elif isinstance(value, tuple):
        if not any(isinstance(held, GradientCall) for held in value):
            yield value[1:] if value else ("more",)
        for at, held in enumerate(value):
            yield from ((*value[:at], other, *value[at + 1 :]) for other in variants(held))
    elif value is not None:
        for each in fields(value):
            yield from (replace(value, **{each.name: other}) for other in variants(getattr(value, each.name)))


def test_whatever_else_is_another_has_another_key():
    keys = [content_key(value) for value in (context(), *variants(context()))]
    assert len(keys) > 40
    assert len(set(keys)) == len(keys)


def test_of_rollouts_with_the_same_texts_each_finds_its_own_again(tmp_path):
    """Two candidates that differ in a text that the run does not reach, side by side, before an evaluator that varies."""
    publish = Template("You write the page.")
    candidates = [
        {Site(("publish",), "system"): Replacement(publish, Template(text))} for text in ("Write it.", "Write it well.")
    ]
    scores = itertools.count(1)
    evals = Evals(worlds.reviews(2), [lambda outputs: next(scores) / 10])

    def session():
        with opened(
            LocalGraph(worlds.branches(worlds.review_model())),
            lambda _: evals,
            identity={},
            run_dir=tmp_path,
            budget=Budget(calls=100),
            prices=Prices({}),
            settings=Settings(),
            critic=None,
            judges=(),
            config=None,
            callbacks=(),
        ) as (rollouts, _):
            pairs = [(evals.examples[0], candidate) for candidate in candidates]
            return [one.score for one in asyncio.run(rollouts.evaluate_all(pairs, Phase.ROLLOUT))]

    found = session()
    assert found[0] != found[1]
    assert session() == found


def run(folder):
    """A whole run in a folder; gives how often its critic was asked."""
    critic = worlds.critic("I think this is", worlds.WANTED)
    optimize(
        worlds.three_nodes(worlds.review_model()),
        Evals(worlds.reviews(12), [half_right]),
        model=critic,
        registry=MemoryRegistry(),
        settings=SETTINGS,
        run_dir=folder,
    )
    return len(critic.requests)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The folder of a run that has come to its end."""
    folder = tmp_path_factory.mktemp("run")
    assert run(folder) > 0
    return folder


@pytest.mark.parametrize("kind", ["gradients", "proposals", "rollout", "calls merged", "run"])
def test_what_cannot_be_read_back_is_refused_with_the_way_out_and_left_alone(ended, tmp_path, kind):
    shutil.copytree(ended, tmp_path, dirs_exist_ok=True)
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("UPDATE entries SET value = '[7]' WHERE kind = ? AND key != 'id'", (kind,)).rowcount
        if kind == "calls merged":  # which is read before a rollout is made
            db.execute("DELETE FROM entries WHERE kind = 'rollout' OR key = 'test set read for'")
        before = db.execute("SELECT count(*) FROM entries").fetchone()
    db.close()
    with pytest.raises(
        JournalError, match=r"(?s)journal.sqlite3 is damaged \(.* cannot be read: .*restore it from a backup"
    ):
        run(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == before
    db.close()


def half_right(outputs, reference_outputs):
    return 0.5 if outputs.get("page") == reference_outputs["page"] else 0.0, f"wanted {reference_outputs['page']}"


def test_a_stream_that_the_garbage_collector_closes_gives_its_place_back_even_then():
    """Which may be while the same thread is looking up another call."""

    class Collected(Memo):
        def find(self, key, lane, ordinal):
            if key == "next":
                abandoned.drop()
            return super().find(key, lane, ordinal)

    book = Book(Collected())
    abandoned = book.ask("stream", "", "node")
    looked_up = threading.Thread(target=book.ask, args=("next", "", "node"), daemon=True)
    looked_up.start()
    looked_up.join(10)
    assert not looked_up.is_alive()
    assert book.ask("stream", "", "node").place == ("stream", "", 0)
