"""Trial: one candidate of a step, from its Updates to the texts it is run with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textgrad_lg.overlay import Replacement
from textgrad_lg.update import Update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgrad_lg.optim import Merge, Proposals
    from textgrad_lg.prompt import Template
    from textgrad_lg.run.rollout import Candidate
    from textgrad_lg.site import Site


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate: Updates that are run, taken and committed together or not at all.

    Attributes:
        updates: One or more, of different Parameters; what the candidate changes in the texts its step starts from.
        texts: The texts it is run with.
        parents: The numbers in the pool of the candidates that it was made from.
        merged: Whether it is a merge of two: those were tested before, so it goes to the validation set at once.
    """

    updates: tuple[Update, ...]
    texts: Candidate
    parents: tuple[int, ...]
    merged: bool = False


def trials(proposals: Proposals, base: Candidate, own: Mapping[Site, Template], parent: int) -> tuple[Trial, ...]:
    """What an optimizer proposed, as Trials; those of several Updates first, each kind best guess first.

    Args:
        proposals: What it proposed for the texts in `base`.
        base: The texts that the step starts from.
        own: The graph's own texts.
        parent: The number of `base` in the pool.
    """
    every = (*proposals.joint, *((update,) for update in proposals.updates))
    return tuple(Trial(updates, _laid(base, updates, own), (parent,)) for updates in every)


def merged(merge: Merge, base: Candidate, own: Mapping[Site, Template], tried: Sequence[Update] = ()) -> Trial:
    """A merge as a Trial: its Updates say in what it differs from `base`, the texts in force.

    Args:
        merge: The merge.
        base: The texts in force.
        own: The graph's own texts.
        tried: The Updates that were tried before; see `changes`.
    """
    texts = {site: Replacement(own[site], new) for site, new in merge.texts.items()}
    one, other = merge.parents
    why = f"the candidates {one} and {other} are good at different examples; this is of each what it changed"
    return Trial(changes(base, texts, own, why=why, proposer="merge", tried=tried), texts, merge.parents, merged=True)


def to_commit(
    trial: Trial, before: Candidate, own: Mapping[Site, Template], tried: Sequence[Update] = ()
) -> tuple[Update, ...]:
    """The Updates that put a trial in the place of the texts in force, each with the trial's own reason where it has one.

    Args:
        trial: The trial that was taken.
        before: The texts in force; other than those that the trial's step started from, where there is a pool.
        own: The graph's own texts.
        tried: The Updates that were tried before; see `changes`.
    """
    asked = {update.site: update for update in trial.updates}
    why = "it comes with the candidate that the step started from"
    every = changes(before, trial.texts, own, why=why, proposer="pool", tried=tried)
    return tuple(replace(asked.get(update.site, update), old=update.old) for update in every)


def changes(
    before: Candidate,
    after: Candidate,
    own: Mapping[Site, Template],
    *,
    why: str,
    proposer: str,
    tried: Sequence[Update] = (),
) -> tuple[Update, ...]:
    """The Updates that lead from one candidate to another; a text that only the first changed goes back to the graph's own.

    A text that stands in one of the Updates `tried` brings the Gradients and traces along from which it was made, and those
    of the texts that it was made from.
    """
    sites = sorted({*before, *after}, key=str)
    texts = {site: (_text(before, site, own), _text(after, site, own)) for site in sites}
    return tuple(
        Update(site, old, new, why, proposer, *_origins(site, new, own[site], tried))
        for site, (old, new) in texts.items()
        if old != new
    )


def _origins(
    site: Site, text: Template, own: Template, tried: Sequence[Update]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The Gradients and the traces behind a text, of its last edit first."""
    made = {update.new: update for update in reversed(tried) if update.site == site}
    gradients, traces, seen = dict[str, None](), dict[str, None](), {own}
    while text not in seen and text in made:
        seen.add(text)
        gradients |= dict.fromkeys(made[text].gradients)
        traces |= dict.fromkeys(made[text].traces)
        text = made[text].old
    return tuple(gradients), tuple(traces)


def _laid(base: Candidate, updates: tuple[Update, ...], own: Mapping[Site, Template]) -> Candidate:
    return {**base, **{update.site: Replacement(own[update.site], update.new) for update in updates}}


def _text(candidate: Candidate, site: Site, own: Mapping[Site, Template]) -> Template:
    return candidate[site].new if site in candidate else own[site]
