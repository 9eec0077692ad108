"""Provenance: which traces are behind a proposal, so that a version can be traced back to who caused it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import Proposals
    from textgrad_lg.update import Update


def traced(proposals: Proposals, gradients: Iterable[Gradient]) -> Proposals:
    """The Proposals, with the ids of the traces that each Update's Gradients stem from.

    Args:
        proposals: What an optimizer came up with.
        gradients: The Gradients that it was shown.
    """
    trace = {gradient.id: gradient.trace for gradient in gradients}

    def known(update: Update) -> Update:
        found = dict.fromkeys(trace[name] for name in update.gradients if name in trace)
        return replace(update, traces=tuple(dict.fromkeys((*update.traces, *found))))

    return replace(
        proposals,
        updates=tuple(map(known, proposals.updates)),
        rejected=tuple((known(update), reason) for update, reason in proposals.rejected),
        joint=tuple(tuple(map(known, plan)) for plan in proposals.joint),
    )
