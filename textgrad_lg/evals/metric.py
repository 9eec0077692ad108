"""Evaluators that need no model: each call makes one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

from textgrad_lg.errors import EvaluatorError
from textgrad_lg.evals.text import as_text

Verdict = tuple[bool, str | None]
"""Whether the output is right, and if not, why."""

_F = TypeVar("_F", bound=Callable[..., Verdict])
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_SHOWN = 200


def exact(field: str | None = None, *, ignore_case: bool = False) -> Callable[..., Verdict]:
    """An evaluator: the output is what the reference says.

    Args:
        field: The field that is compared. By default every field of the reference is; further fields of the output, such
            as channels that the graph works with, do not matter.
        ignore_case: Whether upper and lower case are the same, in texts at any depth.
    """

    def judge(outputs: dict[str, Any], reference_outputs: dict[str, Any] | None) -> Verdict:
        same = _folded if ignore_case else _itself
        return _each(field, outputs, reference_outputs, lambda got, want: same(got) == same(want))

    return _named(judge, "exact", field)


def numeric(field: str | None = None, *, tolerance: float = 0.0) -> Callable[..., Verdict]:
    """An evaluator: the output is the number that the reference says.

    In a text, the last number counts: models reason first and answer last. Commas between digits are dropped.

    Args:
        field: The field that is compared; by default every field of the reference.
        tolerance: How far off the number may be, in its own unit.

    Raises:
        EvaluatorError: `tolerance` is negative or no number.
    """
    if not tolerance >= 0:
        raise EvaluatorError(f"the tolerance is {tolerance}; it is a distance, so 0 or more")

    def near(got: object, want: object) -> bool:
        wanted, found = _number(want), _number(got)
        if wanted is None:
            raise EvaluatorError(f"the reference {_shown(want)} holds no number")
        return found is not None and abs(found - wanted) <= tolerance

    def judge(outputs: dict[str, Any], reference_outputs: dict[str, Any] | None) -> Verdict:
        right, why = _each(field, outputs, reference_outputs, near)
        return right, f"{why} (within {tolerance:g})" if why and tolerance else why

    return _named(judge, "numeric", field)


def regex(pattern: str | re.Pattern[str], field: str | None = None) -> Callable[..., Verdict]:
    r"""An evaluator: `pattern` is found in the output. It needs no reference.

    Args:
        pattern: A regular expression, searched for anywhere; `^...\Z` makes it match the whole.
        field: The field that is searched; by default the whole output, as lines of `field: text`.

    Raises:
        EvaluatorError: `pattern` is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise EvaluatorError(f"{pattern!r} is no regular expression: {error}") from error

    def judge(outputs: dict[str, Any]) -> Verdict:
        if field is not None and field not in outputs:
            return False, f"expected `{field}` to match /{compiled.pattern}/, and the output has no such field"
        text = as_text(outputs if field is None else {field: outputs[field]})
        what = "the output" if field is None else f"`{field}`"
        if compiled.search(text):
            return True, None
        return False, f"expected {what} to match /{compiled.pattern}/, got {_shown(text)}"

    return _named(judge, "regex", field)


def _each(
    field: str | None,
    outputs: dict[str, Any],
    reference_outputs: dict[str, Any] | None,
    fits: Callable[[object, object], bool],
) -> Verdict:
    """Compare one field, or every field of the reference; the comment names each one that does not fit."""
    if reference_outputs is None or (field is not None and field not in reference_outputs):
        missing = (
            "reference_outputs" if field is None or reference_outputs is None else f"{field!r} in reference_outputs"
        )
        raise EvaluatorError(f"the example has no {missing} to compare with")
    wrong: list[str] = []
    for name in [field] if field is not None else list(reference_outputs):
        want = reference_outputs[name]
        if name not in outputs:
            wrong.append(f"`{name}`: expected {_shown(want)}, and the output has no such field")
        elif not fits(outputs[name], want):
            wrong.append(f"`{name}`: expected {_shown(want)}, got {_shown(outputs[name])}")
    return not wrong, "; ".join(wrong) or None


def _named(judge: _F, kind: str, field: str | None) -> _F:
    judge.__name__ = kind if field is None else f"{kind}_{field}"
    return judge


def _itself(value: object) -> object:
    return value


def _folded(value: object) -> object:
    if isinstance(value, str):
        return value.casefold()
    if isinstance(value, list):
        return [_folded(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: _folded(item) for key, item in cast("dict[str, object]", value).items()}
    return value


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        found = _NUMBER.findall(value)
        return float(found[-1].replace(",", "")) if found else None
    return float(value)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}... ({len(shown)} characters)"
