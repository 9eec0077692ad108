"""Reading what an evaluator returned: every form that LangSmith and openevals evaluators use."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat, cast

from textgrad_lg.example import Score

WANTED = (
    "a number or a bool, (score, comment), {'score': ..., 'comment': ...}, {'results': [...]}, LangSmith's "
    "EvaluationResult, or a list of results"
)
"""What an evaluator may return, in words."""

_COMMENTS = ("comment", "reasoning", "feedback")
_SHOWN = 80
_PAIR = 2


@dataclass(frozen=True, slots=True)
class Result:
    """One result of an evaluator, as it was read.

    Attributes:
        key: The key it came with, or the evaluator's name.
        value: The score; None where there is none.
        comment: The reason, if one was given.
        correction: What should have been there, if the evaluator said so (LangSmith's `correction`).
        error: What is wrong with the result, in words; then `value` is None.
    """

    key: str
    value: float | None
    comment: str | None = None
    correction: dict[str, Any] | None = None
    error: str | None = None


def read_results(name: str, returned: object) -> tuple[Result, ...]:
    """Read what the evaluator `name` returned, at least one result.

    Nothing is raised: what cannot be read becomes a Result with an `error`.
    """
    if isinstance(returned, Mapping):
        mapping = cast("Mapping[str, Any]", returned)
        return _read_all(name, mapping["results"]) if "results" in mapping else (_read_mapping(name, mapping),)
    if isinstance(returned, tuple | list):
        items = cast("Sequence[object]", returned)
        if isinstance(returned, tuple) and len(items) == _PAIR and _is_pair(*items):
            return (_result(name, items[0], items[1], items),)
        return _read_all(name, items)
    if isinstance(returned, Score):
        return (Result(returned.key, returned.value, returned.comment, returned.expected, returned.error),)
    if hasattr(returned, "score"):  # LangSmith's EvaluationResult, and what is made like it
        fields = ("key", "score", "correction", *_COMMENTS)
        return (_read_mapping(name, {at: getattr(returned, at) for at in fields if hasattr(returned, at)}),)
    return (_result(name, returned, None, returned),)


def _read_all(name: str, items: object) -> tuple[Result, ...]:
    if not isinstance(items, Sequence) or isinstance(items, str) or not items:
        return (Result(name, None, error=_unreadable(name, cast("object", items))),)
    found = [result for item in cast("Sequence[object]", items) for result in read_results(name, item)]
    return tuple(_numbered(found))


def _numbered(results: Iterable[Result]) -> Iterable[Result]:
    """Results with a key each: the second one of a key gets `_2` behind it."""
    seen: dict[str, int] = {}
    for result in results:
        count = seen[result.key] = seen.get(result.key, 0) + 1
        key = result.key if count == 1 else f"{result.key}_{count}"
        yield Result(key, result.value, result.comment, result.correction, result.error)


def _read_mapping(name: str, mapping: Mapping[str, Any]) -> Result:
    comment = next((mapping[key] for key in _COMMENTS if mapping.get(key)), None)
    key, correction = mapping.get("key"), mapping.get("correction")
    result = _result(key if isinstance(key, str) and key else name, mapping.get("score"), comment, mapping)
    if isinstance(correction, Mapping) and correction:
        return Result(
            result.key, result.value, result.comment, dict(cast("Mapping[str, Any]", correction)), result.error
        )
    return result


def _result(key: str, score: object, comment: object, returned: object) -> Result:
    value = number_of(score)
    return Result(key, value, _words(comment), error=_unreadable(key, returned) if value is None else None)


def number_of(value: object) -> float | None:
    """`value` as a finite number, or None where it is none; a bool is 0 or 1, text is no number."""
    if isinstance(value, str | bytes) or not isinstance(value, SupportsFloat):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_pair(first: object, second: object) -> bool:
    """Whether two values are a score and its comment; else they are two results."""
    return (first is None or isinstance(first, SupportsFloat | str)) and not isinstance(second, SupportsFloat)


def _words(comment: object) -> str | None:
    if comment is None or isinstance(comment, str):
        return comment or None
    return json.dumps(comment, ensure_ascii=False, default=str)


def _unreadable(name: str, returned: object) -> str:
    shown = "nothing" if returned is None else f"{_clipped(returned)} ({type(returned).__name__})"
    return f"the evaluator {name!r} returned {shown}, which holds no score; wanted is {WANTED}, with finite numbers"


def _clipped(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
