"""The bookkeeping of a reverse pass: what has been delivered, and what can be differentiated next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textgrad_lg.gradient import Gradient, Gradients

if TYPE_CHECKING:
    from textgrad_lg.autograd.graph import Pruned
    from textgrad_lg.autograd.rules import Outcome


class Deliveries:
    """The feedback that has been delivered so far in one pass, kept by consumer: in what order it came does not show.

    Attributes:
        ready: Variables whose consumers have all delivered, and that nobody has taken yet.
    """

    def __init__(self, pruned: Pruned) -> None:
        self.pruned = pruned
        trace = pruned.trace
        # A verdict has no consumer: what is on it, the pass itself delivers, and it is no Gradient of the result.
        self.inbox: dict[str, dict[str, list[Gradient]]] = {
            seed.variable: {"": [Gradient(seed.variable, seed.text, seed.span, trace.id, trace.example, seed.score)]}
            for seed in pruned.seeds
        }
        self.missing = {target: len(pruned.consumers.get(target, ())) for target in pruned.order}
        self.ready = [target for target in pruned.order if not self.missing[target]]
        self.done: dict[str, Outcome] = {}

    def arrived(self, variable: str) -> tuple[Gradient, ...]:
        """The feedback on a Variable, consumer by consumer in the pass's order: each text once, at its surest weight."""
        found: dict[str, Gradient] = {}
        parts = self.inbox.get(variable, {})
        for consumer in self.pruned.consumers.get(variable, ("",)):
            for gradient in parts.get(consumer, ()):
                first = found.setdefault(gradient.text, gradient)
                found[gradient.text] = replace(first, weight=max(first.weight, gradient.weight))
        return tuple(found.values())

    def deliver(self, target: str, outcome: Outcome) -> None:
        """Take in what a rule has made, and note whose consumers have now all delivered."""
        self.done[target] = outcome
        for gradient in outcome.gradients:
            self.inbox.setdefault(gradient.variable, {}).setdefault(target, []).append(gradient)
        for source in dict.fromkeys(edge.source for edge in self.pruned.edges[target]):
            if source in self.missing:
                self.missing[source] -= 1
                if not self.missing[source]:
                    self.ready.append(source)

    def gathered(self) -> Gradients:
        """The result, nearest to the output first, and the calls furthest first, whatever the order of the deliveries was."""
        outcomes = [self.done[target] for target in self.pruned.order]
        return Gradients(
            tuple(gradient for variable in self.pruned.consumers for gradient in self.arrived(variable)),
            tuple(failure for outcome in outcomes for failure in outcome.failures),
            tuple(outcome.call for outcome in reversed(outcomes) if outcome.call),
        )
