"""`learn` killed with SIGKILL at any point goes on to the same end, with a graph and without, and pays for no answered call twice.

As in `test_kill.py`, a call counts as answered when what the model returned is in the journal. `TEXTGRAD_LG_KILLS=50` kills so
many sessions at points drawn at random; the default suite only a few.
"""

from __future__ import annotations

import os

import pytest

from tests.run.test_kill import asked, said, sessions, under_way

MANY = int(os.environ.get("TEXTGRAD_LG_KILLS", "0"))
ENDS = {
    "traces": ("answered/arbiter:2", "kept/gradients:2", "answered/critic:1", "kept/comparison:3"),
    "graph": ("kept/verdicts:5", "answered/critic:1", "kept/proposals:1", "answered/model:2"),
}


def check(run, whole, concurrency):
    """What must hold of every run, however it was killed."""
    assert run["ends"][-1]["same"] == whole["ends"][0]["same"]
    kept = [call for session in run["sessions"] for call in said(session, "kept")]
    assert len(set(kept)) == len(kept)
    lost = [max(0, under_way(session)) for session in run["sessions"]]
    assert all(calls <= concurrency for calls in lost)
    assert lost[-1] == 0
    if concurrency == 1:
        # One by one the calls are the same: what is asked again is what had been under way, and no more.
        assert not asked(whole) - asked(run)
        assert (asked(run) - asked(whole)).total() <= sum(lost)
        assert 0 <= run["ends"][-1]["calls"] - whole["ends"][0]["calls"] <= sum(lost)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["graph", "traces"])
def test_killed_it_ends_as_if_nothing_had_been(tmp_path, mode):
    """Right after a reply was kept nothing is asked again; right before, the one call that was lost; and so at random."""
    whole, (run, *others) = sessions(
        mode, tmp_path, 1, *ENDS[mode], f"random:{MANY // 4 or 1}", program="killed_learning"
    )
    end = whole["ends"][0]["same"]
    assert end["texts"]
    assert end["labels"]["candidate"] == 2
    for each in (run, *others):
        check(each, whole, 1)
    assert run["ends"][: len(ENDS[mode])] == [None] * len(ENDS[mode])
    assert [under_way(session) for session in run["sessions"][: len(ENDS[mode])]] == [
        int(end.startswith("answered")) for end in ENDS[mode]
    ]


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not MANY, reason="make test-kill kills many")
@pytest.mark.parametrize("mode", ["graph", "traces"])
def test_killed_while_calls_go_on_side_by_side(tmp_path, mode):
    whole, runs = sessions(mode, tmp_path, 4, f"random:{MANY // 4}", program="killed_learning")
    for run in runs:
        check(run, whole, 4)
    assert sum(run["ends"].count(None) for run in runs) == MANY // 4
