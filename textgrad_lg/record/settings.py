"""Settings in a Trace: a Variable for each that a call was made with; and which of them are Parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.domain import UNSET, Domain, from_json, is_note, to_json, told_in
from textgrad_lg.errors import DiscoveryError, DomainError, UnknownParameter
from textgrad_lg.prompt import Template
from textgrad_lg.site import CONTEXT, Site
from textgrad_lg.trace import CANDIDATE, Edge
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import Variable, text_of

if TYPE_CHECKING:
    from textgrad_lg.record.draft import Draft
    from textgrad_lg.record.lineage import Scope
    from textgrad_lg.record.runs import Run
    from textgrad_lg.record.uses import Use
    from textgrad_lg.trace import Trace

VIA = "control"
"""How a setting's edges are known: like a choice of the next node it decides how the value was made, and is no rival of what
the value was made from."""
_HELD = "settings"
"""The attribute of a Span that says what `Setting` handles were read in it."""
_KINDS = {SpanKind.LLM: "model", SpanKind.RETRIEVER: "retriever"}


# Into the Trace


def add_settings(draft: Draft, run: Run, span: str, kind: str) -> list[str]:
    """Add the settings that a call was made with, and that somebody watches; returns the ids of their Variables."""
    return [
        draft.lineage.add(f"{span}.{site.role}", text, _role(site, _KINDS[SpanKind(kind)]), site=site)
        for site, text in told_in(run.metadata, kind)
    ]


def link_settings(draft: Draft, names: Iterable[str], made: str, span: str) -> None:
    """Link the settings of a call to what it gave."""
    for name in names:
        draft.lineage.link(name, made, span, VIA)


def add_held(draft: Draft, use: Use, span: str, scope: Scope) -> None:
    """Add a setting that code held by a `Setting` handle and read, once for each value that was in force."""
    variables = draft.lineage.variables
    known = [variables[name] for name in scope.settings]
    if any(at.site == use.site and at.value == use.text.text for at in known):
        return
    name = draft.lineage.add(f"{span}.setting", use.text.text, _role(use.site, ""), site=use.site)
    scope.settings.append(name)
    attributes = next(at.attributes for at in reversed(draft.spans) if at.id == span)
    held: dict[str, JSON] = {"variable": name, "default": use.own.text, "domain": to_json(cast("Domain", use.domain))}
    cast("list[JSON]", attributes.setdefault(_HELD, [])).append(held)


def link_held(draft: Draft, made: str, span: str, scope: Scope) -> None:
    """Link the settings that code read to what it made then. No value of theirs can be found again in it."""
    for name in scope.settings:
        draft.lineage.link(name, made, span, VIA, CANDIDATE)


def with_context(trace: Trace, told: Mapping[Site, str]) -> Trace:
    """The Trace with the settings that its graph was given by its context, each linked to all that it gave."""
    if not told or not trace.spans:
        return trace
    root = trace.spans[0].id
    new = tuple(Variable(f"{root}.{site}", text, _role(site, ""), site=site) for site, text in told.items())
    outputs = list(dict.fromkeys(trace.outputs.values()))
    edges = [Edge(at.id, output, root, CANDIDATE, VIA) for output in outputs for at in new]
    order = {at.id: number for number, at in enumerate(trace.variables)}
    return replace(
        trace,
        variables=(*new, *trace.variables),
        edges=tuple(sorted((*edges, *trace.edges), key=lambda edge: order[edge.target])),
    )


# Out of the Trace


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a graph that are Parameters.

    Attributes:
        texts: Their texts in the runs.
        domains: Their domains.
        declared: Those that the user named.
        warnings: What stands in the way of others, in words.
    """

    texts: Mapping[Site, Template] = field(default_factory=dict["Site", Template])
    domains: Mapping[Site, Domain] = field(default_factory=dict["Site", Domain])
    declared: frozenset[Site] = frozenset()
    warnings: tuple[str, ...] = ()


