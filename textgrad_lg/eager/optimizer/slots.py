"""Which placeholders of a text an update has to keep."""

from __future__ import annotations

import re
import string

_NAME = re.compile(r"[A-Za-z_]\w+")
_CODE = re.compile(r"[\w}\\^$\"'](?=\{)")
"""What stands before a brace that is no placeholder: LaTeX, a set, an f-string."""


def slots_of(text: str) -> tuple[str, ...]:
    r"""The placeholders in a prompt that is filled in by `str.format`, in order; none where the text looks like anything else.

    Example:
        >>> slots_of("Answer {question} in one word."), slots_of(r"x = \\frac{aa}{bb}"), slots_of('{"a": 1}')
        (('question',), (), ())
    """
    try:
        names = [
            name for _, name, spec, way in string.Formatter().parse(text) if name is not None and not spec and not way
        ]
    except ValueError:
        return ()
    if not names or not all(map(_NAME.fullmatch, names)) or _CODE.search(text):
        return ()
    return tuple(dict.fromkeys(names))
