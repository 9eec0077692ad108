"""LangSmith's runs, as each of its APIs and its bulk export give them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from pyarrow import parquet

from textgrad_lg_tracing.readers.read import read

RUNS = json.loads((Path(__file__).parent / "data" / "langsmith_runs.json").read_text())
ROOT, CHILD = "01a1fe3b-bf19-71d4-9af5-3ee460414904", "01a1fe3b-bf19-71d4-9af5-3ee460414905"
START = datetime(2026, 9, 21, 12, 30, 0, 123456, UTC)
NANOSECONDS = 1_789_993_800_123_456_000
ORDER = f"20260921T123000123456Z{ROOT}.20260921T123001000000Z{CHILD}"


def refuse(problem):
    raise AssertionError(problem)


def one(source) -> Any:
    (found,) = read(source, report=refuse)
    assert found.problems == ()
    return found


def run(name, **more):
    return {
        "id": ROOT,
        "trace_id": ROOT,
        "name": name,
        "run_type": "chain",
        "start_time": "2026-09-21T12:30:00.123456",
        "end_time": "2026-09-21T12:30:02+00:00",
        "inputs": {"question": "?"},
        **more,
    }


def child(**more):
    return {**run("child"), "id": CHILD, **more}


def test_a_run():
    (span,) = one(
        [
            run(
                "desk",
                outputs={"answer": "!"},
                extra={"metadata": {"langgraph_step": 1}},
                serialized={"lc": 1, "type": "constructor", "id": ["x"], "kwargs": {"k": 1}},
                tags=["seq:step:1"],
                feedback_stats={"helpful": {"n": 1, "avg": 0.0}},
                reference_example_id=UUID(CHILD),
                error="ValueError('no')",
                events=[
                    {"name": "start", "time": "2026-09-21T12:30:00Z"},
                    {"name": "new_token", "kwargs": {"token": "a"}},
                ],
                dotted_order=ORDER.split(".", maxsplit=1)[0],
            )
        ]
    ).spans
    assert (span.trace_id, span.span_id, span.parent_id) == (ROOT, ROOT, None)
    assert (span.start, span.end) == (NANOSECONDS, NANOSECONDS - 123_456_000 + 2_000_000_000)
    assert (span.error, span.backend, span.scope) == ("ValueError('no')", "langsmith", "langsmith")
    assert span.attributes == {
        "langsmith.run_type": "chain",
        "langsmith.inputs": {"question": "?"},
        "langsmith.outputs": {"answer": "!"},
        "langsmith.extra": {"metadata": {"langgraph_step": 1}},
        "langsmith.serialized": {"lc": 1, "type": "constructor", "id": ["x"], "kwargs": {"k": 1}},
        "langsmith.tags": ["seq:step:1"],
        "langsmith.feedback_stats": {"helpful": {"n": 1, "avg": 0.0}},
        "langsmith.reference_example_id": CHILD,
        "langsmith.dotted_order": ORDER.split(".", maxsplit=1)[0],
    }
    assert [event.name for event in span.events] == ["start", "new_token"]
    assert span.events[1].attributes == {"token": "a"}


@pytest.mark.parametrize(
    "place",
    [
        {"parent_run_id": ROOT},
        {"parent_run_ids": [CHILD, ROOT]},
        {"dotted_order": ORDER},
        {"dotted_order": ORDER, "trace_id": None},
    ],
)
def test_the_run_above(place):
    found = one([run("desk"), child(**place)])
    assert {span.span_id: span.parent_id for span in found.spans} == {ROOT: None, CHILD: ROOT}


def test_runs_within_a_run():
    found = one([run("desk", child_runs=[child(child_runs=[run("inner", id=CHILD[:-1] + "6")])])])
    assert [(span.name, span.parent_id) for span in found.spans] == [
        ("desk", None),
        ("child", ROOT),
        ("inner", CHILD),
    ]


def test_objects_of_both_clients():
    from langsmith.schemas import Run
    from langsmith.types.run import Run as Run2

    old = Run(
        id=UUID(ROOT),
        name="desk",
        run_type="chain",
        start_time=START.replace(tzinfo=None),
        end_time=START,
        inputs={"question": "?"},
        extra={"metadata": {"langgraph_step": 1}},
        trace_id=UUID(ROOT),
        dotted_order=ORDER.split(".", maxsplit=1)[0],
    )
    new = Run2(
        id=ROOT,
        name="desk",
        run_type="CHAIN",  # the second version writes it so
        start_time=START,
        end_time=START,
        inputs={"question": "?"},
        metadata={"langgraph_step": 1},
        manifest={"lc": 1},
        trace_id=ROOT,
        dotted_order=ORDER.split(".", maxsplit=1)[0],
    )
    (before,) = one([old]).spans
    (after,) = one(iter([new])).spans
    assert before.start == after.start == NANOSECONDS
    assert before.attributes["langsmith.extra"]["metadata"] == {"langgraph_step": 1}
    assert after.attributes["langsmith.extra"] == {"metadata": {"langgraph_step": 1}}
    assert after.attributes["langsmith.serialized"] == {"lc": 1}
    assert before.attributes["langsmith.run_type"] == after.attributes["langsmith.run_type"] == "chain"
    assert one(old) == one([old])


def test_a_page_of_a_query_and_lines(tmp_path):
    (tmp_path / "page.json").write_text(json.dumps({"runs": RUNS, "cursors": {}}, indent=1))
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(found) + "\n" for found in reversed(RUNS)))
    whole = one(RUNS)
    assert len(whole.spans) == len(RUNS)
    assert one(tmp_path / "page.json") == one(tmp_path / "lines.jsonl") == whole


def bulk(path, runs, **options):
    """Runs as a bulk export's rows: times are times, what is nested is JSON text."""
    columns = (
        "id",
        "trace_id",
        "name",
        "run_type",
        "start_time",
        "end_time",
        "parent_run_id",
        "dotted_order",
        "error",
        "session_name",
    )
    nested = ("inputs", "outputs", "extra", "serialized", "tags", "events", "feedback_stats")
    rows = [
        {
            **{key: found.get(key) for key in columns},
            **{key: None if found.get(key) is None else json.dumps(found[key]) for key in nested},
            "start_time": datetime.fromisoformat(found["start_time"]).replace(tzinfo=UTC),
            "end_time": datetime.fromisoformat(found["end_time"]).replace(tzinfo=UTC),
        }
        for found in runs
    ]
    parquet.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def test_a_bulk_export(tmp_path):
    path = bulk(tmp_path / "runs.parquet", RUNS, row_group_size=7)
    expected = one(RUNS)
    found = one(path)
    assert [span.attributes for span in found.spans] == [span.attributes for span in expected.spans]
    assert found == expected