def find_settings(traces: Sequence[Trace], domains: Mapping[Site, Domain]) -> Settings:
    """The settings that runs were made with and that have a domain: named by the user, or held by a `Setting`.

    Args:
        traces: Recorded runs.
        domains: What the user named.

    Raises:
        DomainError: A value that is in force is not in its domain.
        DiscoveryError: Two `Setting` handles have the same name, and different defaults or domains.
    """
    held = _held(traces)
    both = {**{site: domain for site, (_, domain, _) in held.items()}, **domains}
    values: dict[Site, dict[str, None]] = {}
    for trace in traces:
        for variable in trace.variables:
            if is_setting(variable) and variable.site in both:
                values.setdefault(variable.site, {})[text_of(variable.value)] = None
    warnings = list(dict.fromkeys(at for trace in traces for at in trace.warnings if is_note(at)))
    # What a call of another kind does not know is told of in an error, where no call knew it.
    warnings = [at for at in warnings if not _is_unknown(at)]
    for site, found in values.items():
        _check(site, next(iter(found)), both[site])
        if len(found) > 1:
            first, *others = found
            warnings.append(
                f"{site}: calls there have different values, {first} and {', '.join(others)}; only those with {first} "
                "are changed"
            )
    return Settings(
        {site: Template(next(iter(found))) for site, found in values.items()},
        {site: both[site] for site in values},
        frozenset(site for site in values if site in domains),
        tuple(warnings),
    )


def check_reached(traces: Sequence[Trace], domains: Mapping[Site, Domain], nodes: Iterable[str]) -> tuple[str, ...]:
    """Check that the settings which the user named are there.

    Args:
        traces: Recorded runs; where there are none, nothing is known but the nodes.
        domains: What the user named.
        nodes: The names of the graph's own nodes.

    Returns:
        Which of them no run has reached, in words.

    Raises:
        UnknownParameter: No node is called so, or no call there has such a setting.
    """
    met = {variable.site for trace in traces for variable in trace.variables if is_setting(variable)}
    visited = {span.path for trace in traces for span in trace.spans}
    notes = list(dict.fromkeys(at for trace in traces for at in trace.warnings if is_note(at)))
    known = [*nodes, *("/".join(path) for path in sorted(visited) if path)]
    warnings: list[str] = []
    for site in domains:
        about = [note for note in notes if note.startswith(f"{site}: ")]
        if site in met or any(not _is_unknown(note) for note in about):
            continue
        if site.context_field:
            if traces:
                raise UnknownParameter(
                    f"the graph has no setting {site.path[0]!r}: its runs are given no such field; give it a value, as in "
                    f"optimize(..., config={{'context': {{{site.context_field!r}: ...}}}})"
                )
            continue
        place = "/".join(site.node)
        if about:
            raise UnknownParameter(f"the graph has no setting {str(site)!r}: {about[0].removeprefix(f'{site}: ')}")
        if traces and (site.node in visited or site.node[:1] not in [(name,) for name in nodes]):
            near = get_close_matches(place, list(dict.fromkeys(known)), n=3, cutoff=0.6)
            meant = f"did you mean {' or '.join(map(repr, near))}? " if near and place not in near else ""
            raise UnknownParameter(
                f"the graph has no setting {str(site)!r}: no model or retriever was called at {place!r}, and no Setting is "
                f"called {str(site).removeprefix('settings:')!r}; {meant}calls were made at {_called(traces)}"
            )
        warnings.append(f"{site}: no recorded run reached it; whether the graph has it, a run will tell")
    return tuple(warnings)


