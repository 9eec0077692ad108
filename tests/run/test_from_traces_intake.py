"""What `learn` draws of many traces, before and without making a Trace of each."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.run.test_from_traces_data import trace
from textgrad_lg import ProductionTrace, Score
from textgrad_lg.errors import DataError
from textgrad_lg.optim.sources import SOURCE
from textgrad_lg.run.failing import Intake
from textgrad_lg.run.production import Known, is_unmade
from textgrad_lg.trace import Trace


@dataclass
class Waiting:
    """A trace of a backend: what it is chosen by is there, and that its Trace was made is noted."""

    number: int
    made: list[int]
    error: str | None = None
    feedback: tuple[Score, ...] = ()
    source: str = ""
    whole: bool = True
    good: bool = True
    id: str = field(init=False)

    def __post_init__(self):
        self.id = f"{self.number:032x}"

    @property
    def trace(self) -> Trace:
        self.made.append(self.number)
        return trace(self.number, error=self.error) if self.good else Trace(self.id, "", warnings=("it does not fit",))


def drawn(intake: Intake) -> list[int]:
    return [int(found.trace.id, 16) for found, _ in intake.drawn]


def taken(items: Any, most: int = 3, **about: Any) -> Intake:
    intake = Intake(Known(), 1.0, most, 0, **about)
    for item in items:
        intake.add(item)
    return intake


def test_only_what_is_drawn_is_made():
    made: list[int] = []
    items = [Waiting(number, made, "ValueError: no" if number % 4 == 0 else None) for number in range(200)]
    intake = taken(items)
    assert made == []
    assert (intake.count, intake.errors, intake.said, intake.unread) == (200, 50, 0, 0)
    numbers = drawn(intake)
    assert sorted(made) == sorted(numbers)
    assert [number % 4 == 0 for number in numbers] == [True] * 3 + [False] * 3
    # Asked again, nothing is made again.
    assert drawn(intake) == numbers
    assert len(made) == 6


def test_the_draw_is_the_same_whether_the_traces_were_made_and_in_whatever_order():
    items = [Waiting(number, [], "ValueError: no" if number % 3 == 0 else None) for number in range(60)]
    expected = drawn(taken(items))
    random.Random(1).shuffle(items)
    assert drawn(taken(items)) == expected
    assert drawn(taken([ProductionTrace(item.trace) for item in items])) == expected
    assert drawn(taken([item.trace for item in items])) == expected


def test_what_cannot_be_made_gives_way_to_the_next():
    made: list[int] = []
    items = [Waiting(number, made) for number in range(40)]
    first = drawn(taken(items))
    odd = first[0]
    items[odd].good = False
    intake = taken(items)
    assert drawn(intake)[:2] == first[1:]
    assert len(intake.drawn) == 3
    assert intake.unread == 1


def test_what_is_not_whole_is_never_made():
    made: list[int] = []
    intake = taken([Waiting(1, made, whole=False), Waiting(2, made)])
    assert drawn(intake) == [2]
    assert (made, intake.count, intake.unread) == ([2], 2, 1)


def test_feedback_decides_on_its_scale_and_a_trace_counts_once():
    made: list[int] = []
    bad, good = (Score("stars", 2.0),), (Score("stars", 5.0),)
    items = [Waiting(1, made, feedback=bad), Waiting(2, made, feedback=good), Waiting(1, made, feedback=bad)]
    intake = taken(items, scales={"stars": (1, 5)})
    assert (intake.count, intake.said) == (2, 1)
    assert [found.feedback[0].value for found, _ in intake.drawn] == [0.25, 1.0]
    with pytest.raises(DataError, match="scales="):
        taken(items)


def test_whose_trace_it_is_the_caller_knows_best():
    items = [Waiting(1, [], source="ann"), Waiting(2, [], source="bob")]
    sources = {f"{1:032x}": "carl"}
    who = {int(found.trace.id, 16): example.metadata[SOURCE] for found, example in taken(items, sources=sources).drawn}
    assert who == {1: "carl", 2: "bob"}


def test_after_the_draw_nothing_is_taken_in():
    intake = taken([Waiting(1, [])])
    assert drawn(intake) == [1]
    with pytest.raises(RuntimeError, match="have been drawn"):
        intake.add(Waiting(2, []))


def test_what_is_no_trace_is_refused():
    with pytest.raises(DataError, match="is no trace"):
        taken(["spans.jsonl"])
    assert not is_unmade(trace(1))
    assert not is_unmade(ProductionTrace(trace(1)))
