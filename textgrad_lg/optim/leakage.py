"""Leakage: whether a proposed text copies out a train example.

A text that carries an example's answer wins on that example and on no other, and it may carry what a user wrote into every
later call. What counts, and what does not:

- A run of `quoted` words that stands in an example's inputs or reference, unless more than half of the examples have it:
  what most of them share is the form of the data.
- A whole reference of `answer` or more words.

Neither counts where the text in force or the user's own words hold it; where it is a reference that several examples share,
for then it is a label; or where one feedback text says it of several examples, for then it is a rule. Feedback on a single
example excuses nothing: that is the way by which answers come into prompts.

Words are compared without case and punctuation. Of scripts that put no space between words, each character counts as one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textgrad_lg.example import Example
    from textgrad_lg.gradient import Gradient
    from textgrad_lg.types import JSON

QUOTED, ANSWER = 8, 3
"""Words: how long a run may not be copied from an example, and from how many on a reference counts."""
_WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+")
_SHOWN = 60
"""Characters of what was copied that the reason shows."""

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leakage:
    """What of the train examples a new text may not hold.

    Attributes:
        examples: The train examples.
        gradients: The feedback of the step.
        quoted: A run of so many words of an example counts as copied; 0 for no such rule.
        answer: A reference of so many words counts as copied when all of it is there; 0 for no such rule.
    """

    examples: Sequence[Example]
    gradients: Iterable[Gradient] = ()
    quoted: int = QUOTED
    answer: int = ANSWER
    _read: list[tuple[Words, ...]] = field(init=False, repr=False)
    _answers: list[tuple[Words, ...]] = field(init=False, repr=False)
    _free: tuple[Words, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        read = object.__setattr__
        answers = [_distinct(example.reference_outputs) for example in self.examples]
        both = [(*_distinct(one.inputs), *found) for one, found in zip(self.examples, answers, strict=True)]
        read(self, "_read", both)
        read(self, "_answers", answers)
        read(self, "_free", (*_labels(answers), *_rules(self.gradients)))

    def found(self, new: str, known: Iterable[str] = ()) -> str | None:
        """Why `new` may not be run, in words; None if it copies out nothing.

        Args:
            new: The proposed text.
            known: The text in force, and texts by the user (goal, constraints); what they hold is not copied.
        """
        words, free = words_of(new), [*map(words_of, known), *self._free]
        return (self.quoted and self._copied(words, free)) or (self.answer and self._answered(words, free)) or None

    def _copied(self, new: Words, free: list[Words]) -> str | None:
        old = {run for text in free for run in runs(text, self.quoted)}
        holders: dict[Words, list[str]] = {run: [] for run in runs(new, self.quoted) if run not in old}
        begins = {run[0] for run in holders}
        for example, texts in zip(self.examples, self._read, strict=True):
            for run in {run: None for text in texts for run in runs(text, self.quoted, begins) if run in holders}:
                holders[run].append(example.id)
        usual = max(1, len(self.examples) // 2)
        for run, holding in holders.items():
            if 0 < len(holding) <= usual:
                return f"the new text copies {shown(run)} out of the train example {holding[0]!r}"
        return None

    def _answered(self, new: Words, free: list[Words]) -> str | None:
        for example, answers in zip(self.examples, self._answers, strict=True):
            for answer in answers:
                long = len(answer) >= self.answer
                if long and _holds(new, answer) and not any(_holds(text, answer) for text in free):
                    return f"the new text holds the answer {shown(answer)} of the train example {example.id!r}"
        return None


def _labels(answers: Iterable[tuple[Words, ...]]) -> tuple[Words, ...]:
    """The references that several examples have."""
    counts = Counter(answer for found in answers for answer in found)
    return tuple(answer for answer, count in counts.items() if count > 1)


def _rules(gradients: Iterable[Gradient]) -> tuple[Words, ...]:
    """Feedback that was said of several examples."""
    said: dict[Words, set[str]] = {}
    for gradient in gradients:
        said.setdefault(words_of(gradient.text), set()).add(gradient.example or gradient.trace)
    return tuple(words for words, examples in said.items() if len(examples) > 1)


def _distinct(value: JSON) -> tuple[Words, ...]:
    return tuple(dict.fromkeys(words for text in texts_in(value) if (words := words_of(text))))


def texts_in(value: JSON) -> Iterator[str]:
    """Every text in a JSON value; its keys are the form of the data, and no part of an answer."""
    todo: list[JSON] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            todo += reversed(list(item.values()))
        elif isinstance(item, list):
            todo += reversed(item)


def words_of(text: str) -> Words:
    """The words of a text, without case and punctuation."""
    return tuple(_WORD.findall(text.casefold()))


def runs(words: Words, length: int, begins: set[str] | None = None) -> dict[Words, None]:
    """Every run of `length` words, in order; with `begins`, those that start with one of these words."""
    return {
        words[at : at + length]: None for at in range(len(words) - length + 1) if begins is None or words[at] in begins
    }


def _holds(words: Words, part: Words) -> bool:
    return any(words[at] == part[0] and words[at : at + len(part)] == part for at in range(len(words) - len(part) + 1))


def shown(words: Words) -> str:
    """Words as a reason quotes them."""
    said = " ".join(words)
    return f"“{said if len(said) <= _SHOWN else said[: _SHOWN - 1] + '…'}”"
