"""Evals: the examples, and the evaluators that judge what a graph makes of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.errors import BudgetExhausted, DataError, EvaluatorError, ModelError
from textgrad_lg.evals.call import BoundEvaluator, Case, Evaluator, evaluators_of
from textgrad_lg.evals.data import Data, load
from textgrad_lg.evals.interop import OUTPUT
from textgrad_lg.evals.reads import NotedReads, unshared
from textgrad_lg.evals.results import Result, read_results
from textgrad_lg.evals.text import as_json
from textgrad_lg.example import Example, Score
from textgrad_lg.types import JSON

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.trace import Trace

_PAIR = 2
_ERROR_LENGTH = 500


class Evals:
    """The examples and the evaluators of one optimisation.

    An evaluator is anything that can be called, async or not. LangSmith's and openevals' evaluators run unchanged, except
    those that need attachments, a Run's child runs, or names of their own for run and example without LangSmith's types.
    It is given the arguments it names, among

    - `inputs`: the Example's inputs;
    - `outputs`: what the graph returned, as a dict; an output that is no mapping is `{"output": value}`;
    - `reference_outputs`: what was wanted, as a dict; None where the Example has none;
    - `example`, `run`: `langsmith.schemas.Example` and `Run`; their ids are made from the Example's and the Trace's, so
      the same data gives the same ids. An argument annotated with `textgrad_lg`'s Example gets that one;
    - `model`: the run's critic (a chat model, or None); `trace`: the recorded run, or None.

    It returns a number or a bool, higher is better; or `(score, comment)`: the comment, why it is so, is the seed of the
    gradient; or a dict with `score`, and `key` and `comment` if it likes; or `{"results": [...]}`; or LangSmith's
    EvaluationResult; or a list of these. `outputs` notes which fields are read, and the feedback starts from those.

    Args:
        data: The examples; see `load`.
        evaluators: One evaluator or several.
        goal: What the graph is for, in words: it is shown to the models that criticise and rewrite.
        pass_at: From which mean score an Example has passed; an Example below is learnt from.

    Raises:
        EvaluatorError: An evaluator cannot be called, or requires an argument that is not known.
        DataError: `pass_at` is not a finite number.
    """

    def __init__(
        self, data: Data, evaluators: Evaluator | Sequence[Evaluator], *, goal: str = "", pass_at: float = 1.0
    ) -> None:
        if not math.isfinite(pass_at):
            raise DataError(f"pass_at is {pass_at}; it is a score, as in 1.0 or 0.8")
        self.goal, self.pass_at = goal, pass_at
        self._given, self._evaluators = evaluators, evaluators_of(evaluators)
        self._data = data

    @classmethod
    def of(cls, evals: Evals | tuple[Data, Evaluator | Sequence[Evaluator]]) -> Evals:
        """Evals from what `optimize` was given: Evals, or the pair `(data, evaluators)`.

        Raises:
            EvaluatorError: It is neither, or an evaluator cannot be used.
        """
        if isinstance(evals, Evals):
            return evals
        if _is_pair(evals):
            return cls(*evals)
        raise EvaluatorError(
            f"evals is a {type(evals).__name__}; give Evals(data, evaluators) or the pair (data, evaluators), as in "
            '("reviews.jsonl", right_label)'
        )

    @cached_property
    def examples(self) -> tuple[Example, ...]:
        """The examples, loaded on first use.

        Raises:
            DataError: They cannot be used as they are.
        """
        return load(self._data)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the evaluators, in order: the keys of Scores whose evaluator chose none."""
        return tuple(evaluator.name for evaluator in self._evaluators)

    @property
    def said(self) -> tuple[str, ...]:
        """What evaluators are told to go by, in the user's words: the `instruction` of each that has one."""
        found = (evaluator.instruction for evaluator in self._evaluators)
        return tuple(text for text in found if text)

    @property
    def has_data(self) -> bool:
        """Whether examples were given, of whatever form: `Evals((), evaluators)` has none."""
        return not isinstance(self._data, list | tuple) or bool(cast("Sequence[object]", self._data))

    def with_data(self, data: Data) -> Evals:
        """The same evaluators, goal and `pass_at` over other examples."""
        return Evals(data, self._given, goal=self.goal, pass_at=self.pass_at)

    @property
    def judges(self) -> tuple[BaseChatModel | None, ...]:
        """A model for each evaluator that takes one: its own, as far as it has one that can be used; None for the critic."""
        found: list[BaseChatModel | None] = []
        for evaluator in self._evaluators:
            if evaluator.takes_model:
                own = None
                with suppress(ModelError):
                    own = evaluator.model
                found.append(own)
        return tuple(found)

    async def score(
        self,
        example: Example,
        outputs: JSON | Mapping[str, Any],
        *,
        trace: Trace | None = None,
        model: BaseChatModel | None = None,
    ) -> tuple[Score, ...]:
        """Judge what a graph made of an Example.

        The evaluators run at the same time, each on its own copy of the data; those that are not async run in threads
        with this context. One that raises, or returns what is no score, gives a Score with an `error`.

        Args:
            example: What was run.
            outputs: What came out of it.
            trace: The recorded run.
            model: The critic, for evaluators that ask for a model.

        Returns:
            One or more Scores for each evaluator, in the order of the evaluators.

        Raises:
            BudgetExhausted: A model call of an evaluator was not admitted.
        """
        judged = await asyncio.gather(
            *(_judge(evaluator, example, outputs, trace, model) for evaluator in self._evaluators),
            return_exceptions=True,  # so that none is left running behind when another one is stopped by the Budget
        )
        scores: list[Score] = []
        for each in judged:
            if isinstance(each, BaseException):
                raise each
            scores.extend(each)
        return tuple(scores)


