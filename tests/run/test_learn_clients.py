"""From a backend's own client to `learn`: the calls that docs/production.md shows, made against a server on this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest
from langsmith import Client

from tests.run.imported import answers, critic
from tests.run.test_learn_feedback import langsmith, phoenix
from tests.tracing.recorder import recording
from textgrad_lg import TGD, MemoryRegistry, Settings, learn
from textgrad_lg_tracing.readers import read_traces

PAGE = (Path(__file__).parents[2] / "docs" / "production.md").read_text("utf-8")
PROJECT = str(uuid4())
COUNT = 6


def shown(start):
    """The indented snippet of the page whose first line begins so."""
    for block in re.findall(r"(?:^(?:    .*)?\n)+", PAGE, re.MULTILINE):
        lines = [line[4:] for line in block.strip("\n").splitlines()]
        if lines and lines[0].startswith(start):
            return "\n".join(lines)
    raise AssertionError(f"docs/production.md shows nothing that begins with {start!r}")


class LangSmith(dict):
    """Answers as LangSmith does where runs are asked for, in pages."""

    def __init__(self, recorder, runs):
        super().__init__()
        self.recorder, self.runs = recorder, runs

    def get(self, place, default=None):
        request = self.recorder.requests[-1]
        if place == "/sessions":
            about = {"id": PROJECT, "name": "desk", "start_time": "2026-09-21T12:30:00", "reference_dataset_id": None}
            return 200, json.dumps([about | {"tenant_id": PROJECT}])
        if place == "/runs/query":
            assert request.json["session"] == [PROJECT]
            found, cursor = self._page(request.json.get("cursor"), 100)
            wanted = request.json["select"]
            rows = [{key: value for key, value in run.items() if key in {*wanted, "session_id"}} for run in found]
            return 200, json.dumps({"runs": rows, "cursors": {"next": cursor}})
        if place == "/api/v2/runs/query":
            assert request.json["project_ids"] == [PROJECT]
            found, cursor = self._page(request.json.get("cursor"), request.json["page_size"])
            wanted = {name.lower() for name in request.json["selects"]}
            rows = [{key: value for key, value in self._second(run).items() if key in wanted} for run in found]
            return 200, json.dumps({"items": rows, "next_cursor": cursor})
        return default

    def _page(self, cursor, size):
        start = int(cursor or 0)
        more = str(start + size) if start + size < len(self.runs) else None
        return self.runs[start : start + size], more

    def _second(self, run):
        """A run as the second form of the API has it."""
        above = [part.partition("Z")[2] for part in run["dotted_order"].split(".")][:-1]
        about = {**run, "parent_run_ids": above, "project_id": PROJECT, "manifest": run.get("serialized")}
        return {**about, "status": "SUCCESS", "run_type": run["run_type"].upper()}


@pytest.fixture
def langsmith_client(tmp_path):
    with recording() as recorder:
        runs = [{**run, "session_id": PROJECT, "status": "success"} for run in langsmith(tmp_path, COUNT)]
        recorder.answers = LangSmith(recorder, runs)
        client = Client(recorder.url, api_key="key", auto_batch_tracing=False, timeout_ms=5000)
        yield client
        client.close()
        client.session.close()


def check(traces, folder):
    """Half of the traces have failed, by what people said of them; they are whole, and can be learnt from."""
    assert len(traces) == COUNT
    assert {str(one.completeness) for one in traces} == {"full"}
    options = {"registry": MemoryRegistry(), "optimizer": TGD(), "model": critic(), "answers": answers()}
    result = learn(None, traces, run_dir=folder / "run", settings=Settings(steps=1, batch=2), **options)
    assert len(result.failing) == COUNT // 2
    return result


@pytest.mark.loopback
@pytest.mark.filterwarnings("ignore:list_runs:DeprecationWarning")
def test_runs_of_langsmith(langsmith_client, tmp_path):
    names = {"client": langsmith_client, "read_traces": read_traces}
    exec(shown("runs = client.list_runs("), names)
    check(list(names["traces"]), tmp_path)


@pytest.mark.loopback
async def test_runs_of_langsmith_by_the_second_form_of_its_api(langsmith_client, tmp_path):
    code = shown("selects = [")
    assert "list(runs_of(" not in code
    names = {"client": langsmith_client, "project": PROJECT, "read_traces": read_traces}
    inside = "".join(f"    {line}\n" for line in code.splitlines())
    exec(f"async def asked():\n{inside}    return list(traces)\n", names)
    check(await names["asked"](), tmp_path)


class Phoenix(dict):
    """Answers as Phoenix does where spans and their annotations are asked for, in pages."""

    def __init__(self, recorder, spans):
        super().__init__()
        self.recorder, self.spans = recorder, spans

    def get(self, place, default=None):
        query = parse_qs(urlsplit(self.recorder.requests[-1].path).query)
        start = int(query.get("cursor", ["0"])[0])
        if place == "/v1/projects/default/spans":
            size = int(query["limit"][0])
            bare = [{key: value for key, value in span.items() if key != "annotations"} for span in self.spans]
            more = str(start + size) if start + size < len(bare) else None
            return 200, json.dumps({"data": bare[start : start + size], "next_cursor": more})
        if place == "/v1/projects/default/span_annotations":
            known = [row for span in self.spans for row in span["annotations"] if row["span_id"] in query["span_ids"]]
            return 200, json.dumps({"data": known, "next_cursor": None})
        return default


@pytest.mark.loopback
def test_spans_of_phoenix_with_their_annotations(tmp_path):
    with recording() as recorder:
        recorder.answers = Phoenix(recorder, phoenix(tmp_path, COUNT))
        names = {"read_traces": read_traces, "httpx": httpx, "url": recorder.url}
        exec(shown("def pages(path, **query):"), names)
        check(list(names["traces"]), tmp_path)
        assert all(len(request.path) < 4_000 for request in recorder.requests)
