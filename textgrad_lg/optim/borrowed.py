# ruff: noqa: RUF001  the punctuation of other scripts is the point here
"""Borrowed: whether a sentence of a proposed text is a stranger's sentence.

An order may be short: "always approve refunds" is three words, far below what `optim.copied` calls copied. What gives it away
is that the whole sentence was said by a stranger. An improvement speaks of the same things, and with the same words, but
its sentences are its own. Two rules, for what users and tools say in traces that strangers made, and for what tools say in
runs of the user's own examples:

- a sentence of three words or more, of which nearly all stand in runs of three in what one user or tool said;
- a part of a sentence, of two words or more, that is all of a part of what a user or a tool said.

What the texts in force and the user's own words hold is not borrowed. What most sources say is, other than in `optim.copied`:
whoever makes many traces says it in all of them. What models replied does not count here: a good answer, and a label, is theirs.
What was said backwards or in ROT13 is found as well, and what stands there as base64, hex digits or tag characters.

Who says it in other words, or in another language, is not found.
"""

from __future__ import annotations

import base64
import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textgrad_lg.optim.leakage import Words, runs, shown, texts_in, words_of
from textgrad_lg.optim.overrides import ALIKE
from textgrad_lg.types import SpanKind

if TYPE_CHECKING:
    from textgrad_lg.trace import Trace

_RUN = 3
"""Words of a run."""
_PART = 2
"""Words from which on a part of a sentence counts."""
_SHARE = 0.85
"""Share of a sentence's words from which on it is borrowed."""
_TOOLS = (SpanKind.TOOL, SpanKind.RETRIEVER)
_LONGEST = 200_000
"""Characters of one text that are read: far more than a request shows of it."""

_SENTENCES = re.compile(r"[.!?;…。！？；।]+(?=\s|$|[<\"'”»)\]])|\n+|(?<=[。！？；])")
_PARTS = re.compile(r"[:,：，、()\[\]\"“”„«»<>|]+|\s[-–—*]+\s")
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[\s:,]?){8,}")
_TAGS = re.compile("[\U000e0020-\U000e007e]+")


@dataclass(frozen=True, slots=True)
class _Said:
    """What strangers said in one trace.

    Attributes:
        trace: The trace's id.
        texts: The words of each text.
        parts: The parts of its sentences.
    """

    trace: str
    texts: tuple[Words, ...]
    parts: frozenset[Words]


@dataclass(frozen=True, slots=True)
class Borrowed:
    """The sentences that a new text may not have.

    Attributes:
        traces: The traces behind the step's feedback.
        tools: Whether only what tools gave counts, because the runs are of the user's own examples.
    """

    traces: Sequence[Trace]
    tools: bool = False
    _said: tuple[_Said, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_said", tuple(_read(trace, self.tools) for trace in self.traces))

    def found(self, new: str, known: Iterable[str] = ()) -> str | None:
        """Why `new` may not be run, in words; None if all of its sentences are its own.

        Args:
            new: The proposed text.
            known: The texts in force, and texts by the user (goal, constraints); what they hold is not borrowed.
        """
        if not self._said:
            return None
        own = [words_of(_plain(text)) for text in known]
        old = {run for words in own for run in runs(words, _RUN)}
        sentences = [
            (said, [read, *(part for part in parts if not any(_within(part, words) for words in own))])
            for said, ways in _sentences(new)
            for read, parts in ways
        ]
        wanted = {run for _, (read, *_) in sentences for run in runs(read, _RUN)} - old
        begins = {run[0] for run in wanted}
        for said in self._said:
            told = [wanted.intersection(runs(text, _RUN, begins)) for text in said.texts]
            for shown_as, (read, *parts) in sentences:
                if not said.parts.isdisjoint(parts) or any(_covered(read, spoken) >= _SHARE for spoken in told):
                    return f"the new text says {shown(shown_as)}, as somebody does in the trace {said.trace}"
        return None


def _covered(sentence: Words, told: set[Words]) -> float:
    """The share of the sentence's words that stand in a run that was said."""
    held: set[int] = set()
    for at in range(len(sentence) - _RUN + 1):
        if sentence[at : at + _RUN] in told:
            held.update(range(at, at + _RUN))
    return len(held) / len(sentence)


def _within(part: Words, words: Words) -> bool:
    return any(words[at : at + len(part)] == part for at in range(len(words) - len(part) + 1))


def _read(trace: Trace, tools: bool) -> _Said:
    texts = [_plain(text[:_LONGEST]) for said in _strangers(trace, tools) for text in (said, *_decoded(said))]
    parts = (part for text in texts for sentence in _SENTENCES.split(text) for part in _parts(sentence))
    words = dict.fromkeys(found for text in texts if (found := words_of(text)))
    return _Said(trace.id, tuple(words), frozenset(parts))


def _strangers(trace: Trace, tools: bool) -> Iterator[str]:
    """What users and tools said: all values but prompts, verdicts, and what models replied."""
    kinds = {span.id: span.kind for span in trace.spans}
    values = [variable for variable in trace.variables if variable.site is None]
    replied = {text for one in values if kinds.get(one.span or "") is SpanKind.LLM for text in texts_in(one.value)}
    for variable in values:
        kind = kinds.get(variable.span or "")
        if kind in _TOOLS if tools else kind not in (SpanKind.LLM, SpanKind.EVAL):
            yield from (text for text in dict.fromkeys(texts_in(variable.value)) if text not in replied)


def _decoded(text: str) -> Iterator[str]:
    """What is encoded in the text."""
    for found in _TAGS.findall(text):
        yield "".join(chr(ord(char) - 0xE0000) for char in found)
    for found in _HEX.findall(text):
        with suppress(ValueError):  # of an odd number of digits, or no text
            yield bytes.fromhex(re.sub(r"[^0-9A-Fa-f]", "", found)).decode()
    for found in _ENCODED.findall(text):
        body = found.rstrip("=").replace("-", "+").replace("_", "/")
        with suppress(ValueError):  # not base64 after all, or no text
            yield base64.b64decode(body + "=" * (-len(body) % 4), validate=True).decode()


def _sentences(text: str) -> Iterator[tuple[Words, list[tuple[Words, tuple[Words, ...]]]]]:
    """The words of each sentence, and the ways in which a stranger may have written it: each its words and its parts."""
    for said in _SENTENCES.split(_plain(text)):
        if len(words := words_of(said)) >= _PART:
            ways = (said, said[::-1], codecs.encode(said, "rot13"))
            yield words, [(words_of(way), tuple(_parts(way))) for way in ways]


def _parts(sentence: str) -> Iterator[Words]:
    """The sentence and its parts; what has one word is none."""
    for part in dict.fromkeys((sentence, *_PARTS.split(sentence))):
        if len(words := words_of(part)) >= _PART:
            yield words


def _plain(text: str) -> str:
    """The text without what no reader sees, and with one letter for those that look alike."""
    if text.isascii():
        return text
    seen = (char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) not in ("Cf", "Co"))
    return "".join(seen).casefold().translate(ALIKE)
