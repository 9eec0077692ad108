"""Every form in which an evaluator may answer, and the ones that it may not."""

import math
from decimal import Decimal
from fractions import Fraction
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from langsmith.evaluation import EvaluationResult, EvaluationResults

from textgrad_lg.evals.results import Result, number_of, read_results
from textgrad_lg.example import Score


class Box:
    """Stands for numpy's and torch's scalars: a number by its `__float__` alone."""

    def __init__(self, value):
        self.value = value

    def __float__(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (True, [("f", 1.0, None)]),
        (False, [("f", 0.0, None)]),
        (1, [("f", 1.0, None)]),
        (0.25, [("f", 0.25, None)]),
        (-3, [("f", -3.0, None)]),
        (Decimal("0.5"), [("f", 0.5, None)]),
        (Fraction(1, 2), [("f", 0.5, None)]),
        (Box(0.5), [("f", 0.5, None)]),
        ((0.5, "half"), [("f", 0.5, "half")]),
        ((True, None), [("f", 1.0, None)]),
        ((True, ""), [("f", 1.0, None)]),
        ((0.5, {"lost": ["a"]}), [("f", 0.5, '{"lost": ["a"]}')]),
        ({"score": 1}, [("f", 1.0, None)]),
        ({"key": "tone", "score": True, "comment": "kind"}, [("tone", 1.0, "kind")]),
        ({"key": "tone", "score": 0.5, "comment": None, "metadata": None}, [("tone", 0.5, None)]),
        ({"score": 0.5, "reasoning": "because"}, [("f", 0.5, "because")]),
        ({"score": 0.5, "feedback": "because"}, [("f", 0.5, "because")]),
        ({"key": None, "score": 0.5}, [("f", 0.5, None)]),
        (
            {"results": [{"key": "a", "score": 1}, {"key": "b", "score": 0, "comment": "no"}]},
            [("a", 1.0, None), ("b", 0.0, "no")],
        ),
        (EvaluationResult(key="tone", score=True, comment="kind"), [("tone", 1.0, "kind")]),
        (EvaluationResults(results=[EvaluationResult(key="a", score=1)]), [("a", 1.0, None)]),
        ([EvaluationResult(key="a", score=1), {"key": "b", "score": 0}], [("a", 1.0, None), ("b", 0.0, None)]),
        ([0.5, True], [("f", 0.5, None), ("f_2", 1.0, None)]),
        ((0.5, 0.75), [("f", 0.5, None), ("f_2", 0.75, None)]),
        ([(0.5, "half"), (1.0, "all")], [("f", 0.5, "half"), ("f_2", 1.0, "all")]),
        (Score("mine", 0.5, "half"), [("mine", 0.5, "half")]),
    ],
    ids=count(),
)
def test_what_an_evaluator_may_return(returned, expected):
    assert [(each.key, each.value, each.comment) for each in read_results("f", returned)] == expected
    assert all(each.error is None for each in read_results("f", returned))


@pytest.mark.parametrize(
    "returned",
    [
        None,
        "0.9",
        "",
        b"1",
        math.nan,
        math.inf,
        Decimal("nan"),
        10**400,
        Box(TypeError("a vector")),
        object(),
        [],
        (),
        {},
        {"score": None},
        {"score": "0.9"},
        {"score": math.nan, "comment": "?"},
        {"accuracy": 1.0},
        {"results": []},
        {"results": "none"},
        {"results": 3},
        ("good", "comment"),
        (None, "comment"),
        {1, 2},
        EvaluationResult(key="kind", value="polite"),
    ],
    ids=count(),
)
def test_what_is_no_score_becomes_an_error_that_says_what_is_wanted(returned):
    (result,) = read_results("f", returned)
    assert result.value is None
    assert "returned" in str(result.error)
    assert "(score, comment)" in str(result.error)


def test_the_errors_words():
    assert [read_results("right_label", returned)[0].error for returned in (None, "no", "x" * 200)] == snapshot(
        [
            "the evaluator 'right_label' returned nothing, which holds no score; wanted is a number or a bool, (score, comment), {'score': ..., 'comment': ...}, {'results': [...]}, LangSmith's EvaluationResult, or a list of results, with finite numbers",
            "the evaluator 'right_label' returned 'no' (str), which holds no score; wanted is a number or a bool, (score, comment), {'score': ..., 'comment': ...}, {'results': [...]}, LangSmith's EvaluationResult, or a list of results, with finite numbers",
            "the evaluator 'right_label' returned 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... (str), which holds no score; wanted is a number or a bool, (score, comment), {'score': ..., 'comment': ...}, {'results': [...]}, LangSmith's EvaluationResult, or a list of results, with finite numbers",
        ]
    )


def test_a_bad_result_among_good_ones_spoils_none_of_them():
    good, bad = read_results("f", [{"key": "a", "score": 1.0}, {"key": "b", "score": None, "comment": "unsure"}])
    assert good == Result("a", 1.0)
    assert (bad.key, bad.value, bad.comment) == ("b", None, "unsure")
    assert bad.error


def test_a_correction_is_kept():
    (result,) = read_results("f", EvaluationResult(key="f", score=0, correction={"label": "positive"}))
    assert result.correction == {"label": "positive"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: (
            st.lists(inner)
            | st.tuples(inner, inner)
            | st.dictionaries(st.sampled_from(["score", "results", "key", "comment", "x"]), inner)
        ),
    )
)
def test_anything_gives_results_with_either_a_finite_value_or_an_error(returned):
    results = read_results("f", returned)
    assert results
    for result in results:
        assert (result.value is None) == (result.error is not None)
        assert result.value is None or math.isfinite(result.value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_stay_what_they_are(value):
    assert number_of(value) == value
