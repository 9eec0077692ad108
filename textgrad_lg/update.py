"""Update: one Parameter's proposed new text."""

from __future__ import annotations

from dataclasses import dataclass

from textgrad_lg.prompt import Template
from textgrad_lg.site import Site


@dataclass(frozen=True, slots=True)
class Update:
    """One Parameter's proposed new text.

    Attributes:
        site: The Parameter.
        old: Its text now.
        new: Its proposed text.
        why: The reason, in one or two sentences.
        proposer: The name of the proposer that wrote it.
        gradients: The ids of the Gradients that asked for it.
        traces: The ids of the traces that these stem from; see `optim.provenance`.
    """

    site: Site
    old: Template
    new: Template
    why: str
    proposer: str
    gradients: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
