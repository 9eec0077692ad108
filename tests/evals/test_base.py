"""Evals.score: what an evaluator is given, how it is called, and what becomes of what it does."""

import asyncio
import contextvars
import functools
import json
import threading
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import UUID

import langsmith
import pytest
from inline_snapshot import snapshot
from langsmith.evaluation import EvaluationResult, RunEvaluator, run_evaluator
from openevals.exact import exact_match, exact_match_async
from openevals.json import create_json_match_evaluator
from openevals.llm import create_async_llm_as_judge, create_llm_as_judge

from textgrad_lg.errors import BudgetExhausted, DataError, EvaluatorError
from textgrad_lg.evals import Evals, example_score, failed
from textgrad_lg.example import Example, Score
from textgrad_lg.testing import ScriptedChatModel, TraceBuilder

EXAMPLE = Example("1", {"text": "Great!"}, {"label": "positive"}, {"source": "mail"})
OUTPUTS = {"text": "Great!", "label": "negative", "notes": ["a"]}


def right_label(outputs, reference_outputs):
    want = reference_outputs["label"]
    return outputs["label"] == want, f"expected {want!r}"


async def judge(evaluators, outputs=OUTPUTS, example=EXAMPLE, **given):
    return await Evals([], evaluators).score(example, outputs, **given)


async def test_the_readmes_evaluator():
    scores = await judge(right_label)
    assert scores == (Score("right_label", 0.0, "expected 'positive'", ("label",), {"label": "positive"}),)


# What it is given


async def test_every_argument_by_name():
    build = TraceBuilder("desk")
    trace = build.finish({"label": build.input("label", "negative")})
    critic = ScriptedChatModel()
    seen = {}

    def all_of_them(run, example, inputs, outputs, reference_outputs, model, trace):  # noqa: PLR0917  all there are
        seen.update(locals())
        return 1

    await judge(all_of_them, trace=trace, model=critic)
    assert seen["inputs"] == EXAMPLE.inputs
    assert seen["outputs"] == OUTPUTS
    assert isinstance(seen["outputs"], dict)
    assert seen["reference_outputs"] == {"label": "positive"}
    assert seen["model"] is critic
    assert seen["trace"] is trace
    run, example = seen["run"], seen["example"]
    assert isinstance(run, langsmith.schemas.Run)
    assert (run.name, run.inputs, run.outputs) == ("desk", EXAMPLE.inputs, OUTPUTS)
    assert run.id == run.trace_id == UUID(trace.id)
    assert run.reference_example_id == example.id
    assert run.start_time == datetime.fromtimestamp(0, tz=UTC)
    assert isinstance(example, langsmith.schemas.Example)
    assert (example.inputs, example.outputs, example.metadata) == (
        EXAMPLE.inputs,
        {"label": "positive"},
        {"source": "mail"},
    )


async def test_ids_of_langsmiths_shapes_are_the_same_each_time():
    ids = []

    def note(run, example):
        ids.append((run.id, example.id))
        return 1

    for name in ("1", "1", "2", "0ad8a25c-7c80-4ab3-a2c4-4d4bca0f3cbd"):
        await judge(note, example=Example(name, {}))
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert str(ids[3][1]) == "0ad8a25c-7c80-4ab3-a2c4-4d4bca0f3cbd"


async def test_inputs_that_are_no_dict_are_wrapped_for_langsmith_only():
    def seen(inputs, run, example):
        return [] if (inputs, run.inputs, example.inputs) != ("hi", {"input": "hi"}, {"input": "hi"}) else 1

    (score,) = await judge(seen, example=Example("1", "hi"))
    assert score.value == 1.0


async def test_types_tell_where_names_do_not():
    def older(root_run: langsmith.schemas.Run, wanted: langsmith.schemas.Example | None):
        assert root_run.outputs
        assert wanted
        assert wanted.outputs
        return root_run.outputs["label"] == wanted.outputs["label"]

    def ours(outputs, case: Example):
        return case is EXAMPLE

    first, second = await judge([older, ours])
    assert (first.value, first.error, first.fields) == (0.0, None, ("label",))
    assert second.value == 1.0


