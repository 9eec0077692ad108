"""What people and evaluators have said of runs in a backend makes a trace a failing one, in each backend's own form."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.run.imported import answers, critic, files, polite
from tests.run.test_from_traces_data import trace
from textgrad_lg import TGD, Evals, MemoryRegistry, ProductionTrace, Score, Settings, Strategy, learn, to_examples
from textgrad_lg.errors import DataError
from textgrad_lg.evals.feedback import Feedback
from textgrad_lg.types import Phase
from textgrad_lg_tracing.readers import read, read_traces

BAD = {"score": 0.0, "comment": "It ends without a word of goodbye."}
GOOD = {"score": 1.0, "comment": None}


def spans(folder, count):
    """The spans of traces that OpenInference wrote, trace by trace; the root of each is marked."""
    for number, found in enumerate(read(files("openinference", count, folder), report=lambda _: None)):
        for span in found.spans:
            yield number, span, span.parent_id is None and span.attributes.get("openinference.span.kind") == "CHAIN"


def said(number):
    return BAD if number % 2 else GOOD


def moment(nanoseconds):
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat()


def langsmith(folder, count):
    """Runs as `list_runs` gives them: what was said stands in `feedback_stats`."""
    for number, file in enumerate(files("langsmith", count, folder)):
        told, runs = said(number), json.loads(file.read_text())
        stats = {"n": 1, "avg": told["score"], "values": {}, "comments": [told["comment"]] if told["comment"] else []}
        yield from [run if run.get("parent_run_id") else {**run, "feedback_stats": {"user": stats}} for run in runs]


def phoenix(folder, count):
    """Spans of `/v1/projects/{project}/spans`, and what `/span_annotations` gives laid beside them by the span's id."""
    found, annotations = [], {}
    for number, span, is_root in spans(folder, count):
        context = {"trace_id": span.trace_id, "span_id": span.span_id}
        about = {key: value for key, value in span.attributes.items() if key != "metadata"}
        about |= {
            f"metadata.{key}": value for key, value in json.loads(str(span.attributes.get("metadata", "{}"))).items()
        }
        found.append(
            {
                "id": span.span_id,
                "name": span.name,
                "context": context,
                "span_kind": span.attributes["openinference.span.kind"],
                "parent_id": span.parent_id,
                "start_time": moment(span.start),
                "end_time": moment(span.end),
                "status_code": "OK",
                "status_message": "",
                "attributes": about,
                "events": [],
            }
        )
        if is_root:
            told = said(number)
            result = {"label": None, "score": told["score"], "explanation": told["comment"]}
            row = {"span_id": span.span_id, "name": "user", "annotator_kind": "HUMAN", "result": result}
            annotations.setdefault(span.span_id, []).append(row)
    for span in found:
        span["annotations"] = annotations.get(span["context"]["span_id"], [])
    return found


def mlflow(folder, count):
    """Traces as `Trace.to_dict` gives them, with an assessment; its value is a word, as MLflow's judges give it."""
    traces = {}
    for number, span, _ in spans(folder, count):
        told = said(number)
        assessment = {
            "assessment_name": "polite",
            "source": {"source_type": "LLM_JUDGE", "source_id": "judge"},
            "feedback": {"value": "yes" if told["score"] else "no"},
            "rationale": told["comment"],
        }
        info = {"trace_id": f"tr-{span.trace_id}", "state": "OK", "assessments": [assessment]}
        held = traces.setdefault(number, {"info": info, "data": {"spans": []}})
        held["data"]["spans"].append(
            {
                "trace_id": base64.b64encode(bytes.fromhex(span.trace_id)).decode(),
                "span_id": base64.b64encode(bytes.fromhex(span.span_id)).decode(),
                "parent_span_id": base64.b64encode(bytes.fromhex(span.parent_id)).decode() if span.parent_id else None,
                "name": span.name,
                "start_time_unix_nano": span.start,
                "end_time_unix_nano": span.end,
                "events": [],
                "status": {"code": "STATUS_CODE_OK", "message": ""},
                "attributes": {key: json.dumps(value) for key, value in span.attributes.items()},
            }
        )
    return traces.values()


