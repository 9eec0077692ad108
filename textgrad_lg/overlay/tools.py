"""Rewriting what a model call carries beside its messages: descriptions of tools, their arguments, and output schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from textgrad_lg.descriptions import is_description, mapped
from textgrad_lg.overlay.rewrite import Replacement, Texts, replaced
from textgrad_lg.site import Site


def rewrite_options(options: Mapping[str, Any], texts: Texts) -> Mapping[str, Any]:
    """The keyword arguments of one model call with the new descriptions in the old ones' places.

    A description belongs to the Site of its tool or schema and its place in it whose old text is the same, the one with the
    lowest index if there are several. One that is no old text is left alone: it is another tool of that name. The same
    description may stand in a call more than once, beside a schema and inside it; each is replaced.

    Args:
        options: The call's keyword arguments; neither the mapping nor anything in it is changed.
        texts: The texts in force.

    Returns:
        `options` itself where nothing is replaced, else a copy. Rewriting a copy again gives the same, unless one tool's new
        text is the old text of another of its name.
    """
    here: dict[Site, list[Replacement]] = {}
    for site in sorted((site for site in texts if is_description(site)), key=lambda site: site.index):
        here.setdefault(replace(site, index=0), []).append(texts[site])
    if not here:
        return options

    def change(place: Site, text: str) -> str:
        found = (replaced(replacement, text) for replacement in here.get(place, ()))
        return next((new for new in found if new is not None), text)

    return mapped(options, change, of={site.path[0] for site in here})
