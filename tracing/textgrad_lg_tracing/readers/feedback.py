"""What a backend holds of people's and evaluators' judgements of a run, as Scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.evals.feedback import meant
from textgrad_lg.example import Score
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers.dialects.told import mapping

if TYPE_CHECKING:
    from textgrad_lg_tracing.readers.span import SourceSpan


_HOLDERS = (
    at.GEN_AI_EVALUATION,
    at.EVALUATION,
    "langsmith.feedback_stats",
    "phoenix.annotations",
    "langfuse.scores",
    "mlflow.info",
)
"""Where the backends keep it."""


def feedback(spans: Iterable[SourceSpan]) -> tuple[Score, ...]:
    """The Scores that spans carry, in their order; each once."""
    return tuple(dict.fromkeys(score for span in spans for score in _of_span(span)))


def _of_span(span: SourceSpan) -> Iterator[Score]:
    about = span.attributes
    if about.keys().isdisjoint(_HOLDERS):
        # Of millions of spans, few hold any.
        return
    key = about.get(at.GEN_AI_EVALUATION) or about.get(at.EVALUATION)
    if isinstance(key, str):
        value = about.get(at.GEN_AI_EVALUATION_SCORE, about.get(at.EVALUATION_SCORE))
        yield _score(key, value, about.get(at.EVALUATION_EXPLANATION))
    stats = mapping(about.get("langsmith.feedback_stats"))
    for name, told in stats.items():
        known = mapping(told)
        comments: Any = known.get("comments")
        yield _score(
            name, _mean(known), cast("list[Any]", comments)[0] if isinstance(comments, list) and comments else None
        )
    for item in _items(about.get("phoenix.annotations")):
        result = mapping(item.get("result"))
        value = result.get("label") if result.get("score") is None else result["score"]
        yield _score(str(item.get("name") or "annotation"), value, result.get("explanation"))
    for item in _items(about.get("langfuse.scores")):
        yield _score(str(item.get("name") or "score"), item.get("value"), item.get("comment"))
    for item in _items(mapping(about.get("mlflow.info")).get("assessments")):
        told = mapping(item.get("feedback"))
        yield _score(str(item.get("assessment_name") or "assessment"), told.get("value"), item.get("rationale"))


def _mean(stats: Mapping[str, Any]) -> object:
    """The mean score; of words alone, that of what they mean."""
    counted = [(meant(word), times) for word, times in mapping(stats.get("values")).items() if isinstance(times, int)]
    known = [(value, times) for value, times in counted if value is not None and times > 0]
    if stats.get("avg") is not None or not known:
        return stats.get("avg")
    return sum(value * times for value, times in known) / sum(times for _, times in known)


def _score(key: str, value: object, comment: object) -> Score:
    return Score(key, meant(value), comment if isinstance(comment, str) and comment else None)


def _items(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (cast("Mapping[str, Any]", item) for item in cast("list[Any]", value) if isinstance(item, Mapping))
