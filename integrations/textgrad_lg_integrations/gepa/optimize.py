"""`optimize_with_gepa`: gepa's search over a graph's prompts, inside a hard budget."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from textgrad_lg.errors import BudgetExhausted
from textgrad_lg.run.stats import compare
from textgrad_lg_integrations.gepa.adapter import GraphAdapter

if TYPE_CHECKING:
    from gepa.core.result import GEPAResult
    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.run.spend import Spend
    from textgrad_lg.run.stats import Comparison
    from textgrad_lg_integrations.gepa.runs import Reflect

G = TypeVar("G")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GepaOutcome(Generic[G]):
    """What gepa found.

    Attributes:
        graph: A copy of the graph with the best candidate's texts: the best on the validation set, proved or not.
        candidate: These texts, by printed Site.
        start: The texts that gepa began with.
        improved: Whether the test set shows a gain, at a p-value of at most `Settings.significance`.
        test: Best against start on examples that gepa never saw; None where no candidate is better on validation, or the
            budget did not pay for it.
        validation: The same on the validation set. It flatters: the candidate was chosen by it.
        reason: Why gepa ended.
        spend: What was spent, by phase; reflection is `proposal`.
        result: gepa's own result: all candidates, their scores and parents.
    """

    graph: G
    candidate: Mapping[str, str]
    start: Mapping[str, str]
    improved: bool
    test: Comparison | None
    validation: Comparison
    reason: str
    spend: Spend
    result: GEPAResult[Any, Any]

    def summary(self) -> str:
        """The outcome in a few lines."""
        tested = f"test {self.test}" if self.test is not None else "the test set was not read"
        return "\n".join([tested, f"validation {self.validation}", self.reason, str(self.spend)])


def optimize_with_gepa(
    graph: G,
    evals: Any,
    *,
    reflection_lm: str | BaseChatModel | Reflect | None = None,
    gepa: Mapping[str, Any] | None = None,
    **options: Any,
) -> GepaOutcome[G]:
    """Let gepa search for better prompts of a graph.

    gepa decides what is tried: candidates on a Pareto front over the validation examples, one reflection at a time. What
    it reflects on is the feedback that the reverse pass has brought to the one prompt it changes. All model calls are
    admitted by one budget; the cost of the test set is kept back.

    Args:
        graph: A compiled LangGraph graph. It is not changed.
        evals: `Evals(data, evaluators)`, or the pair.
        reflection_lm: Writes new texts: a chat model, its name, or a function from prompt to reply. Default: `model`.
        gepa: Arguments for `gepa.optimize`, as in `{"use_merge": True, "max_metric_calls": 500}`.
        **options: As `GraphAdapter` takes them: `model`, `budget`, `optimize_only`, `config`, `run_dir`, `prices`,
            `callbacks`, `settings`, `limits`.

    Returns:
        The outcome. "No better candidate" is one like any other: then `candidate` is `start`.

    Raises:
        GraphError: `graph` is not a compiled graph of this process.
        DataError: The examples cannot be used.
        NoPromptFound: The graph's runs showed no prompt.
        BudgetTooSmall: The budget does not pay for the validation set.
        ImportError: gepa is not installed: `pip install "textgrad-lg[gepa]"`.
    """
    try:
        from gepa import api
    except ImportError as error:
        raise ImportError('gepa is not installed; pip install "textgrad-lg[gepa]"') from error

    given = dict(gepa or {})
    stops = given.pop("stop_callbacks", None) or ()
    with GraphAdapter(graph, evals, **options) as adapter:
        start = adapter.seed_candidate
        chosen: dict[str, Any] = {
            "module_selector": adapter.select,
            "perfect_score": adapter.pass_at,
            "seed": adapter.settings.seed,
            "reflection_prompt_template": adapter.instructions(),
            "logger": _Quiet(),
            **given,
        }
        found = cast("Any", api).optimize(
            seed_candidate=start,
            trainset=adapter.trainset,
            valset=adapter.valset,
            adapter=adapter,
            reflection_lm=adapter.reflection(reflection_lm),
            stop_callbacks=[adapter.stop, *(stops if isinstance(stops, Sequence) else (stops,))],
            # An exception would lose all candidates so far; what is not the budget's is raised here.
            raise_on_exception=False,
            **chosen,
        )
        found = cast("GEPAResult[Any, Any]", found)
        if adapter.runs.raised is not None:
            raise adapter.runs.raised
        candidate = cast("dict[str, str]", found.best_candidate)
        before, after = (
            {example.id: scores.get(at) for at, example in enumerate(adapter.valset)}
            for scores in (found.val_subscores[0], found.val_subscores[found.best_idx])
        )
        reason = adapter.runs.over or "gepa ended by itself"
        test: Comparison | None = None
        if candidate != start:
            try:
                test = adapter.test(candidate)
            except BudgetExhausted as refused:
                reason = f"{reason}; the test set could not be paid for ({refused})"
        improved = (
            test is not None
            and test.difference is not None
            and test.p_value is not None
            and test.difference > 0
            and test.p_value <= adapter.settings.significance
        )
        return GepaOutcome(
            graph=adapter.graph(candidate),
            candidate=candidate,
            start=start,
            improved=improved,
            test=test,
            validation=compare(before, after, seed=adapter.settings.seed),
            reason=reason,
            spend=adapter.runs.spend,
            result=found,
        )


class _Quiet:
    """gepa's logger, which otherwise prints."""

    def log(self, message: str) -> None:
        """Log a line for those who want to see it."""
        _LOG.debug("%s", message)
