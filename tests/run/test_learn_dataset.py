"""A LangSmith data set that grows from traces: the real SDK against a server on this machine, which keeps what it is sent."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from langsmith import Client

from tests.run.test_from_traces_data import thumbs, trace
from tests.tracing.recorder import recording
from textgrad_lg import Evals, to_examples
from textgrad_lg.errors import DataError
from textgrad_lg.evals import load

NOW = "2026-11-21T08:00:00+00:00"


class Api(dict):
    """Answers as LangSmith does where data sets and examples are made and listed, and says what it can."""

    def __init__(self, recorder, multipart):
        super().__init__()
        self.multipart = multipart
        self.recorder, self.sets, self.examples, self.refuses = recorder, {}, [], False

    def get(self, place, default=None):
        request = self.recorder.requests[-1]
        if place.startswith("/v1/platform/datasets/"):
            return 200, json.dumps(self._in_parts(place.split("/")[4], request.parts()))
        known = {
            "/datasets": self._data_sets,
            "/examples": self._listed,
            "/examples/bulk": self._in_bulk,
            "/info": self._info,
        }
        if place not in known:
            return default
        if self.refuses and request.method == "POST":
            return 403, '{"detail": "Forbidden"}'
        return 200, json.dumps(known[place](request))

    def _info(self, request):
        return {"version": "0.1.0", "instance_flags": {"dataset_examples_multipart_enabled": self.multipart}}

    def _data_sets(self, request):
        if request.method == "GET":
            name = parse_qs(urlsplit(request.path).query)["name"][0]
            return [self.sets[name]] if name in self.sets else []
        told = request.json
        known = {"id": str(uuid4()), "name": told["name"], "data_type": told["data_type"], "created_at": NOW}
        self.sets[told["name"]] = known
        return known

    def _listed(self, request):
        query = {key: values[0] for key, values in parse_qs(urlsplit(request.path).query).items()}
        rows = [row for row in self.examples if row["dataset_id"] == query["dataset"]]
        return rows[int(query["offset"]) :][: int(query["limit"])]

    def _in_bulk(self, request):
        return [self.keep(row["dataset_id"], row) for row in request.json]

    def _in_parts(self, own, parts):
        names = [name for name in parts if "." not in name]
        for name in names:
            held = {key: parts[f"{name}.{key}"] for key in ("inputs", "outputs") if f"{name}.{key}" in parts}
            self.keep(own, {"id": name, **parts[name], **held})
        return {"example_ids": names, "count": len(names)}

    def keep(self, own, row):
        assert row["id"] not in {known["id"] for known in self.examples}, "an example was sent twice"
        kept = {"created_at": NOW, "modified_at": NOW, **row, "dataset_id": own}
        self.examples.append(kept)
        return kept


@pytest.fixture(params=[True, False], ids=["multipart", "bulk"])
def langsmith(request):
    """A client and its server, of now and of before examples were sent in parts."""
    with recording() as recorder:
        recorder.answers = Api(recorder, request.param)
        client = Client(recorder.url, api_key="key", auto_batch_tracing=False, timeout_ms=5000)
        yield client, recorder.answers
        client.close()
        client.session.close()


@pytest.mark.loopback
def test_failing_traces_become_examples_of_a_langsmith_data_set_once(langsmith):
    client, api = langsmith
    traces = [thumbs(1), trace(2), thumbs(3, answer="a better one")]
    assert len(to_examples(traces, to="failing", client=client)) == 2
    assert to_examples(traces, to="failing", client=client) == ()
    assert len(to_examples([*traces, thumbs(4)], to="failing", client=client)) == 1
    assert list(api.sets) == ["failing"]
    assert [row["inputs"] for row in api.examples] == [{"question": f"question {at}"} for at in (1, 3, 4)]
    assert [row.get("outputs") for row in api.examples] == [None, {"answer": "a better one"}, None]
    for row, number in zip(api.examples, (1, 3, 4), strict=True):
        assert row["metadata"]["trace"] == row["metadata"]["source"] == f"{number:032x}"
        assert row["metadata"]["failed_by"] == "feedback"
        assert UUID(row["id"])


@pytest.mark.loopback
def test_more_examples_than_the_api_lists_at_once_are_known_again(langsmith):
    client, api = langsmith
    traces = [thumbs(number) for number in range(230)]
    assert len(to_examples(traces, to="failing", client=client)) == 230
    assert to_examples(reversed(traces), to="failing", client=client) == ()
    assert len(api.examples) == 230


@pytest.mark.loopback
def test_what_has_grown_is_data_for_evals(langsmith):
    client, _ = langsmith
    to_examples([thumbs(number) for number in range(3)], to="failing", client=client)
    found = Evals(load("failing", client=client), [lambda outputs: True]).examples
    assert [example.inputs for example in found] == [{"question": f"question {number}"} for number in range(3)]
    assert [example.metadata["source"] for example in found] == [f"{number:032x}" for number in range(3)]


@pytest.mark.loopback
def test_what_langsmith_refuses_is_said(langsmith):
    client, api = langsmith
    api.refuses = True
    with pytest.raises(DataError, match="the LangSmith data set 'failing' could not be added to"):
        to_examples([thumbs(1)], to="failing", client=client)
    assert api.examples == []
