"""Which Parameters the user means by the names given."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from textgrad_lg.descriptions import is_description
from textgrad_lg.errors import UnknownParameter
from textgrad_lg.site import PROMPTS, SCHEMAS, SETTINGS, TOOLS, Site


def selected(sites: tuple[Site, ...], only: Sequence[str] | None) -> tuple[Site, ...]:
    """The Sites that the names select, in the order of `sites`; for None all but descriptions of tools and schemas.

    Args:
        sites: The Parameters.
        only: Printed Sites, beginnings of them, names of nodes or agents, or patterns. Descriptions are selected only by
            what begins with "tools:" or "schemas:", as in "tools:search" or "tools:*".

    Raises:
        UnknownParameter: A name fits no Parameter.
    """
    if only is None:
        return tuple(site for site in sites if chosen_by(site, only))
    chosen: set[Site] = set()
    for name in only:
        fitting = [site for site in sites if fits(site, name)]
        if not fitting:
            raise UnknownParameter(_unknown(name, sites))
        chosen.update(fitting)
    return tuple(site for site in sites if site in chosen)


def chosen_by(site: Site, only: Sequence[str] | None) -> bool:
    """Whether the names, or None, select this Parameter; see `selected`."""
    return not is_description(site) if only is None else any(fits(site, name) for name in only)


def fits(site: Site, name: str) -> bool:
    """Whether a name means this Parameter; see `selected`."""
    printed = str(site)
    if is_description(site):
        return names_description(name) and (
            printed == name or printed.startswith(f"{name.rstrip('/')}/") or fnmatchcase(printed, name)
        )
    if site.is_setting:
        return name.startswith(SETTINGS) and (
            printed == name or printed.startswith(f"{name.rstrip('/')}/") or fnmatchcase(printed, name)
        )
    parts = tuple(part for part in name.split("/") if part)
    return bool(parts) and (
        printed == name
        or site.path[: len(parts)] == parts
        or (len(parts) == 1 and (name in site.path or f"{PROMPTS}{name}" in site.path or name == site.agent))
        or fnmatchcase(printed, name)
    )


def names_description(name: str) -> bool:
    """Whether a name can mean the description of a tool or a schema, and nothing else."""
    return name.startswith((TOOLS, SCHEMAS))


def _unknown(name: str, sites: Sequence[Site]) -> str:
    printed = [str(site) for site in sites]
    nodes = [part for site in sites for part in (*site.path, *([site.agent] if site.agent else []))]
    near = get_close_matches(name, list(dict.fromkeys([*printed, *nodes])), n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"the graph has no parameter {name!r}; {meant}It has {', '.join(printed)}"
