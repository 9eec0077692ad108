"""Copied: whether a proposed text copies words out of a trace.

What stands in a trace was written by the application's users, its tools and its models, and none of it is a prompt's author.
Feedback that quotes it is how it gets into a proposal, and a passage that is long enough to be an instruction is refused,
whatever it says. What the texts in force and the user's own words hold is not copied, although it is in the trace as well;
nor is what more than half of the sources have, where there are four or more: that is the form of the data.

Words are compared as in `optim.leakage`. Somebody who changes every few words on the way is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textgrad_lg.optim.leakage import Words, runs, shown, texts_in, words_of
from textgrad_lg.types import SpanKind

if TYPE_CHECKING:
    from textgrad_lg.trace import Trace

COPIED = 8
"""Words in a row that a text may share with a trace."""
_FEW = 4
"""Sources from which on what most of them hold is the form of the data."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What of a step's traces a new text may not hold.

    Attributes:
        traces: The traces behind the step's feedback.
        sources: Who wrote each, by the trace's id; a trace that is not there is a source of its own.
        most: Words in a row that may be shared.
        texts: The texts in force in the whole graph: what a trace says after them is not copied from it.
    """

    traces: Sequence[Trace]
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    most: int = COPIED
    texts: Sequence[str] = ()
    _read: dict[str, tuple[str, tuple[Words, ...]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        read = {trace.id: (self.sources.get(trace.id, trace.id), _written(trace)) for trace in self.traces}
        object.__setattr__(self, "_read", read)

    def found(self, new: str, known: Iterable[str] = ()) -> str | None:
        """Why `new` may not be run, in words; None if it copies nothing.

        Args:
            new: The proposed text.
            known: The text in force, and texts by the user (goal, constraints); what they hold is not copied.
        """
        length = self.most + 1
        old = {run for text in (*self.texts, *known) for run in runs(words_of(text), length)}
        holders: dict[Words, dict[str, str]] = {run: {} for run in runs(words_of(new), length) if run not in old}
        begins = {run[0] for run in holders}
        for trace, (source, texts) in self._read.items():
            for run in {run: None for text in texts for run in runs(text, length, begins) if run in holders}:
                holders[run].setdefault(source, trace)
        every = len({source for source, _ in self._read.values()})
        usual = every // 2 if every >= _FEW else every
        for run, holding in holders.items():
            if 0 < len(holding) <= usual:
                return f"the new text copies {shown(run)} out of the trace {next(iter(holding.values()))}"
        return None


def _written(trace: Trace) -> tuple[Words, ...]:
    """What strangers and models wrote in a trace: neither its prompts nor the verdicts on it."""
    judged = {span.id for span in trace.spans if span.kind is SpanKind.EVAL}
    values = (v.value for v in trace.variables if v.site is None and v.span not in judged)
    return tuple(dict.fromkeys(words for value in values for text in texts_in(value) if (words := words_of(text))))