async def test_annotations_that_cannot_be_read_do_not_matter():
    def unknown(outputs, reference_outputs):
        return 1

    def broken(outputs, reference_outputs):
        return 1

    unknown.__annotations__ = {"outputs": "Nowhere", "return": "Nothing"}
    broken.__annotations__ = {"reference_outputs": "dict["}
    assert [score.value for score in await judge([unknown, broken])] == [1.0, 1.0]


async def test_defaults_stay_unless_the_name_is_known():
    def weighted(outputs, weight=0.5, model="gpt", trace="mine", *, reference_outputs=None):
        return weight if (model, trace, reference_outputs) == ("gpt", "mine", {"label": "positive"}) else 0

    def asks(outputs, model=None):
        return model is critic

    critic = ScriptedChatModel()
    assert [score.value for score in await judge([weighted, asks], model=critic)] == [0.5, 1.0]


async def test_positional_only_and_open_arguments():
    def positional(outputs, reference_outputs, /):
        return outputs["label"] != reference_outputs["label"]

    def stops(outputs, weight=1.0, reference_outputs=None, /):
        return weight if reference_outputs is None else 0

    def anything(*args, **kwargs):
        return not args and list(kwargs) == ["inputs", "outputs", "reference_outputs"]

    def named(outputs, **kwargs):
        return not kwargs

    assert [score.value for score in await judge([positional, stops, anything, named])] == [1.0] * 4


async def test_partials_and_objects():
    def near(outputs, reference_outputs, weight, model):
        return weight if model == "bound" and outputs["label"] else 0

    class Judge:
        def __init__(self, value):
            self.value = value

        def __call__(self, outputs):
            return self.value

    class AsyncJudge:
        async def __call__(self, outputs):
            return 0.75

    class Named(Judge):
        key = "tone"

    partial = functools.partial(functools.partial(near, weight=0.25), model="bound")
    scores = await judge([partial, Judge(0.5), AsyncJudge(), Named(1), Judge(0), lambda outputs: 1, Judge(0).__call__])
    assert [(score.key, score.value) for score in scores] == [
        ("near", 0.25),
        ("Judge", 0.5),
        ("AsyncJudge", 0.75),
        ("tone", 1.0),
        ("Judge_2", 0.0),
        ("lambda", 1.0),
        ("__call__", 0.0),
    ]


async def test_what_a_partial_binds_by_name_stays():
    bound = functools.partial(right_label, reference_outputs={"label": "negative"})
    assert (await judge(bound))[0].value == 1.0


async def test_a_partial_may_bind_the_first_argument_by_position():
    def contains(word, outputs):
        return word in outputs["label"]

    assert (await judge(functools.partial(contains, "neg")))[0].value == 1.0


async def test_evaluators_share_nothing_that_can_be_changed():
    def spoil(inputs, outputs, reference_outputs, run, example):
        for values in (
            inputs,
            outputs,
            reference_outputs,
            run.inputs,
            example.inputs,
            example.outputs,
            example.metadata,
        ):
            values.clear()
        return 0

    def spoil_deep(outputs):
        outputs["notes"].clear()
        return 0

    def look(inputs, outputs, reference_outputs):
        return (inputs, outputs, reference_outputs) == (EXAMPLE.inputs, OUTPUTS, {"label": "positive"})

    before = json.dumps([EXAMPLE.inputs, EXAMPLE.metadata, OUTPUTS])
    scores = await judge([spoil, spoil_deep, look])
    assert [score.value for score in scores] == [0.0, 0.0, 1.0]
    assert json.dumps([EXAMPLE.inputs, EXAMPLE.metadata, OUTPUTS]) == before


async def test_without_a_reference_it_is_none():
    (score,) = await judge(lambda reference_outputs: reference_outputs is None, example=Example("1", {}))
    assert (score.value, score.expected) == (1.0, None)


# What was judged


