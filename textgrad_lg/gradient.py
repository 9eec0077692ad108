"""Gradient: feedback on one Variable from one of its consumers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from textgrad_lg.site import Site


@dataclass(frozen=True, slots=True)
class Gradient:
    """Feedback on one Variable, from one consumer.

    Attributes:
        variable: The id of the Variable it criticises, in its Trace.
        text: The feedback, in words.
        span: The id of the consumer's Span it came from, in the same Trace.
        trace: The id of the Trace.
        example: The id of the Example that was run, if any.
        score: The score behind it, higher is better; None where the evaluator gave none.
        site: The Parameter's Site, where the Variable is one.
        weight: How sure the path is that it came along: 1.0 where each edge was confirmed, less where one was not.
    """

    variable: str
    text: str
    span: str
    trace: str
    example: str | None = None
    score: float | None = None
    site: Site | None = None
    weight: float = 1.0

    @property
    def id(self) -> str:
        """Twelve hex digits made from the content: the same feedback at the same place has the same id."""
        content = json.dumps([self.trace, self.variable, self.span, self.text])
        return hashlib.sha256(content.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class GradientCall:
    """One model call of a reverse pass.

    Attributes:
        span: The id of the Span that was differentiated; the outermost one for `Strategy.FUSED`.
        model: The model's name.
        input_tokens: Tokens sent, or None where the model did not say.
        output_tokens: Tokens received, or None where the model did not say.
        start: Unix time in seconds.
        end: Unix time in seconds.
        error: What went wrong, where it failed for good.
    """

    span: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    start: float = 0.0
    end: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Gradients:
    """All Gradients of one or more reverse passes, in a fixed order.

    Attributes:
        items: Every Gradient, on Parameters and on the Variables between; ordered as the reverse pass made them.
        failures: What could not be criticised, in words: one line for each model call that failed for good.
        calls: The model calls made, one for each Span asked about, furthest from the output first.
    """

    items: tuple[Gradient, ...] = ()
    failures: tuple[str, ...] = ()
    calls: tuple[GradientCall, ...] = ()

    def __iter__(self) -> Iterator[Gradient]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def on(self, variable: str) -> tuple[Gradient, ...]:
        """The Gradients on one Variable."""
        return tuple(gradient for gradient in self.items if gradient.variable == variable)

    def parameters(self) -> dict[Site, tuple[Gradient, ...]]:
        """The Gradients on Parameters, by Site, in order of first mention."""
        found: dict[Site, tuple[Gradient, ...]] = {}
        for gradient in self.items:
            if gradient.site is not None:
                found[gradient.site] = (*found.get(gradient.site, ()), gradient)
        return found

    @classmethod
    def merge(cls, parts: Iterable[Gradients]) -> Gradients:
        """The Gradients of several reverse passes as one, in the order given."""
        parts = tuple(parts)
        return cls(
            tuple(gradient for part in parts for gradient in part.items),
            tuple(failure for part in parts for failure in part.failures),
            tuple(call for part in parts for call in part.calls),
        )