def langfuse(folder, count):
    """Traces of the public API, with their observations and scores."""
    traces = {}
    for number, span, _ in spans(folder, count):
        told = said(number)
        score = {"id": f"s{number}", "name": "user", "dataType": "BOOLEAN", "value": told["score"]}
        held = traces.setdefault(
            number,
            {"id": span.trace_id, "name": "desk", "scores": [score | {"comment": told["comment"]}], "observations": []},
        )
        scope = {"name": "openinference.instrumentation.langchain", "version": None, "attributes": {}}
        held["observations"].append(
            {
                "id": span.span_id,
                "traceId": span.trace_id,
                "type": "SPAN",
                "name": span.name,
                "startTime": moment(span.start),
                "endTime": moment(span.end),
                "parentObservationId": span.parent_id,
                "level": "DEFAULT",
                "metadata": {"attributes": dict(span.attributes), "resourceAttributes": {}, "scope": scope},
            }
        )
    return traces.values()


@pytest.mark.parametrize("backend", [langsmith, phoenix, mlflow, langfuse], ids=lambda backend: backend.__name__)
def test_feedback_of_each_backend_reaches_learn(backend, tmp_path):
    """No evaluator is given: nothing but what people have said can have made half of the traces fail."""
    problems = []
    traces = list(read_traces(backend(tmp_path, 12), report=problems.append))
    assert len(traces) == 12
    model = critic()
    result = learn(
        None,
        traces,
        model=model,
        answers=answers(),
        registry=MemoryRegistry(),
        run_dir=tmp_path / "run",
        optimizer=TGD(),
        settings=Settings(steps=1, batch=4, strategy=Strategy.CHAIN),
    )
    assert result.seen == 12
    assert {one.trace.id for one in result.failing} == {one.trace.id for at, one in enumerate(traces) if at % 2}
    assert sum(cluster.size for cluster in result.clusters) == 6
    assert all(BAD["comment"] in cluster.said for cluster in result.clusters)
    # What people said is what the critic is told to begin with.
    assert any(BAD["comment"] in request.messages[-1].text for request in model.requests)
    assert [example.metadata["failed_by"] for example in to_examples(traces)] == ["feedback"] * 6


# Scales


def stars(number, value, key="stars"):
    return ProductionTrace(trace(number), (Score(key, value, f"{value} stars"),))


class Imported:
    """What `read_traces` gives, as far as it is read."""

    def __init__(self, number, *feedback):
        self.trace, self.feedback = trace(number), feedback


@pytest.mark.parametrize(
    ("scale", "key", "values", "failing"),
    [
        (None, "thumb", [0, 1], [0]),
        ((-1, 1), "thumb", [-1, 1], [0]),
        ((1, 5), "stars", [1, 3, 4, 5], [0, 1, 2]),
        ((0, 100), "percent", [0, 99, 100], [0, 1]),
        ((10, 0), "mistakes", [0, 3], [1]),
    ],
)
def test_numbers_are_read_on_their_scale(scale, key, values, failing):
    traces = [Imported(number, Score(key, float(value))) for number, value in enumerate(values)]
    found = to_examples(traces, scales=None if scale is None else {key: scale})
    assert [example.metadata["trace"] for example in found] == [f"{number:032x}" for number in failing]


def test_of_the_same_feedback_in_any_form_the_scale_is_the_same():
    for item in (Score("stars", 3.0), Feedback("stars", 3.0), {"key": "stars", "score": 3}):
        assert ProductionTrace.of(Imported(1, item), scales={"stars": (1, 5)}).feedback[0].value == 0.5


def test_what_is_enough_can_be_less_than_the_best():
    traces = [Imported(number, Score("stars", float(number))) for number in range(1, 6)]
    scales = {"stars": (1, 5)}
    assert len(to_examples(traces, scales=scales)) == 4
    assert len(to_examples(traces, scales=scales, pass_at=0.7)) == 3
    # What evaluators say is held to what the evals say.
    evals = Evals((), [lambda outputs: 0.6], pass_at=0.5)
    assert len(to_examples(traces, evals, scales=scales, pass_at=0.7)) == 3
    with pytest.raises(DataError, match="pass_at is nan"):
        learn(None, traces, model=critic(), scales=scales, pass_at=float("nan"))