async def test_fields_read_and_what_they_should_have_been():
    example = Example("1", {}, {"label": "positive", "why": "praise", "n": 3})
    outputs = {"why": "?", "label": "negative", "m": 4}

    def same_names(outputs):
        return outputs["why"] == "" or outputs["label"] == ""

    def other_names(outputs, reference_outputs):
        return outputs["m"] == reference_outputs["n"]

    def other_names_from_the_whole(outputs, reference_outputs):
        return outputs["m"] in list(reference_outputs.values())

    def form_only(outputs):
        return outputs["m"] < 3

    def whole(outputs):
        return len(str(outputs)) < 3

    def nothing(inputs):
        return 0

    def missing(outputs):
        return outputs.get("n") is not None

    found = await judge(
        [same_names, other_names, other_names_from_the_whole, form_only, whole, nothing, missing], outputs, example
    )
    reference = example.reference_outputs
    assert [(score.key, score.fields, score.expected) for score in found] == [
        ("same_names", ("why", "label"), {"why": "praise", "label": "positive"}),
        ("other_names", ("m",), {"n": 3}),
        ("other_names_from_the_whole", ("m",), reference),
        ("form_only", ("m",), None),
        ("whole", (), reference),
        ("nothing", (), reference),
        ("missing", (), {"n": 3}),
    ]


async def test_all_results_of_an_evaluator_carry_what_it_read():
    def several(outputs):
        return {"results": [{"key": outputs["label"], "score": 1}, {"key": "b", "score": None}]}

    first, second = await judge(several)
    assert (first.key, first.fields) == ("negative", ("label",))
    assert (second.value, second.fields) == (None, ("label",))


async def test_a_correction_is_what_was_expected():
    def corrects(outputs):
        return EvaluationResult(key="label", score=outputs["label"] == "x", correction={"label": Path("mixed")})

    assert (await judge(corrects))[0].expected == {"label": "mixed"}


@pytest.mark.parametrize("value", ["negative", None, 3, ["a"]])
async def test_an_output_that_is_no_mapping_is_wrapped_and_its_field_has_no_name(value):
    def same(outputs, reference_outputs):
        return outputs["output"] == reference_outputs["output"]

    (score,) = await judge(same, value, Example("1", {}, {"output": "positive"}))
    assert (score.value, score.fields, score.expected) == (0.0, ("",), {"": "positive"})


# How it is called


async def test_sync_evaluators_run_in_threads_with_the_context_and_async_ones_do_not():
    where = contextvars.ContextVar("where", default="nowhere")
    where.set("here")
    threads = {}

    def sync(outputs):
        threads["sync"] = threading.get_ident()
        return where.get() == "here"

    async def awaited(outputs):
        threads["async"] = threading.get_ident()
        return where.get() == "here"

    def returns_awaitable(outputs):
        return awaited(outputs)

    class Older(RunEvaluator):
        def evaluate_run(self, run, example=None, evaluator_run_id=None):
            return EvaluationResult(key="older", score=where.get() == "here")

    scores = await judge([sync, awaited, returns_awaitable, Older()])
    assert [score.value for score in scores] == [1.0] * 4
    assert threads["async"] == threading.get_ident() != threads["sync"]


async def test_evaluators_run_at_the_same_time_and_answer_in_their_own_order():
    second_ran = asyncio.Event()

    async def waits(outputs):
        await second_ran.wait()
        return 0.25

    async def sets(outputs):
        second_ran.set()
        return 0.75

    scores = await judge([waits, sets])
    assert [(score.key, score.value) for score in scores] == [("waits", 0.25), ("sets", 0.75)]


async def test_langsmith_run_evaluators():
    @run_evaluator
    def sync(run, example):
        return {"key": "sync", "score": run.outputs["label"] == example.outputs["label"], "comment": "no"}

    @run_evaluator
    async def awaited(run, example):
        return EvaluationResult(key="awaited", score=run.outputs["label"] == "negative")

    @run_evaluator
    def by_name(outputs, reference_outputs):
        return {"key": "by_name", "score": outputs["label"] == reference_outputs["label"]}

    class Own(RunEvaluator):
        def evaluate_run(self, run, example=None, evaluator_run_id=None):
            raise AssertionError("the async one is there")

        async def aevaluate_run(self, run, example=None, evaluator_run_id=None):
            return EvaluationResult(key="own", score=0.5)

    scores = await judge([sync, awaited, by_name, Own()])
    assert [(score.key, score.value, score.comment, score.fields) for score in scores] == [
        ("sync", 0.0, "no", ("label",)),
        ("awaited", 1.0, None, ("label",)),
        ("by_name", 0.0, None, ("label",)),
        ("own", 0.5, None, ()),
    ]