def test_what_is_kept_elsewhere_is_said():
    (found,) = read([run("desk", inputs={}, s3_urls={"inputs": {"presigned_url": "https://"}})], report=refuse)
    assert found.problems == ("item 1: the inputs of a run are kept outside of it, and were not fetched",)


def test_json_text_that_is_none_stays_text():
    (span,) = one([run("desk", outputs="plain")]).spans
    assert span.attributes["langsmith.outputs"] == "plain"


def test_a_status_without_a_message_is_an_error():
    (span,) = one([run("desk", status="error")]).spans
    assert span.error == "error"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"id": None}, "no id"),
        ({"id": "x" * 1000}, "no id"),
        ({"start_time": "yesterday"}, "no date and time: 'yesterday'"),
        ({"start_time": None}, "no date and time"),
        ({"end_time": 12}, "no date and time"),
    ],
)
def test_a_wrong_run_is_left_out_and_said(wrong, said):
    problems = []
    found = list(read([run("desk"), child(**wrong)], report=problems.append))
    assert [span.name for trace in found for span in trace.spans] == ["desk"]
    (problem,) = [*problems, *found[0].problems]
    assert problem.startswith("item 2: a run was left out: ")
    assert said in problem


def test_a_damaged_export_keeps_what_was_read(tmp_path):
    path = bulk(tmp_path / "runs.parquet", RUNS)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    other = tmp_path / "other.parquet"
    parquet.write_table(pa.Table.from_pylist([{"a": 1}]), other)
    good = bulk(tmp_path / "good.parquet", RUNS)
    problems = []
    found = list(read([path, other, good], report=problems.append))
    assert [len(trace.spans) for trace in found] == [len(RUNS)]
    assert problems[0].startswith(f"{path}: Parquet cannot be read here")
    assert "no columns id, trace_id and start_time" in problems[1]
