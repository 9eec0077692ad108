"""Killed with SIGKILL at any point, a run goes on to the same end, and pays for no answered call twice.

A call counts as answered when what the model returned is in the journal, which is so before whoever asked has it. Between
the model's return and that lies LangChain's end of the call, its callbacks included, and one write. A kill in there, or
before the model has returned, loses the calls under way, of which there are no more than go on at once.

`make test-kill` kills 50 sessions at points drawn at random; the default suite only a few.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

MANY = int(os.environ.get("TEXTGRAD_LG_KILLS", "0"))
ROOT = Path(__file__).parents[2]


def sessions(*arguments, program="killed"):
    """The run that was left alone, and those that were ended as told; the program says what it takes."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.run.{program}", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    whole, *runs = json.loads(done.stdout)
    return whole, runs


def said(session, what):
    return [tuple(words[1:]) for words in session if words[0] == what]


def asked(run, *who):
    calls = (call for session in run["sessions"] for call in said(session, "asked"))
    return Counter(call for call in calls if call[0] in who or not who)


def under_way(session, **scopes):
    """How many calls had been asked and were not known to be kept when a session ended; of all, or of some kinds of scope."""
    kept = [call for call in said(session, "kept") if not scopes or call[0].split()[0] in sum(scopes.values(), ())]
    return len([call for call in said(session, "asked") if not scopes or call[0] in scopes]) - len(kept)


def check(run, whole, concurrency):
    """What must hold of every run, however it was killed."""
    assert run["ends"][-1]["same"] == whole["ends"][0]["same"]
    # No call that was kept was ever made again.
    kept = [call for session in run["sessions"] for call in said(session, "kept")]
    assert len(set(kept)) == len(kept)
    # A reply that two shared is asked for once and kept for each, so of several rollouts this is only a bound.
    lost = [under_way(session) for session in run["sessions"]]
    assert all(calls <= concurrency for calls in lost)
    assert lost[-1] <= 0
    # Judges and critics share no reply. What is asked of them again is what was under way, and nothing more.
    again = asked(run, "critic", "arbiter") - asked(whole, "critic", "arbiter")
    assert again.total() <= sum(under_way(session, **ALONE) for session in run["sessions"])
    if concurrency == 1:
        assert min(lost) == 0
        # Side by side, which of two equal calls comes first is up to the machine; one by one, the calls are the same.
        more = asked(run) - asked(whole)
        assert not asked(whole) - asked(run)
        assert more.total() <= sum(lost)
        # A call that was lost is in what was spent only where the process lived to say so.
        assert 0 <= run["ends"][-1]["calls"] - whole["ends"][0]["calls"] <= sum(lost)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("concurrency", "kills"), [(1, MANY // 2), (4, MANY - MANY // 2)] if MANY else [(4, 2)])
def test_killed_at_random_points_it_ends_as_if_nothing_had_been(tmp_path, concurrency, kills):
    start = time.perf_counter()
    whole, runs = sessions(tmp_path, concurrency, f"random:{kills}")
    took = time.perf_counter() - start
    assert whole["ends"][0]["same"]["labels"] == {"candidate": 2, "production": 2}
    for run in runs:
        check(run, whole, concurrency)
    assert sum(run["ends"].count(None) for run in runs) == kills
    again = sum((asked(run) - asked(whole)).total() for run in runs)
    lost = sum(max(0, under_way(session)) for run in runs for session in run["sessions"])
    of = sum(asked(run).total() for run in runs)
    print(  # noqa: T201  the figures of `make test-kill`
        f"\n{concurrency} at a time: {len(runs)} runs killed {kills} times, {took:.0f} s; of {of} calls {again} were asked "
        f"again, and {lost} had been under way"
    )


ALONE = {"critic": ("gradients", "proposals"), "arbiter": ("verdict",)}
"""Of those that share no reply, the kinds of scope in which they are asked."""
KEPT = ("kept/rollout:5", "kept/verdict:1", "kept/gradients:2", "kept/proposals:1")
LOST = ("answered/model:2", "answered/tool:1", "answered/critic:1", "answered/arbiter:1")


@pytest.mark.timeout(600)
def test_what_is_kept_is_not_asked_again_and_what_is_lost_is_one_call(tmp_path):
    whole, (run, *others) = sessions(tmp_path, 1, "full:200000", *KEPT, *LOST)
    assert not others
    check(run, whole, 1)
    full, *killed, _ = run["ends"]
    assert killed == [None] * 8
    # No room: said plainly, nothing more is paid for that could not be kept, and gone on with when there is room again.
    assert "journal.sqlite3 cannot be written" in full["error"]
    assert "make room" in full["error"]
    assert "run_dir=" in full["notes"][-1]
    # Ended right after a reply was kept, nothing is asked again; ended before, the one call that was lost.
    assert [under_way(session) for session in run["sessions"][1:]] == [0] * 4 + [1] * 4 + [0]
    lost = [said(session, "asked")[-1] for session in run["sessions"] if under_way(session)]
    assert asked(run) - asked(whole) == Counter(lost)
    assert run["ends"][-1]["calls"] == whole["ends"][0]["calls"] + under_way(run["sessions"][0])
