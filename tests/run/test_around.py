"""A callback may have something in force while the graph runs; it can neither break nor change the run."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import pytest
from langgraph.graph import END, START, StateGraph

from tests.run.worlds import WANTED, critic, page_evals, review_model, three_nodes
from textgrad_lg import MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg.events import Around, ExampleScored, RolloutStarted
from textgrad_lg.run import emit as module
from textgrad_lg.run.emit import Emitter, installed_callbacks
from textgrad_lg.types import Phase

ROLLOUT: ContextVar[str] = ContextVar("rollout", default="")
FIELDS = {"rollout": "t1", "phase": Phase.ROLLOUT, "candidate": "c0", "example": "e1"}


class Watching:
    """Takes note of all it is told, and has the rollout's id in force while the graph runs."""

    def __init__(self):
        self.begun: list[RolloutStarted] = []
        self.left: list[str | None] = []
        self.events = []

    def __call__(self, event):
        self.events.append(event)

    @contextmanager
    def around(self, event):
        self.begun.append(event)
        token = ROLLOUT.set(event.rollout)
        try:
            yield
        except BaseException as error:
            self.left.append(type(error).__name__)
            raise
        else:
            self.left.append(None)
        finally:
            ROLLOUT.reset(token)


def test_what_is_entered_is_left_in_the_reverse_order_and_knows_the_rollout():
    first, second, order = Watching(), Watching(), []
    emit = Emitter("r1", [first, order.append, second], lambda: 5.0)
    emit.step = 2
    with emit.around(**FIELDS):
        assert (len(first.begun), len(second.begun), first.left) == (1, 1, [])
        assert ROLLOUT.get() == "t1"
    assert first.begun == [RolloutStarted(run="r1", time=5.0, step=2, **FIELDS)]
    assert first.left == second.left == [None]
    assert ROLLOUT.get() == ""
    assert order == first.events == []


def test_without_such_a_callback_nothing_is_made():
    def clock():
        raise AssertionError("nobody wants to know")

    with Emitter("r1", [print, [].append], clock).around(**FIELDS):
        pass


class Broken:
    """Fails in one of the ways there are."""

    def __init__(self, how):
        self.how = how

    def __call__(self, event):
        pass

    def around(self, event):
        if self.how == "around":
            raise RuntimeError("disk full")
        return self if self.how != "no context" else cast("Any", None)

    def __enter__(self):
        if self.how == "enter":
            raise RuntimeError("disk full")

    def __exit__(self, *args):
        if self.how == "exit":
            raise RuntimeError("disk full")
        return True


@pytest.mark.parametrize("how", ["around", "no context", "enter", "exit", "swallow"])
def test_one_that_fails_is_logged_once_and_nothing_that_the_run_raises_is_lost(how, caplog):
    watching = Watching()
    emit = Emitter("r1", [Broken(how), watching], lambda: 0.0)
    assert isinstance(Broken(how), Around)
    with caplog.at_level(logging.ERROR, "textgrad_lg"):
        for _ in range(2):
            with emit.around(**FIELDS):
                assert ROLLOUT.get() == "t1"
        error = KeyError("of the run")
        with pytest.raises(KeyError) as raised, emit.around(**FIELDS):
            raise error
    assert raised.value is error
    assert error.__context__ is None
    assert watching.left == [None, None, "KeyError"]
    assert len(caplog.records) == (0 if how == "swallow" else 1)


class Observer(Watching):
    pass


class Entry:
    name = "otel"

    def load(self):
        return Observer


def test_what_is_found_by_itself_is_left_out_where_the_user_has_given_one_of_its_class(monkeypatch):
    monkeypatch.setattr(module, "entry_points", lambda group: [Entry()])
    assert [type(found) for found in installed_callbacks()] == [Observer]
    assert [type(found) for found in installed_callbacks([print, Watching(), lambda event: None])] == [Observer]
    assert installed_callbacks([Observer()]) == []


def optimized(graph, callbacks, folder):
    return optimize(
        graph,
        page_evals(30),
        model=critic("I think this is", WANTED),
        registry=MemoryRegistry(),
        run_dir=folder,
        callbacks=callbacks,
        settings=Settings(steps=1, batch=2, strategy=Strategy.STRUCTURAL),
    )


def seen_in_nodes(*, sync):
    """The graph of three nodes, behind a node that takes note of what is in force where it runs."""
    inner, seen = three_nodes(review_model()), []
    graph: Any = StateGraph(cast("Any", dict))

    def note(state):
        seen.append(ROLLOUT.get())
        return state

    async def anote(state):
        return note(state)

    graph.add_node("note", note if sync else anote)
    graph.add_node("pages", inner)
    graph.add_edge(START, "note")
    graph.add_edge("note", "pages")
    graph.add_edge("pages", END)
    return graph.compile(name="noted"), seen


@pytest.mark.parametrize("sync", [True, False])
def test_it_is_in_force_where_the_nodes_run_once_for_each_run_and_not_where_none_is_made(sync, tmp_path):
    graph, seen = seen_in_nodes(sync=sync)
    watching = Watching()
    optimized(graph, [watching], tmp_path)
    names = [event.rollout for event in watching.begun]
    assert sorted(seen) == sorted(names)
    assert len(set(names)) == len(names) == len(watching.left)
    ends = [event for event in watching.events if isinstance(event, ExampleScored)]
    assert sorted(event.rollout for event in ends if not event.cached) == sorted(names)
    assert {event.rollout for event in ends if event.cached} == {""}
    by_id = {event.rollout: event for event in ends}
    for event in watching.begun:
        end = by_id[event.rollout]
        assert (event.phase, event.candidate, event.example) == (end.phase, end.candidate, end.example)
        assert end.trace is not None
        assert end.trace.id == event.rollout
        assert end.origin is None
    # All is found in the journal: the graph is not run, and nothing is entered.
    again = Watching()
    optimized(graph, [again], tmp_path)
    assert again.begun == []


def test_a_broken_one_does_not_change_what_comes_out(tmp_path):
    plain, broken = (
        optimized(three_nodes(review_model()), callbacks, tmp_path / name)
        for name, callbacks in (("plain", []), ("broken", [Broken(how) for how in ("around", "enter", "exit")]))
    )
    assert broken.texts == plain.texts
    decided = [[(d.gate, d.accepted, d.update.new) for d in result.decisions] for result in (plain, broken)]
    assert decided[0] == decided[1]
    assert broken.spend.total.calls == plain.spend.total.calls
