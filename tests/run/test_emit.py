import logging

from textgrad_lg.events import Warned
from textgrad_lg.run import emit as module
from textgrad_lg.run.emit import Emitter, installed_callbacks


def test_every_callback_gets_every_event_in_order():
    first, second = [], []
    emit = Emitter("r1", [first.append, second.append], iter([1.0, 2.0]).__next__)
    emit(Warned, message="a")
    emit.step = 3
    emit(Warned, message="b")
    assert (
        first
        == second
        == [Warned(run="r1", time=1.0, step=0, message="a"), Warned(run="r1", time=2.0, step=3, message="b")]
    )


def test_a_callback_that_raises_is_logged_once_and_changes_nothing(caplog):
    got = []

    def broken(event):
        raise RuntimeError("disk full")

    emit = Emitter("r1", [broken, got.append], lambda: 0.0)
    with caplog.at_level(logging.ERROR, "textgrad_lg"):
        emit(Warned, message="a")
        emit(Warned, message="b")
    assert [event.message for event in got] == ["a", "b"]
    assert len(caplog.records) == 1
    assert "disk full" in caplog.text


class Entry:
    def __init__(self, name, load):
        self.name, self.load = name, load


def test_installed_callbacks_are_found_by_entry_point_and_a_broken_one_is_left_out(monkeypatch, caplog):
    def broken():
        raise ImportError("no module")

    entries = [Entry("b", lambda: lambda: print), Entry("a", broken), Entry("c", lambda: lambda: None)]
    monkeypatch.setattr(module, "entry_points", lambda group: entries if group == "textgrad_lg.callbacks" else [])
    assert installed_callbacks() == [print]
    assert "the callback entry point 'a' could not be loaded" in caplog.text
