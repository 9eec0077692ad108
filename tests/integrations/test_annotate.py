"""Gradients find the production spans that they criticise: LangSmith's runs and Phoenix's spans, with a link back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from langsmith import Client

from tests.tracing.recorder import check, recording
from tests.tracing.support import by_name, memory, scored, trace_of, went_back
from textgrad_lg import events
from textgrad_lg.errors import DataError
from textgrad_lg.trace import Trace
from textgrad_lg_integrations.annotate import Annotation, annotate, annotations_of
from textgrad_lg_integrations.annotate_langsmith import LangSmith, run_id
from textgrad_lg_integrations.annotate_phoenix import Phoenix

KEY = "lsv2_pt_0123456789abcdef0123456789abcdef_0123456789"
PROJECT = "0b1c2d3e-0000-4000-8000-00000000000a"
TRACE = f"{255:032x}"


def production():
    """A Trace as it is read from OTLP, and the Gradients on it."""
    trace = trace_of("e1", text="it")
    spans = [
        replace(span, attributes={**span.attributes, "run_id": f"{at + 160:016x}"})
        for at, span in enumerate(trace.spans)
    ]
    trace: Trace = replace(trace, spans=tuple(spans))
    back = went_back(trace, scored(trace).scores, text="it")
    return back.trace, back


class Kept:
    def __init__(self):
        self.sent = []

    def send(self, annotations):
        self.sent += annotations


def test_each_span_gets_what_was_said_of_what_it_made_or_of_the_prompts_it_used():
    trace, back = production()
    to = Kept()
    found: Any = annotate(trace, back.gradients, to)
    assert list(found) == to.sent
    names = {str(span.attributes.get("run_id")): span.id for span in trace.spans}
    assert {names[one.span]: one.text for one in found} == {
        # What the model was told to answer with, and what it then answered.
        "s2": "- it plan for a better page\n- it plan more",
        "s3": "it find a better page",
        "s5": "- it say more\n- it ask for detail",
    }
    last = found[-1]
    assert (last.trace, last.key, last.score) == (trace.id, "textgrad.gradient", 0.0)
    assert last.metadata["textgrad.param.names"] == ["answer/system"]
    assert len(last.metadata["textgrad.gradient.ids"]) == 2
    assert "textgrad.span_id" not in last.metadata


def test_the_link_back_is_that_of_the_span_in_which_the_criticism_was_made():
    trace, back = production()
    callback, exporter = memory()
    assert callback.backward_span(trace.id, "s5") is None
    callback(back)
    callback(events.StepFinished(run=back.run, time=back.time, step=1, started=0.0, score=None, accepted=False))
    callback.close()
    found: Any = annotations_of(trace, back.gradients, links=callback.backward_span)
    spans = {f"{span.context.span_id:016x}": span for span in exporter.get_finished_spans()}
    shown = {one.text.partition("\n")[0]: spans[one.metadata["textgrad.span_id"]] for one in found}
    assert {text: span.name for text, span in shown.items()} == {
        "- it plan for a better page": "backward search",
        "it find a better page": "backward answer",
        "- it say more": "backward right",
    }
    for one in found:
        assert int(one.metadata["textgrad.trace_id"], 16) == spans[one.metadata["textgrad.span_id"]].context.trace_id
    whole = by_name(exporter.get_finished_spans(), "backward").context
    assert callback.backward_span(trace.id, "not differentiated") == whole


def test_other_traces_the_judges_and_what_is_not_there_get_nothing():
    trace, back = production()
    others = [replace(gradient, trace="other") for gradient in back.gradients]
    to = Kept()
    assert annotate(trace, others, to) == ()
    assert to.sent == []
    verdict = replace(back.gradients.items[0], variable="gone")  # its consumer is the evaluator
    unknown = replace(verdict, span="gone")
    assert annotations_of(trace, [verdict, unknown]) == ()


def test_the_texts_are_redacted_masked_and_clipped():
    trace, back = production()
    gradient = replace(back.gradients.items[0], text=f"Ada said {KEY} " + "x" * 200)
    (one,) = annotations_of(trace, [gradient], redactor=lambda _, text: str(text).replace("Ada", "somebody"), limit=80)
    assert one.text.startswith("somebody said [secret]")
    assert one.text.endswith("characters cut]")
    assert len(one.text) <= 80


@pytest.fixture
def server():
    with recording() as recorder:
        yield recorder


@pytest.mark.loopback
def test_langsmith_gets_feedback_of_the_published_shape_on_the_run_that_the_span_became(server):
    trace, back = production()
    client = Client(api_url=server.url, api_key=KEY, auto_batch_tracing=False)
    found = annotate(trace, back.gradients, LangSmith(client, PROJECT))
    annotate(trace, back.gradients, LangSmith(client, PROJECT))
    sent = [request.json for request in server.to("/feedback")]
    assert len(sent) == 2 * len(found)
    for body in sent:
        # The SDK is newer than the copy of the description.
        assert body.pop("extend_trace_retention") is True
        check("langsmith", "FeedbackCreateSchema", body)
    assert sent[0]["run_id"] == "00000000-0000-0000-0000-0000000000a2"
    assert sent[0]["feedback_source"]["type"] == "model"
    assert sent[0]["feedback_source"]["metadata"]["textgrad.param.names"] == ["plan/system"]
    assert [body["id"] for body in sent[: len(found)]] == [body["id"] for body in sent[len(found) :]]
    assert not [request for request in server.requests if KEY.encode() in request.body]


@pytest.mark.loopback
def test_feedback_that_langsmith_has_already_is_no_error(server):
    trace, back = production()
    server.answers["/feedback"] = (409, '{"detail": "exists"}')
    client = Client(api_url=server.url, api_key=KEY, auto_batch_tracing=False)
    annotate(trace, back.gradients, LangSmith(client, PROJECT))
    assert len(server.to("/feedback")) == 3


@pytest.mark.loopback
def test_what_langsmith_refuses_is_an_error_without_the_key(server):
    trace, back = production()
    server.answers["/feedback"] = (401, f'{{"detail": "x-api-key: {KEY}"}}')
    client = Client(api_url=server.url, api_key=KEY, auto_batch_tracing=False)
    with pytest.raises(DataError, match="LANGSMITH_API_KEY") as caught:
        annotate(trace, back.gradients, LangSmith(client, PROJECT))
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in repr(LangSmith(client, PROJECT))


@pytest.mark.parametrize(
    ("span", "run"),
    [
        ("faeb90f2119870ca", "00000000-0000-0000-faeb-90f2119870ca"),
        ("0b1c2d3e-0000-4000-8000-000000000001", "0b1c2d3e-0000-4000-8000-000000000001"),
    ],
)
def test_the_run_of_a_span(span, run):
    assert run_id(span) == UUID(run)


@pytest.mark.parametrize("span", ["s5", "", "zzzzzzzzzzzzzzzz"])
def test_a_span_that_neither_knows_is_refused(span):
    with pytest.raises(DataError, match="LangSmith or from OTLP"):
        run_id(span)
    with pytest.raises(DataError, match="read from Phoenix"):
        Phoenix().send([Annotation(span, TRACE, "k", "text", None, {})])


@pytest.mark.loopback
def test_phoenix_gets_annotations_in_batches_of_its_shape(server):
    many = [Annotation(f"{at:016x}", TRACE, "k", "text", None if at else 0.5, {"a": 1}) for at in range(101)]
    Phoenix(server.url + "/", headers={"authorization": f"Bearer {KEY}"}).send(many)
    first, second = server.to("/v1/span_annotations")
    assert (len(first.json["data"]), len(second.json["data"])) == (100, 1)
    assert first.json["data"][0] == {
        "span_id": f"{0:016x}",
        "name": "k",
        "annotator_kind": "LLM",
        "result": {"score": 0.5, "explanation": "text"},
        "metadata": {"a": 1},
        "identifier": "k",
    }
    assert first.path.endswith("?sync=true")
    assert first.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.loopback
def test_what_phoenix_refuses_and_a_server_that_is_not_there_are_errors_without_the_headers(server):
    one = Annotation(f"{1:016x}", TRACE, "k", "text", None, {})
    server.answers["/v1/span_annotations"] = (404, KEY)
    phoenix = Phoenix(server.url, headers={"authorization": KEY})
    with pytest.raises(DataError, match="HTTP 404") as refused:
        phoenix.send([one])
    with pytest.raises(DataError, match="could not be reached") as absent:
        Phoenix(f"http://user:{KEY}@127.0.0.1:1", headers={"authorization": KEY}).send([one])
    for error in (refused, absent):
        assert KEY not in str(error.value)
        assert error.value.__cause__ is None
    assert KEY not in repr(phoenix)
