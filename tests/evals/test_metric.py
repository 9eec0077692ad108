"""The evaluators that need no model."""

import re
from itertools import count

import pytest
from inline_snapshot import snapshot
from langchain_core.messages import AIMessage, HumanMessage

from textgrad_lg.errors import EvaluatorError
from textgrad_lg.evals import Evals, exact, numeric, regex
from textgrad_lg.example import Example


async def judged(evaluator, outputs, reference=None):
    (score,) = await Evals([], evaluator).score(Example("1", {}, reference), outputs)
    return score


async def test_exact_compares_what_the_reference_names_and_nothing_else():
    score = await judged(exact(), {"messages": ["..."], "label": "a", "n": 1}, {"label": "a", "n": 1})
    assert (score.key, score.value, score.comment) == ("exact", 1.0, None)
    assert score.fields == ("label", "n")


async def test_exact_says_every_difference():
    score = await judged(exact(), {"label": "negative"}, {"label": "positive", "n": 1})
    assert score.value == 0.0
    assert score.comment == snapshot(
        "`label`: expected 'positive', got 'negative'; `n`: expected 1, and the output has no such field"
    )
    assert score.expected == {"label": "positive", "n": 1}
    assert score.fields == ("label",)


async def test_exact_on_one_field_lands_on_that_field():
    score = await judged(exact("label"), {"label": "x" * 1000, "why": "?"}, {"label": "a", "why": "!"})
    assert (score.key, score.value, score.fields, score.expected) == ("exact_label", 0.0, ("label",), {"label": "a"})
    assert len(str(score.comment)) < 300


async def test_exact_can_ignore_case_at_any_depth_and_nothing_but_case():
    got, want = {"labels": ["A", {"b": "Straße", "n": 1}]}, {"labels": ["a", {"b": "STRASSE", "n": 1}]}
    assert (await judged(exact(ignore_case=True), got, want)).value == 1.0
    assert (await judged(exact(), got, want)).value == 0.0
    assert (await judged(exact(ignore_case=True), {"labels": "a "}, {"labels": "a"})).value == 0.0


@pytest.mark.parametrize(
    ("evaluator", "reference"),
    [
        (exact(), None),
        (numeric(), None),
        (exact("label"), None),
        (exact("label"), {"n": 1}),
        (numeric("label"), {"n": 1}),
    ],
    ids=count(),
)
async def test_without_a_reference_there_is_no_score(evaluator, reference):
    score = await judged(evaluator, {"label": 1}, reference)
    assert score.value is None
    assert "to compare with" in str(score.error)


@pytest.mark.parametrize(
    ("got", "want", "tolerance", "value"),
    [
        (42, 42, 0, 1.0),
        ("The answer is 42.", 42, 0, 1.0),
        ("First 7, then 1,042", "1042", 0, 1.0),
        ("so $ -3.5", -3.5, 0, 1.0),
        ("1e3 metres", 1000, 0, 1.0),
        (41.95, 42, 0.1, 1.0),
        (41.8, 42, 0.1, 0.0),
        ("none at all", 42, 5, 0.0),
        (True, 1, 0, 0.0),
        ([42], 42, 0, 0.0),
        ("42", 43, 0, 0.0),
    ],
)
async def test_numeric(got, want, tolerance, value):
    assert (await judged(numeric("n", tolerance=tolerance), {"n": got}, {"n": want})).value == value


async def test_numerics_words():
    words = [
        (await judged(numeric("n", tolerance=0.5), {"n": "about 3"}, {"n": 4})).comment,
        (await judged(numeric(), {"m": 3}, {"n": 4})).comment,
        (await judged(numeric("n"), {"n": 3}, {"n": "four"})).error,
    ]
    assert words == snapshot(
        [
            "`n`: expected 4, got 'about 3' (within 0.5)",
            "`n`: expected 4, and the output has no such field",
            "EvaluatorError: the reference 'four' holds no number",
        ]
    )


@pytest.mark.parametrize("tolerance", [-1, float("nan")])
def test_a_tolerance_is_a_distance(tolerance):
    with pytest.raises(EvaluatorError, match="0 or more"):
        numeric(tolerance=tolerance)


async def test_regex_needs_no_reference():
    assert (await judged(regex(r"^\d+\Z", "n"), {"n": "12"})).value == 1.0
    assert (await judged(regex(re.compile("POLITE", re.IGNORECASE)), {"tone": "polite", "n": 1})).value == 1.0
    score = await judged(regex(r"^\d+\Z", "n"), {"n": "twelve", "m": 12})
    assert (score.key, score.value, score.fields) == ("regex_n", 0.0, ("n",))


async def test_regexs_words():
    words = [
        (await judged(regex("yes", "answer"), {"answer": "no"})).comment,
        (await judged(regex("yes", "answer"), {"other": "yes"})).comment,
        (await judged(regex("yes"), {"answer": "no", "n": 1})).comment,
    ]
    assert words == snapshot(
        [
            "expected `answer` to match /yes/, got 'no'",
            "expected `answer` to match /yes/, and the output has no such field",
            "expected the output to match /yes/, got 'answer: no\\nn: 1'",
        ]
    )


async def test_regex_reads_messages_as_text():
    outputs = {"messages": [HumanMessage("hi"), AIMessage("Goodbye", tool_calls=[])]}
    assert (await judged(regex("Goodbye"), outputs)).value == 1.0
    assert (await judged(regex("^ai: Goodbye", "messages"), outputs)).value == 0.0
    assert (await judged(regex("(?m)^ai: Goodbye"), outputs)).value == 1.0


def test_a_bad_pattern_is_refused_at_once():
    with pytest.raises(EvaluatorError, match=r"'\(' is no regular expression"):
        regex("(")


async def test_an_output_that_is_no_mapping():
    score = await judged(exact(), "yes", {"output": "no"})
    assert (score.value, score.fields, score.expected) == (0.0, ("",), {"": "no"})