def example_score(scores: Sequence[Score]) -> float | None:
    """The mean of the values that exist; None where none does, and the Example does not count."""
    values = [Fraction(score.value) for score in scores if score.value is not None]
    # Exact: three times 0.7 is 0.7 again, and passes at 0.7.
    return float(sum(values) / len(values)) if values else None


def failed(scores: Sequence[Score], pass_at: float = 1.0) -> bool:
    """Whether the mean score is below `pass_at`. An Example that could not be judged has not failed."""
    score = example_score(scores)
    return score is not None and score < pass_at


async def _judge(
    evaluator: BoundEvaluator, example: Example, outputs: object, trace: Trace | None, model: BaseChatModel | None
) -> tuple[Score, ...]:
    wrapped = not isinstance(outputs, Mapping)
    values: dict[str, Any] = {OUTPUT: outputs} if wrapped else dict(cast("Mapping[str, Any]", outputs))
    reference = example.reference_outputs
    case = Case(
        example,
        NotedReads(unshared(values)),
        None if reference is None else NotedReads(unshared(reference)),
        trace,
        model,
    )
    try:
        results = read_results(evaluator.name, await evaluator(case))
    except BudgetExhausted:
        raise
    except Exception as error:  # noqa: BLE001  an evaluator is the user's code: its failure is a finding, not the run's end
        return (Score(evaluator.name, None, error=_in_words(error, values, reference)),)
    fields, expected = _judged(case, values, wrapped=wrapped)
    return tuple(_score(result, fields, expected) for result in results)


def _is_pair(evals: object) -> bool:
    return isinstance(evals, tuple) and len(cast("tuple[object, ...]", evals)) == _PAIR


def _score(result: Result, fields: tuple[str, ...], expected: dict[str, JSON] | None) -> Score:
    wanted = expected
    if result.correction is not None:
        wanted = cast("dict[str, JSON]", as_json(result.correction))
    return Score(result.key, result.value, result.comment, fields, wanted, result.error)


def _judged(case: Case, values: Mapping[str, Any], *, wrapped: bool) -> tuple[tuple[str, ...], dict[str, JSON] | None]:
    """The fields that were judged, and what they should have been.

    Where the output's fields have no counterpart of the same name, what was read of the reference is what was expected.
    """
    reference, noted = case.example.reference_outputs, case.reference_outputs
    read = case.outputs.fields
    if case.outputs.whole or not read:
        return (), unshared(reference)
    expected: dict[str, JSON] = {}
    if reference is not None and noted is not None:
        names = [name for name in read if name in reference] or list(reference if noted.whole else noted.fields)
        expected = {
            "" if wrapped and name == OUTPUT else name: unshared(reference[name]) for name in names if name in reference
        }
    # A field that the output lacks has no Variable that could be blamed; without any other, the whole output is judged.
    fields = tuple("" if wrapped else name for name in read if name in values)
    return fields, expected or None


def _in_words(error: Exception, outputs: Mapping[str, Any], reference: Mapping[str, Any] | None) -> str:
    words = " ".join(f"{type(error).__name__}: {error}".split())[:_ERROR_LENGTH]
    if isinstance(error, KeyError):
        held = "and there is no reference" if reference is None else f"the reference {_names(reference)}"
        return f"{words}; the output has {_names(outputs)}, {held}"
    return f"{words}; the example has no reference_outputs" if reference is None else words


def _names(fields: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) for name in fields) or "no field"
