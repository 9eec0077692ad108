"""The worker handles in order, never raises at who gives it work, and never makes them wait."""

from __future__ import annotations

import threading

from textgrad_lg_tracing.worker import QueueFull, Worker


def test_items_are_handled_in_order_and_a_failure_is_told():
    done, failed = [], []

    def handle(item):
        done.append(10 // item)

    worker = Worker(handle, failed.append)
    for item in (1, 0, 2):
        worker.put(item)
    assert worker.wait(60)
    assert done == [10, 5]
    assert [type(error) for error in failed] == [ZeroDivisionError]


def test_it_can_be_used_again_after_it_was_idle():
    done = []
    worker = Worker(done.append, done.append)
    for item in range(3):
        worker.put(item)
        assert worker.wait(60)
    assert done == [0, 1, 2]


def test_items_are_turned_away_when_too_many_wait():
    go, busy, failed, done = threading.Event(), threading.Event(), [], []

    def handle(item):
        busy.set()
        go.wait()
        done.append(item)

    worker = Worker(handle, failed.append, limit=2)
    worker.put(0)
    busy.wait()
    for item in (1, 2, 3):
        worker.put(item)
    assert [type(error) for error in failed] == [QueueFull]
    assert not worker.wait(0)
    go.set()
    assert worker.wait(60)
    assert done == [0, 1, 2]


def test_no_thread_to_be_had(monkeypatch):
    done, failed = [], []
    worker = Worker(done.append, failed.append)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        worker.put(1)
    assert [str(error) for error in failed] == ["can't start new thread"]
    worker.put(2)
    assert worker.wait(60)
    assert done == [1, 2]
