"""Scores: what evaluators and people have said of a span, where a backend keeps it with the span."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from textgrad_lg.evals.feedback import meant
from textgrad_lg.types import JSON
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers import values
from textgrad_lg_tracing.readers.span import Attributes, SourceSpan

_DIRECT: Final = (at.SCORE, at.GEN_AI_EVALUATION_SCORE, at.EVALUATION_SCORE)
_HOLDERS: Final = ("langsmith.feedback_stats", "langfuse.scores", "phoenix.annotations", "mlflow.info")


def score(span: SourceSpan) -> float | None:
    """The lowest of a span's scores, because a trace that one of them finds bad is worth a look; None without one."""
    found = span.attributes
    # Most spans have none: this is asked of millions.
    if not (span.events or any(key in found for key in _DIRECT) or any(key in found for key in _HOLDERS)):
        return None
    return min(_scores(span), default=None)


def _scores(span: SourceSpan) -> Iterator[float]:
    found = span.attributes
    yield from _direct(found)
    for event in span.events:
        if event.name == at.GEN_AI_EVALUATION_EVENT:
            yield from _direct(event.attributes)
    for stats in values.mapping(found.get("langsmith.feedback_stats")).values():
        yield from _number(values.mapping(stats).get("avg"))
    for entry in values.several(found.get("langfuse.scores")):
        yield from _told(values.mapping(entry).get("value"))
    for entry in values.several(found.get("phoenix.annotations")):
        result = values.mapping(values.mapping(entry).get("result"))
        yield from _told(result.get("label") if result.get("score") is None else result["score"])
    for entry in values.several(values.mapping(found.get("mlflow.info")).get("assessments")):
        told = values.mapping(entry)
        yield from _told(values.mapping(told.get("feedback")).get("value"))


def _direct(found: Attributes) -> Iterator[float]:
    for key in _DIRECT:
        yield from _number(found.get(key))


def _told(given: JSON | object) -> Iterator[float]:
    # MLflow's judges and Langfuse's categories say "no" where others give a number.
    if (value := meant(given)) is not None:
        yield value


def _number(given: JSON | object) -> Iterator[float]:
    if isinstance(given, bool | int | float) and math.isfinite(given):
        yield float(given)
