"""Which Parameters the user means by the names given."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from textgrad_lg.errors import UnknownParameter
from textgrad_lg.site import Site


def selected(sites: tuple[Site, ...], only: Sequence[str] | None) -> tuple[Site, ...]:
    """The Sites that the names select, in the order of `sites`; all of them for None.

    Args:
        sites: The Parameters.
        only: Printed Sites, beginnings of them, names of nodes or agents, or patterns.

    Raises:
        UnknownParameter: A name fits no Parameter.
    """
    if only is None:
        return sites
    chosen: set[Site] = set()
    for name in only:
        fitting = [site for site in sites if fits(site, name)]
        if not fitting:
            raise UnknownParameter(_unknown(name, sites))
        chosen.update(fitting)
    return tuple(site for site in sites if site in chosen)


def fits(site: Site, name: str) -> bool:
    """Whether a name means this Parameter; see `selected`."""
    printed = str(site)
    parts = tuple(part for part in name.split("/") if part)
    return bool(parts) and (
        printed == name
        or site.path[: len(parts)] == parts
        or (len(parts) == 1 and (name in site.path or name == site.agent))
        or fnmatchcase(printed, name)
    )


def _unknown(name: str, sites: Sequence[Site]) -> str:
    printed = [str(site) for site in sites]
    nodes = [part for site in sites for part in (*site.path, *([site.agent] if site.agent else []))]
    near = get_close_matches(name, list(dict.fromkeys([*printed, *nodes])), n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"the graph has no parameter {name!r}; {meant}It has {', '.join(printed)}"
