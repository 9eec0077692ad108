"""What a backend holds of people's and evaluators' judgements of a run, as Scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.example import Score
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers.dialects.told import mapping

if TYPE_CHECKING:
    from textgrad_lg_tracing.readers.span import SourceSpan, SourceTrace


def feedback(source: SourceTrace) -> tuple[Score, ...]:
    """The Scores that a trace's spans carry, in the order of the spans; each once."""
    return tuple(dict.fromkeys(score for span in source.spans for score in _of_span(span)))


def _of_span(span: SourceSpan) -> Iterator[Score]:
    about = span.attributes
    key = about.get(at.GEN_AI_EVALUATION) or about.get(at.EVALUATION)
    if isinstance(key, str):
        value = about.get(at.GEN_AI_EVALUATION_SCORE, about.get(at.EVALUATION_SCORE))
        yield _score(key, value, about.get(at.EVALUATION_EXPLANATION))
    stats = mapping(about.get("langsmith.feedback_stats"))
    for name, told in stats.items():
        known = mapping(told)
        comments: Any = known.get("comments")
        yield _score(
            name, known.get("avg"), cast("list[Any]", comments)[0] if isinstance(comments, list) and comments else None
        )
    for item in _items(about.get("phoenix.annotations")):
        result = mapping(item.get("result"))
        yield _score(str(item.get("name") or "annotation"), result.get("score"), result.get("explanation"))
    for item in _items(about.get("langfuse.scores")):
        yield _score(str(item.get("name") or "score"), item.get("value"), item.get("comment"))
    for item in _items(mapping(about.get("mlflow.info")).get("assessments")):
        told = mapping(item.get("feedback"))
        yield _score(str(item.get("assessment_name") or "assessment"), told.get("value"), item.get("rationale"))


def _score(key: str, value: object, comment: object) -> Score:
    if isinstance(value, bool):
        value = float(value)
    number = float(value) if isinstance(value, int | float) else None
    return Score(key, number, comment if isinstance(comment, str) and comment else None)


def _items(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (cast("Mapping[str, Any]", item) for item in cast("list[Any]", value) if isinstance(item, Mapping))
