"""What LangSmith and OpenInference trace of the graph goes under our `forward` spans, on one provider: that of the process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from textgrad_lg_tracing.readers import read_traces

from .recorder import recording

pytest.importorskip("openinference.instrumentation.langchain", reason="needs openinference-instrumentation-langchain")
pytestmark = pytest.mark.loopback

OTEL = ("otel-user", "otel-none", "hybrid-user", "openinference-user")
"""What writes spans of its own, and whether the user has set a provider before."""
APART = "langsmith-user"
"""What sends runs to LangSmith and no spans."""
NODES = ["extract", "judge", "publish"]


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What each process has told, its folder, and the paths that LangSmith was asked for by them all."""
    folder = tmp_path_factory.mktemp("nested")
    with recording() as server:
        command = [sys.executable, "-m", "tests.tracing.nested", server.url, str(folder), *OTEL, APART]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        paths = {request.path for request in server.requests}
    return {name: json.loads((folder / name / "told.json").read_text()) for name in (*OTEL, APART)}, folder, paths


def below(spans, top):
    """The spans under `top`, at any depth."""
    found, waiting = [], [top["id"]]
    while waiting:
        children = [span for span in spans if span["parent"] == waiting[0]]
        found += children
        waiting = [*waiting[1:], *(child["id"] for child in children)]
    return found


@pytest.mark.parametrize("which", OTEL)
def test_their_whole_tree_is_under_our_forward_span_in_one_trace(which, processes):
    spans = processes[0][which]["spans"]
    by_id: dict[int, Any] = {span["id"]: span for span in spans}
    assert len(by_id) == len(spans)
    # No span's parent is missing, and each is in its parent's trace.
    assert all(span["parent"] is None or by_id[span["parent"]]["trace"] == span["trace"] for span in spans)
    forwards = [span for span in spans if span["name"] == "forward"]
    # Two examples, each run with the texts as they were and with the proposed one.
    assert len(forwards) == 4
    for forward in forwards:
        theirs = [span for span in spans if span["parent"] == forward["id"] and not span["ours"]]
        assert [span["name"] for span in theirs] == ["pages"]
        tree = below(spans, theirs[0])
        assert not any(span["ours"] for span in tree)
        nodes = [span for span in tree if span["node"] == span["name"]]
        assert sorted(span["name"] for span in nodes) == NODES
        assert all(span["parent"] == theirs[0]["id"] for span in nodes)
        assert len(tree) == 6  # and a model call in each
        assert forward["times"][0] <= min(span["times"][0] for span in theirs)
        assert forward["times"][1] >= max(span["times"][1] for span in theirs)
        # Our own nodes stand beside it.
        ours = [span for span in spans if span["parent"] == forward["id"] and span["ours"]]
        assert sorted(span["name"] for span in ours) == NODES
    # Each example has one trace, and no other span of ours has anything of theirs under it.
    assert len({span["trace"] for span in forwards}) == 2
    strangers = Counter(
        by_id[span["parent"]]["name"]
        for span in spans
        if span["parent"] and not span["ours"] and by_id[span["parent"]]["ours"]
    )
    assert strangers == {"forward": 4}


@pytest.mark.parametrize("which", OTEL)
def test_what_is_one_span_in_the_trace_of_a_step_has_nothing_of_theirs_under_it(which, processes):
    spans = processes[0][which]["spans"]
    request = next(span for span in spans if span["name"] == "request")
    rest = [span for span in below(spans, request) if span["name"] == "pages"]
    rollouts = [span for span in spans if span["name"] == "rollout"]
    # As it was before: a part of what the user's own code was in.
    assert len(rest) == len(rollouts) > 0
    assert request["parent"] is None


@pytest.mark.parametrize("which", [*OTEL, APART])
def test_there_is_one_provider_that_of_the_user_or_of_langsmith(which, processes):
    told = processes[0][which]
    assert told["same"]
    # OpenTelemetry refuses a second provider with a warning.
    assert not [line for line in told["said"] if "Overriding" in line]
    # Nothing is written twice where the user has given the callback that is also found by itself.
    names = Counter(span["name"] for span in told["spans"])
    assert names["textgrad run"] == names["textgrad step 1"] == 1


def test_in_langsmiths_own_mode_nothing_of_theirs_is_a_span(processes):
    told, _, paths = processes
    spans = told[APART]["spans"]
    assert [span["name"] for span in spans if not span["ours"]] == ["request"]
    assert len([span for span in spans if span["name"] == "forward"]) == 4
    assert "/runs/multipart" in paths
    assert "/otel/v1/traces" in paths


@pytest.mark.parametrize("which", ["otel-user", "openinference-user"])
def test_a_trace_with_both_trees_reads_as_the_rollout_that_it_is(which, processes):
    _, folder, _ = processes
    problems = []
    found = list(read_traces(folder / which / "spans.jsonl", report=problems.append))
    ours = [at for at in found if at.provenance.producer == "textgrad_lg"]
    # Each of the four runs, by the id of its Trace.
    assert len({at.id for at in ours}) == len(ours) == 4
    for at in ours:
        assert str(at.completeness) == "full", at.reasons
        assert [span.name for span in at.trace.spans if str(span.kind) == "node"] == NODES
    # The traces of the step and of the run hold no run of the graph.
    assert all("none of its spans is a graph's" in problem for problem in problems)
