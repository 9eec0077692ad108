"""Values that only some backends or versions of them write."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from textgrad_lg_tracing.readers import values, wire
from textgrad_lg_tracing.readers.limits import Limits
from textgrad_lg_tracing.readers.read import read

FORMATS = Path(__file__).parent / "data" / "formats"


def refuse(problem):
    raise AssertionError(problem)


def changed(name, change) -> Any:
    """The one trace of a file, with something in it changed."""
    value = json.loads((FORMATS / name).read_text())
    change(value)
    (found,) = read([value], limits=Limits(depth=10), report=refuse)
    return found


def test_jaegers_tags_as_text():
    def change(value):
        span = value["data"][0]["spans"][1]
        span["tags"] = [
            {"key": "count", "type": "int64", "value": "3"},
            {"key": "share", "type": "float64", "value": "0.25"},
            {"key": "sure", "type": "bool", "value": "true"},
            {"key": "error", "type": "bool", "value": "true"},
            {"key": "otel.dropped_attributes_count", "type": "int64", "value": 4},
        ]
        del span["processID"]
        span["process"] = {"serviceName": "other"}

    join = changed("jaeger.json", change).spans[2]
    assert {key: join.attributes[key] for key in ("count", "share", "sure")} == {
        "count": 3,
        "share": 0.25,
        "sure": True,
    }
    assert (join.error, join.dropped, join.scope) == ("error", 4, "")
    assert join.resource == {"service.name": "other"}


def test_phoenix_annotations_and_metadata_that_was_not_taken_apart():
    def change(value):
        plan = value["data"][1]
        plan["attributes"] = {"metadata": {"tenant": "acme"}, "metadata.langgraph_node": "plan"}
        plan["annotations"] = [{"result": {"score": 0.5}}]
        plan["status_message"] = ""
        value["data"][2]["end_time"] = None

    _, plan, join = changed("phoenix.json", change).spans
    assert json.loads(plan.attributes["metadata"]) == {"tenant": "acme", "langgraph_node": "plan"}
    assert plan.attributes["phoenix.annotations"] == [{"result": {"score": 0.5}}]
    assert plan.error == "ValueError: no plan"  # of the exception event
    assert join.start == join.end


def test_what_mlflow_says_of_a_trace_may_be_too_deep():
    def change(value):
        deep: list[Any] = []
        for _ in range(20):
            deep = [deep]
        value["info"]["tags"] = deep
        value["data"]["spans"][0]["attributes"]["raw"] = 5

    found = changed("mlflow.json", change)
    assert "mlflow.info" not in found.spans[0].attributes
    assert found.spans[1].attributes["raw"] == 5
    assert found.problems == (
        "item 1: the trace's info was left out: lists and mappings lie too deep within each other",
    )


def test_values_of_an_sdk():
    class Model:
        def model_dump(self):
            return {"when": datetime(2026, 1, 2, tzinfo=UTC), "raw": b"\x00", "cost": Decimal("0.5"), "pair": (1, 2)}

    expected = {"when": "2026-01-02T00:00:00+00:00", "raw": "AA==", "cost": "0.5", "pair": [1, 2]}
    assert values.clean(Model(), 5) == expected


def test_what_is_said_of_a_failure():
    named = [("exception", 0, {"exception.type": "ValueError"}), ("other", 1, {})]
    assert values.failure("told", named) == "told"
    assert values.failure(None, named) == "ValueError"
    assert values.failure("", [("exception", 0, {})]) == "error"
    assert values.failure(None, []) == "error"


def test_a_time_as_a_number():
    assert values.nanoseconds(1.5e9) == 1_500_000_000
    with pytest.raises(values.Malformed, match="no time: float"):
        values.nanoseconds(float("inf"))


def test_fields_of_every_type():
    data = b"\x08\x96\x01" + b"\x11" + bytes(8) + b"\x1d" + bytes(4) + wire.field(4, b"x" * 300)
    found = list(wire.fields(data))
    assert [one.number for one in found] == [1, 2, 3, 4]
    assert b"".join(one.data for one in found) == data
    assert found[3].payload == b"x" * 300


@pytest.mark.parametrize("data", [b"\x08", b"\x12", b"\x11\x00", b"\x12\x05ab", b"\x08\xff", b"\x00\x00", b"\x0b"])
def test_fields_of_what_is_no_message(data):
    with pytest.raises(wire.Damaged):
        list(wire.fields(data))
