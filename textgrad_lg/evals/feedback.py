"""Feedback: what people said of runs, in LangSmith's shape, and the Scores it amounts to.

What people write is data, as what tools and users write is: it goes into a Score's comment between delimiters and bounded, so
that a request never takes it for instructions and no proposal can carry it into a prompt word by word.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from textgrad_lg.errors import DataError
from textgrad_lg.evals.results import number_of
from textgrad_lg.evals.text import as_json
from textgrad_lg.example import Score
from textgrad_lg.templates import clip, fence
from textgrad_lg.types import JSON

THUMBS: Mapping[str, float] = {
    **dict.fromkeys(("up", "thumbs_up", "thumbs up", "👍", "yes", "true", "good", "correct", "like", "positive"), 1.0),
    **dict.fromkeys(
        ("down", "thumbs_down", "thumbs down", "👎", "no", "false", "bad", "incorrect", "dislike", "negative"), 0.0
    ),
}
"""What a feedback's word for its value means, where it has no score. Compared in small letters."""
TOKENS = 400
"""Hard cap in tokens of each text of a person."""
_KEY = 80
"""Characters of a key that are kept."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What one person (or one evaluator of a backend) said of one run.

    Attributes:
        key: What was judged, as in "user_score", "correctness", "note".
        score: A number, or a bool for a thumb; None where there is none.
        value: A word or category in the place of a score or beside it, as in "thumbs_down".
        comment: In words.
        correction: What the output should have been: fields and values, or a text.
        run: The id of the run it is about; None where it is about the whole trace.
        trace: The id of the trace, which LangSmith gives the id of its outermost run.
        source: Who said it: LangSmith's "app", "api", "model" and others; empty where it is not known.
        id: The feedback's own id; may be empty.
        created: When, as ISO 8601; may be empty.
    """

    key: str
    score: float | None = None
    value: JSON = None
    comment: str | None = None
    correction: JSON = None
    run: str | None = None
    trace: str | None = None
    source: str = ""
    id: str = ""
    created: str = ""

    @classmethod
    def of(cls, item: object) -> Feedback:
        """Read feedback from any of its forms.

        Args:
            item: A Feedback; `langsmith.schemas.Feedback`, or the same as a dict, as the API sends it; a text, for a
                comment; a bool, for a thumb.

        Raises:
            DataError: It is none of these, or what should be a score or a comment is something else.
        """
        if isinstance(item, Feedback):
            return item
        if isinstance(item, bool):
            return cls("thumbs", float(item))
        if isinstance(item, str):
            return cls("comment", comment=item)
        key, score, comment = _get(item, "key"), _get(item, "score"), _get(item, "comment")
        if not isinstance(key, str) or not key.strip():
            raise DataError(
                f"{type(item).__name__} is no feedback; wanted is a text, a bool, or LangSmith's Feedback with a key"
            )
        if score is not None and number_of(score) is None:
            raise DataError(f"the feedback {key!r} has the score {score!r}, which is no finite number")
        if comment is not None and not isinstance(comment, str):
            raise DataError(f"the feedback {key!r} has a comment that is no text: {type(comment).__name__}")
        created, kind = _get(item, "created_at"), _get(_get(item, "feedback_source"), "type")
        return cls(
            key=" ".join(key.split())[:_KEY],
            score=number_of(score),
            value=as_json(_get(item, "value")),
            comment=comment,
            correction=as_json(_get(item, "correction")),
            run=_text(_get(item, "run_id")),
            trace=_text(_get(item, "trace_id")),
            source=str(getattr(kind, "value", kind) or ""),
            id=_text(_get(item, "id")) or "",
            created=created.isoformat() if hasattr(created, "isoformat") else _text(created) or "",
        )