async def test_openevals_evaluators():
    match = create_json_match_evaluator()
    average = create_json_match_evaluator(aggregator="average")
    example = Example("1", {"text": "?"}, {"label": "positive", "n": 1})
    scores = await judge([exact_match, exact_match_async, match, average], {"label": "negative", "n": 1}, example)
    assert [(score.key, score.value, score.fields, score.error) for score in scores] == [
        ("exact_match", 0.0, (), None),
        ("exact_match", 0.0, (), None),
        ("json_match:label", 0.0, (), None),
        ("json_match:n", 1.0, (), None),
        ("json_match:average", 0.5, (), None),
    ]
    (score,) = await judge(exact_match, {"label": "positive", "n": 1}, example)
    assert score.value == 1.0


async def test_openevals_llm_as_judge():
    model = ScriptedChatModel(replies=[{"reasoning": "It is curt.", "score": 0.5}] * 2)
    options = {"prompt": "Is it polite? {outputs} {reference_outputs}", "judge": model, "continuous": True}
    first = await judge(create_llm_as_judge(**options, feedback_key="polite"))
    second = await judge(create_async_llm_as_judge(**options, feedback_key="polite"))
    assert first == second
    assert [(score.key, score.value, score.comment) for score in first] == [("polite", 0.5, "It is curt.")]
    assert (
        str(model.requests[0])
        == str(model.requests[1])
        == snapshot("""\
human: Is it polite? {"text": "Great!", "label": "negative", "notes": ["a"]} {"label": "positive"}
tools: score\
""")
    )


# What goes wrong


async def test_an_evaluator_that_raises_is_a_finding_and_the_others_go_on():
    def broken(outputs):
        raise ValueError("no\n  such luck")

    async def broken_too(outputs):
        return 1 / 0

    def runs_out(outputs):
        return next(note for note in outputs["notes"] if note == "b")

    def typo(outputs, reference_outputs):
        return outputs["lable"] == reference_outputs["label"]

    scores = await judge([broken, broken_too, runs_out, typo, right_label])
    assert [score.value for score in scores] == [None, None, None, None, 0.0]
    assert [score.error for score in scores] == snapshot(
        [
            "ValueError: no such luck",
            "ZeroDivisionError: division by zero",
            "RuntimeError: StopIteration: next() found nothing",
            "KeyError: 'lable'; the output has 'text', 'label', 'notes', the reference 'label'",
            None,
        ]
    )


async def test_the_words_of_a_missing_reference():
    def subscript(outputs, reference_outputs):
        return outputs["label"] == reference_outputs["label"]

    def key(outputs):
        return outputs["nothing"]

    scores = await judge([subscript, key], {}, Example("1", {}))
    assert [score.error for score in scores] == snapshot(
        [
            "KeyError: 'label'; the output has no field, and there is no reference",
            "KeyError: 'nothing'; the output has no field, and there is no reference",
        ]
    )


async def test_long_errors_are_cut():
    def broken(outputs):
        raise ValueError("x" * 10_000)

    (score,) = await judge(broken)
    assert len(str(score.error)) < 600


@pytest.mark.parametrize("stops", [BudgetExhausted, asyncio.CancelledError])
async def test_what_ends_the_run_passes_through_after_the_others_have_ended(stops):
    ended, stopping = [], asyncio.Event()

    async def stopped(outputs):
        stopping.set()
        raise stops("enough")

    async def other(outputs):
        await stopping.wait()
        for _ in range(10):
            await asyncio.sleep(0)  # lets the others run
        ended.append(True)
        return 1

    with pytest.raises(stops):
        await judge([stopped, other])
    assert ended == [True]