def with_domains(trace: Trace, parameters: Mapping[Site, Template], domains: Mapping[Site, Domain]) -> Trace:
    """The Trace with its settings marked: trainable where they have a domain and the text that is in force."""
    kinds = {span.id: _KINDS.get(span.kind, "") for span in trace.spans}

    def marked(at: Variable) -> Variable:
        site = at.site
        if site is None or not is_setting(at):
            return at
        domain = domains.get(site)
        right = domain is not None and text_of(at.value) == parameters[site].text
        if domain is None:
            return replace(at, requires_grad=False)
        role = f"{_role(site, kinds.get(at.id.partition('.')[0], ''))}: {domain.words}"
        return replace(at, requires_grad=right, role=role)

    if not any(is_setting(at) for at in trace.variables):
        return trace
    return replace(trace, variables=tuple(map(marked, trace.variables)))


def is_setting(variable: Variable) -> bool:
    """Whether a Variable is the value of a setting: of a call, of a `Setting` handle, or of a field of the context."""
    site = variable.site
    return site is not None and variable.span is None and (site.is_setting or bool(site.context_field))


def declared(domains: Mapping[str, Domain]) -> dict[Site, Domain]:
    """What a user named, by Site.

    Raises:
        UnknownParameter: A name is not that of a setting.
        DomainError: What stands for its domain is none.
    """
    found: dict[Site, Domain] = {}
    for name, domain in domains.items():
        text = name if not name.startswith(CONTEXT) or "/" in name else f"{name}/text"
        try:
            site = Site.parse(text)
        except ValueError:
            site = None
        if site is None or not (site.is_setting or text.startswith(CONTEXT)):
            raise UnknownParameter(
                f"domains: {name!r} is not the name of a setting; it looks like 'settings:classify/temperature', "
                "'settings:retrieve/k' or 'context:style'"
            )
        given: Any = domain
        if not all(hasattr(given, part) for part in ("parse", "text", "neighbours", "words")) or isinstance(
            given, type
        ):
            raise DomainError(f"domains: {name!r} has {given!r}, which is no domain; give it Real, Whole or Choice")
        found[site] = domain
    return found


def _held(traces: Iterable[Trace]) -> dict[Site, tuple[str, Domain, JSON]]:
    """The `Setting` handles that runs read: default, domain, and the domain as it was told."""
    found: dict[Site, tuple[str, Domain, JSON]] = {}
    for trace in traces:
        for variable, told in _told(trace):
            domain = from_json(told["domain"])
            site = trace.variable_by_id[variable].site
            if domain is None or site is None:
                continue
            first = found.setdefault(site, (str(told["default"]), domain, told["domain"]))
            if (first[0], first[2]) != (told["default"], told["domain"]):
                raise DiscoveryError(
                    f"two Setting handles are called {str(site).removeprefix('settings:')!r} and have different defaults or "
                    f"domains: {first[0]} ({first[1].words}) and {told['default']} ({domain.words}); give each a name of its "
                    "own, or use one handle in both places"
                )
    return found


def _told(trace: Trace) -> Iterator[tuple[str, Mapping[str, JSON]]]:
    for span in trace.spans:
        for told in cast("Sequence[Any]", span.attributes.get(_HELD) or ()):
            yield told["variable"], told


def _check(site: Site, text: str, domain: Domain) -> None:
    if text == UNSET:
        return
    try:
        domain.parse(text)
    except ValueError as error:
        raise DomainError(
            f"{site} is {text} in the graph, and that is not {domain.words}; widen the domain, or give the graph a value "
            "that is in it"
        ) from error


def _role(site: Site, kind: str) -> str:
    if site.context_field:
        return f"setting {site.context_field} of the context that the graph is run with"
    place = "/".join(site.node)
    where = f" at `{place}`" if place else ""
    if not kind:
        return f"setting {site.role} of `{place}`" if place else f"setting {site.role}"
    agent = f" of the agent `{site.agent}`" if site.agent else ""
    return f"{site.role} of the {kind}{where}{agent}"


def _called(traces: Iterable[Trace]) -> str:
    paths = dict.fromkeys("/".join(span.path) for trace in traces for span in trace.spans if span.kind in _KINDS)
    return ", ".join(f"{path!r}" for path in paths if path) or "no node"


def _is_unknown(note: str) -> bool:
    return " has no setting " in note
