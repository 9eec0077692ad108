"""Provenance: which traces are behind a proposal, so that a version can be traced back to who caused it; and its reason.

The reason was written by a model that had read what strangers wrote. It is kept with the version, told to the next step, and
shown to people, so it is screened as the text is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from textgrad_lg.optim.planted import planted
from textgrad_lg.templates import visible

if TYPE_CHECKING:
    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import Proposals
    from textgrad_lg.update import Update


_WHY = 400
"""Characters of a reason that are kept."""


def reason(update: Update, known: Iterable[str] = ()) -> str:
    """Why an Update was proposed, in one line; withheld, in words, where it holds what no new text may bring in.

    Args:
        update: The Update.
        known: Texts whose words may stand in it, besides those of the text in force.
    """
    why = " ".join(visible(update.why).split())
    found = next(iter(planted(update.why, lambda: (update.old.text, *known), of="it")), None)
    if found is not None:
        return f"[withheld: the reason that was given holds what no text may bring in: {found[0]}]"
    return why if len(why) <= _WHY else f"{why[: _WHY - 1]}…"


def traced(proposals: Proposals, gradients: Iterable[Gradient]) -> Proposals:
    """The Proposals, with the ids of the traces that each Update's Gradients stem from, and with screened reasons.

    Args:
        proposals: What an optimizer came up with.
        gradients: The Gradients that it was shown.
    """
    trace = {gradient.id: gradient.trace for gradient in gradients}

    def known(update: Update, *, refused: bool = False) -> Update:
        found = dict.fromkeys(trace[name] for name in update.gradients if name in trace)
        # What stands in a text that may be run was screened, or allowed.
        why = reason(update, () if refused else (update.new.text,))
        return replace(update, why=why, traces=tuple(dict.fromkeys((*update.traces, *found))))

    return replace(
        proposals,
        updates=tuple(map(known, proposals.updates)),
        rejected=tuple((known(update, refused=True), said) for update, said in proposals.rejected),
        joint=tuple(tuple(map(known, plan)) for plan in proposals.joint),
    )
