"""Checks: rules of the user's for a proposed text, that code decides.

A check is any callable that takes the proposed text and returns why it may not be run, in words, or None. Those here also
have `asks`, the same rule as a request, which is told to the model that writes the proposals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Check = Callable[[str], str | None]
"""Given a proposed text: why it may not be run, or None. What it raises reaches the user."""

_BLOCK = re.compile(r"^```json[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_NO_PROSE = re.compile(r"^```.*?^```|<!--.*?-->|\{[A-Za-z_][A-Za-z0-9_.]*\}|\w+://\S+", re.DOTALL | re.MULTILINE)


def asked(checks: Iterable[Check]) -> list[str]:
    """The checks as requests to a model, in order; those that have no words for it are left out."""
    return [str(asks) for check in checks if (asks := getattr(check, "asks", ""))]


@dataclass(frozen=True, slots=True)
class MaxLines:
    """The text may have so many lines at most.

    Attributes:
        lines: The limit.
    """

    lines: int

    @property
    def asks(self) -> str:
        """The rule as a request."""
        return f"The text has at most {self.lines} lines."

    def __call__(self, text: str) -> str | None:
        """Why `text` may not be run, or None."""
        count = len(text.strip().splitlines())
        return f"the new text has {count} lines; the limit is {self.lines}" if count > self.lines else None


@dataclass(frozen=True, slots=True)
class Matches:
    """The text must hold a match of a regular expression, or must hold none.

    Attributes:
        pattern: The regular expression.
        words: What it stands for, as a request to the model: "Ends with the line `Answer:`."
        absent: Whether the text must hold none.

    Raises:
        ValueError: `pattern` is not a regular expression.
    """

    pattern: str
    words: str = ""
    absent: bool = False

    def __post_init__(self) -> None:
        compiled(self.pattern)

    @property
    def asks(self) -> str:
        """The rule as a request."""
        has = "no text that matches" if self.absent else "text that matches"
        return self.words or f"The text has {has} the regular expression `{self.pattern}`."

    def __call__(self, text: str) -> str | None:
        """Why `text` may not be run, or None."""
        if bool(re.search(self.pattern, text)) is not self.absent:
            return None
        return f"the new text does not keep the rule: {self.asks}"


@dataclass(frozen=True, slots=True)
class ValidJSON:
    """The text must be JSON, or each of its fenced `json` blocks must.

    Attributes:
        blocks: Whether only the blocks have to be JSON.
    """

    blocks: bool = False

    @property
    def asks(self) -> str:
        """The rule as a request."""
        return f"{'Each fenced json block of the text' if self.blocks else 'The whole text'} is valid JSON."

    def __call__(self, text: str) -> str | None:
        """Why `text` may not be run, or None."""
        for part in _BLOCK.findall(text) if self.blocks else [text]:
            try:
                json.loads(part)
            except (ValueError, RecursionError) as error:
                return f"{'a json block of ' if self.blocks else ''}the new text is not valid JSON: {error}"
        return None


@dataclass(frozen=True, slots=True)
class Language:
    """The text must be written in one language.

    Which language a text is in, a callable of yours says; this library ships no detector.

    Attributes:
        code: The language, as the detector names it: "en". Of a name such as "en-GB", only what is before the hyphen counts.
        detect: Given a text without its slots, code blocks and addresses: the language's code.
        shortest: A text with fewer letters than this is let through: no detector is right about a few words.
    """

    code: str
    detect: Callable[[str], str]
    shortest: int = 40

    @property
    def asks(self) -> str:
        """The rule as a request."""
        return f"The text is written in the language `{self.code}`."

    def __call__(self, text: str) -> str | None:
        """Why `text` may not be run, or None."""
        prose = " ".join(_NO_PROSE.sub(" ", text).split())
        if sum(map(str.isalpha, prose)) < self.shortest:
            return None
        found = self.detect(prose)
        same = _language(found) == _language(self.code)
        return None if same else f"the new text is in the language {found!r}; wanted is {self.code!r}"


def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression `pattern`; `.` matches no line end unless the pattern says `(?s)`.

    Raises:
        ValueError: It is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        msg = f"{pattern!r} is not a regular expression: {error}; write it as Python's `re` reads it"
        raise ValueError(msg) from error


def _language(code: str) -> str:
    return re.split("[-_]", code.strip().casefold())[0]