def scores_from_feedback(
    feedback: Iterable[object],
    *,
    scales: Mapping[str, tuple[float, float]] | None = None,
    words: Mapping[str, float] = THUMBS,
    trusted: bool = False,
    tokens: int = TOKENS,
) -> tuple[Score, ...]:
    """The Scores that feedback amounts to, for `seed`.

    A score goes from 0 to 1. A correction becomes `expected`, and its fields are those that were judged. A comment
    without a score becomes a verdict in words: a Score with a comment and no value. Feedback with neither becomes a
    Score with an error.

    Args:
        feedback: In any of the forms that `Feedback.of` reads.
        scales: For scores of another range, the worst and the best score by key, as in `{"stars": (1, 5)}`.
        words: What a word for a value means, where there is no score.
        trusted: Whether all who commented may put words into your prompts, as your own team may. Then comments are
            bounded and not put between delimiters, so that proposers without a model may use them as they are.
        tokens: Hard cap of each text.

    Returns:
        One Score for each feedback, oldest first; of the same time, and where none is known, in the order given.

    Raises:
        DataError: Feedback cannot be read; or a score is out of range, or not on its scale.
    """
    known = {word.casefold(): value for word, value in words.items()}
    found = [Feedback.of(item) for item in feedback]
    # An API gives the newest first, or in any order it likes.
    found.sort(key=lambda one: (one.created, one.id))
    return tuple(_score(one, scales or {}, known, trusted=trusted, tokens=tokens) for one in found)


def on_scale(score: Score, scales: Mapping[str, tuple[float, float]]) -> Score:
    """The same Score from 0 to 1.

    Raises:
        DataError: It is out of range, or not on its scale.
    """
    if score.value is None:
        return score
    return replace(score, value=_scaled(score.key, score.value, scales.get(score.key)))


def _score(
    feedback: Feedback,
    scales: Mapping[str, tuple[float, float]],
    words: Mapping[str, float],
    *,
    trusted: bool,
    tokens: int,
) -> Score:
    value = feedback.score if feedback.score is not None else meant(feedback.value, words)
    if value is not None:
        value = _scaled(feedback.key, value, scales.get(feedback.key))
    correction = feedback.correction or None
    wanted: dict[str, JSON] | None = None
    if correction is not None:
        wanted = dict(correction) if isinstance(correction, dict) else {"": correction}
    said = [
        ("comment of a person", (feedback.comment or "").strip()),
        ("value that a person chose", "" if meant(feedback.value, words) is not None else _told(feedback.value)),
        ("what a person wanted instead", _told(correction)),
    ]
    parts = [clip(text, tokens) if trusted else fence(label, text, tokens=tokens) for label, text in said if text]
    if value is None and not parts:
        return Score(feedback.key, None, error=f"the feedback {feedback.key!r} holds neither a score nor words")
    fields = tuple(wanted) if isinstance(correction, dict) and wanted else ()
    return Score(feedback.key, value, "\n".join(parts) or None, fields, wanted)


def _scaled(key: str, value: float, scale: tuple[float, float] | None) -> float:
    worst, best = scale or (0.0, 1.0)
    if worst == best or not (math.isfinite(worst) and math.isfinite(best)):
        raise DataError(f"scales[{key!r}] is {scale}; give two different numbers, the worst score and the best")
    if not min(worst, best) <= value <= max(worst, best):
        cure = f"scales={{{key!r}: (worst, best)}}" if scale is None else "another scale"
        raise DataError(
            f"the feedback {key!r} has the score {value:g}, not one from {worst:g} to {best:g}; give {cure}"
        )
    return (value - worst) / (best - worst)


def meant(value: object, words: Mapping[str, float] = THUMBS) -> float | None:
    """The score that a value stands for, by itself or as a word; None where it is another category, or nothing."""
    return words.get(value.strip().casefold()) if isinstance(value, str) else number_of(value)


def _told(value: JSON) -> str:
    if value is None or isinstance(value, str):
        return (value or "").strip()
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _get(item: object, name: str) -> Any:
    return cast("Mapping[str, Any]", item).get(name) if isinstance(item, Mapping) else getattr(item, name, None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