def test_feedback_that_is_no_judgement_can_be_left_out():
    one = ProductionTrace.of(
        Imported(1, Score("latency", 3.5), Score("thumb", 1.0), {"key": "tokens", "score": 900}),
        scales={"latency": None, "tokens": None},
    )
    assert [score.key for score in one.feedback] == ["thumb"]


@pytest.mark.parametrize("value", [4.0, -1.0])
def test_a_number_on_no_known_scale_is_refused_before_anything_is_paid(value, tmp_path):
    """One star of five would be taken for full marks, and everything after would be learnt the wrong way round."""
    traces = [Imported(1, Score("stars", 1.0)), Imported(2, Score("stars", value))]
    model = critic()
    with pytest.raises(DataError, match=r"scales=\{'stars': \(worst, best\)\}.*scales=\{'stars': None\}"):
        learn(None, traces, model=model, run_dir=tmp_path)
    with pytest.raises(DataError, match="scales="):
        to_examples(traces)
    with pytest.raises(DataError, match=r"of a ProductionTrace has the score .* scores_from_feedback"):
        to_examples([stars(1, value)])
    assert model.requests == []
    with pytest.raises(DataError, match="another scale"):
        learn(None, traces, model=model, run_dir=tmp_path, scales={"stars": (1, 3) if value > 0 else (1, 5)})


def test_learn_takes_the_scale_too(tmp_path):
    found = list(read_traces(files("openinference", 12, tmp_path), report=lambda _: None))
    rated = [replace(one, feedback=(Score("stars", 2.0 + number % 4),)) for number, one in enumerate(found)]
    options = {"model": critic(), "answers": answers(), "registry": MemoryRegistry(), "optimizer": TGD()}
    settings = Settings(steps=1, batch=4)
    result = learn(
        None, rated, scales={"stars": (1, 5)}, pass_at=0.7, run_dir=tmp_path / "run", settings=settings, **options
    )
    assert {one.trace.id for one in result.failing} == {found[at].trace.id for at in range(12) if at % 4 < 2}
    assert not result.spend.phases.get(Phase.JUDGE)
    both = learn(None, rated, polite, scales={"stars": (1, 5)}, run_dir=tmp_path / "both", settings=settings, **options)
    assert len(both.failing) == 12


@pytest.mark.parametrize(
    ("result", "value"),
    [
        ({"label": "incorrect", "score": None}, 0.0),
        ({"label": "incorrect", "score": 1.0}, 1.0),
        ({"label": "wrong tone", "score": None}, None),
        ({"label": "correct"}, 1.0),
    ],
)
def test_an_annotation_of_phoenix_may_be_a_label_alone(result, value, tmp_path):
    found = phoenix(tmp_path, 1)
    for span in found:
        span["annotations"] = [{**row, "result": result} for row in span["annotations"]]
    (one,) = read_traces(found, report=lambda _: None)
    assert [score.value for score in one.feedback] == [value]


@pytest.mark.parametrize(
    ("stats", "value"),
    [
        ({"avg": None, "values": {"thumbs_down": 3, "thumbs_up": 1}}, 0.25),
        ({"avg": None, "values": {"No": 1, "wrong tone": 5}}, 0.0),
        ({"avg": None, "values": {"wrong tone": 5}}, None),
        ({"avg": 1.0, "values": {"no": 1}}, 1.0),
        ({"avg": None, "values": None}, None),
    ],
)
def test_words_in_the_place_of_a_score_are_read(stats, value, tmp_path):
    (file,) = files("langsmith", 1, tmp_path)
    runs = json.loads(file.read_text())
    rated = [run if run.get("parent_run_id") else {**run, "feedback_stats": {"user": stats}} for run in runs]
    (one,) = read_traces(rated, report=lambda _: None)
    assert [score.value for score in one.feedback] == [value]