async def test_a_budget_exhausted_in_a_thread_passes_through():
    def stopped(outputs):
        raise BudgetExhausted("enough")

    with pytest.raises(BudgetExhausted):
        await judge(stopped)


def test_a_keyboard_interrupt_passes_through():
    def stopped(outputs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(judge(stopped))


async def test_cancelling_cancels_the_evaluators():
    started, cancelled = asyncio.Event(), []

    async def waits(outputs):
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    task = asyncio.create_task(judge(waits))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [True]


def factory(field=None):
    return lambda outputs: 1


class Unmade:
    def __call__(self, outputs):
        return 1


BAD = {
    "unknown argument": lambda output, reference_outputs: 1,
    "positional-only": lambda answer, /: 1,
    "takes nothing": lambda: 1,
    "only *args": lambda *args: 1,
    "a factory": factory,
    "a class": Unmade,
    "a text": "right_label",
    "a number": 3,
    "none": None,
    "an empty list": [],
    "a list with a text": ["right_label"],
    "a builtin that knows no argument": dict.fromkeys,
    "a builtin without a signature": max,
    "a dict": {"right": right_label},
}


@pytest.mark.parametrize("evaluator", BAD.values(), ids=BAD)
def test_evaluators_that_cannot_be_used_are_refused_before_anything_runs(evaluator):
    with pytest.raises(EvaluatorError):
        Evals([], evaluator)


def test_the_words_of_the_refusals():
    words = {}
    for name, evaluator in BAD.items():
        with pytest.raises(EvaluatorError) as caught:
            Evals([], evaluator)
        words[name] = str(caught.value)
    assert {name: words[name] for name in ("unknown argument", "takes nothing", "a factory", "a class")} == snapshot(
        {
            "unknown argument": "the evaluator 'lambda' requires the argument 'output', which is not known; known are inputs, outputs, reference_outputs, example, run, model, trace. Give it a default, or bind it with functools.partial",
            "takes nothing": "the evaluator 'lambda' takes none of inputs, outputs, reference_outputs, example, run, model, trace, so it has nothing to judge. If 'lambda' makes an evaluator, call it: lambda(...)",
            "a factory": "the evaluator 'factory' takes none of inputs, outputs, reference_outputs, example, run, model, trace, so it has nothing to judge. If 'factory' makes an evaluator, call it: factory(...)",
            "a class": "Unmade is a class; give an instance of it, as in Unmade(...)",
        }
    )


# Evals itself


def test_the_pair_form():
    evals = Evals([("a", "b")], right_label)
    assert Evals.of(evals) is evals
    made = Evals.of(([("a", "b")], [right_label, lambda outputs: 1]))
    assert made.names == ("right_label", "lambda")
    assert made.examples == (Example("1", "a", {"output": "b"}),)
    assert (made.goal, made.pass_at) == ("", 1.0)


@pytest.mark.parametrize("given", [[("a", "b")], right_label, (1, 2, 3), None, "reviews.jsonl"], ids=count())
def test_what_is_neither_evals_nor_a_pair(given):
    with pytest.raises(EvaluatorError, match="the pair"):
        Evals.of(given)


def test_examples_are_loaded_once_and_late():
    loads = []

    def rows():
        loads.append(True)
        yield {"inputs": "a"}

    evals = Evals(rows(), right_label)
    assert not loads
    assert evals.examples is evals.examples
    assert loads == [True]


def test_pass_at_is_a_number():
    with pytest.raises(DataError, match="pass_at"):
        Evals([], right_label, pass_at=float("nan"))


@pytest.mark.parametrize(
    ("values", "mean"),
    [([], None), ([None], None), ([0.5, None, 1.0], 0.75), ([0.7, 0.7, 0.7], 0.7), ([0.1] * 10, 0.1), ([0.0], 0.0)],
    ids=str,
)
def test_example_score(values, mean):
    scores = [Score("f", value) for value in values]
    assert example_score(scores) == mean
    assert failed(scores, 0.7) is (mean is not None and mean < 0.7)
    assert failed(scores) is (mean is not None)
