"""Template: a Parameter's text as constants and slots, with its demonstration turns."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from textgrad_lg.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Mapping

_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")
_WORDS, _LENGTH = 4, 16


@dataclass(frozen=True, slots=True)
class Demo:
    """One demonstration turn: what the Parameter's call is given, and the reply that was wanted.

    Attributes:
        inputs: Slot values, as pairs. For a system text, the one pair `("human", <the human turn>)`.
        output: The reply that was wanted.
    """

    inputs: tuple[tuple[str, str], ...]
    output: str


@dataclass(frozen=True, slots=True)
class Template:
    """A Parameter's text as constants and slots.

    A slot is written `{name}` where `name` is in `slots`; every other brace is ordinary text, so a prompt that holds
    JSON needs no escaping.

    Attributes:
        text: The text, with its slots.
        slots: The names of the slots, in order of first appearance. Protected: a new text must keep them.
        demos: Demonstration turns that go before the call's own turn.
    """

    text: str
    slots: tuple[str, ...] = ()
    demos: tuple[Demo, ...] = ()

    def __str__(self) -> str:
        return self.text

    @property
    def hash(self) -> str:
        """Twelve hex digits of the content, demonstrations included."""
        content = json.dumps([self.text, self.slots, [[d.inputs, d.output] for d in self.demos]], ensure_ascii=False)
        return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:12]

    @property
    def telling(self) -> bool:
        """Whether its constants are four words and 16 characters or more: enough to know a text by that it gave."""
        return _telling(self.text, self.slots)

    def match(self, rendered: str) -> dict[str, str] | None:
        """The slot values with which this Template gives `rendered`, or None if it cannot."""
        found = _pattern(self.text, self.slots).fullmatch(rendered)
        if found is None:
            return None
        return {slot: found[f"s{at}"] for at, slot in enumerate(self.slots)}

    def render(self, values: Mapping[str, str]) -> str:
        """The text with its slots filled.

        Raises:
            KeyError: A slot has no value.
        """
        return _slot_pattern(self.slots).sub(lambda found: values[found[1]], self.text) if self.slots else self.text

    def check(self, text: str) -> None:
        """Check that `text` could take this Template's place.

        Raises:
            TemplateError: It is empty, or it loses or invents a slot.
        """
        if not text.strip():
            raise TemplateError("the new text is empty")
        lost = [slot for slot in self.slots if f"{{{slot}}}" not in text]
        if lost:
            raise TemplateError(f"the new text loses the slot {', '.join(f'{{{slot}}}' for slot in lost)}")
        known = {*_BRACED.findall(self.text), *self.slots}
        invented = sorted(set(_BRACED.findall(text)) - known)
        if invented:
            raise TemplateError(f"the new text invents the slot {', '.join(f'{{{slot}}}' for slot in invented)}")

    def with_text(self, text: str) -> Template:
        """This Template with a new text and the same slots and demonstrations.

        Raises:
            TemplateError: See `check`.
        """
        self.check(text)
        return replace(self, text=text)


@lru_cache(maxsize=1024)
def _slot_pattern(slots: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"\{(" + "|".join(re.escape(slot) for slot in slots) + r")\}")


@lru_cache(maxsize=1024)
def _telling(text: str, slots: tuple[str, ...]) -> bool:
    constant = _slot_pattern(slots).sub(" ", text) if slots else text
    return len(constant) >= _LENGTH and len(re.findall(r"[^\W\d_]{2,}", constant)) >= _WORDS


@lru_cache(maxsize=1024)
def _pattern(text: str, slots: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern with one group a slot; a slot's later uses must repeat its first."""
    if not slots:
        return re.compile(re.escape(text))
    group = {slot: f"s{at}" for at, slot in enumerate(slots)}
    first, *rest = _slot_pattern(slots).split(text)
    names, constants = rest[::2], rest[1::2]
    # Where no slot is used again, the earliest place of the constant behind it is as good as any later one, so the search
    # need not come back to it: with four slots and a long text, coming back took minutes.
    again = max((at for at, name in enumerate(names) if names.count(name) > 1), default=-1)
    parts = [re.escape(first)]
    for at, (name, constant) in enumerate(zip(names, constants, strict=True)):
        slot = f"(?P={group[name]})" if name in names[:at] else f"(?P<{group[name]}>.*?)"
        part = f"{slot}{re.escape(constant)}"
        parts.append(f"(?>{part})" if again < at < len(names) - 1 else part)
    return re.compile("".join(parts), re.DOTALL)
