"""Discovery: which texts of a graph are Parameters, read off its recorded runs.

What was really sent decides. The texts found in the graph's code help to read it: they say where a text is held, what
its slots are called, which texts only look alike, and what no run has reached.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.descriptions import is_description
from textgrad_lg.errors import DiscoveryError, NoPromptFound
from textgrad_lg.prompt import Template
from textgrad_lg.record.align import pick
from textgrad_lg.record.explain import holds, kept_templates_of, source_of, templates_of
from textgrad_lg.record.held import Findings, StaticText, Tool
from textgrad_lg.record.insert import with_variables
from textgrad_lg.record.mask import has_words
from textgrad_lg.record.messages import is_kept, pieces_in
from textgrad_lg.record.observe import Sending, sendings
from textgrad_lg.record.offered import offered, with_offers
from textgrad_lg.record.routes import with_options
from textgrad_lg.record.select import chosen_by, fits, names_description, selected
from textgrad_lg.record.settings import find_settings, is_setting, with_domains
from textgrad_lg.record.static import walked
from textgrad_lg.record.unreachable import out_of_reach
from textgrad_lg.record.uses import find_handles, held_in
from textgrad_lg.site import TOOLS, Site
from textgrad_lg.trace import Trace
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import Variable

if TYPE_CHECKING:
    from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]  a package without py.typed

    from textgrad_lg.domain import Domain


@dataclass(frozen=True)
class Discovery:
    """What was found in a graph.

    Attributes:
        parameters: The Parameters and their texts, in the order of their first call.
        trainable: Those that may be changed, in the same order.
        sources: Where a text is held, in words, for the Parameters of which this is known.
        tools: The tools that models are offered.
        unreached: Texts that the graph holds and no recorded run sent.
        warnings: What could not be found or told apart, in words.
        domains: Which values the settings among the Parameters may take.
        declared: The domains that the user named, of settings that no run has reached as well.
        routes: What each node can choose to run next, by its path, where the graph's code declares it.
    """

    parameters: Mapping[Site, Template]
    trainable: tuple[Site, ...]
    sources: Mapping[Site, str] = field(default_factory=dict["Site", str])
    tools: tuple[Tool, ...] = ()
    unreached: tuple[StaticText, ...] = ()
    warnings: tuple[str, ...] = ()
    domains: Mapping[Site, Domain] = field(default_factory=dict["Site", "Domain"])
    declared: Mapping[Site, Domain] = field(default_factory=dict["Site", "Domain"])
    routes: Mapping[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict[tuple[str, ...], tuple[str, ...]])

    def label(self, trace: Trace) -> Trace:
        """The Trace with its Parameters marked.

        Each message that the recorder took for a possible Parameter gets the Site of the Parameter whose text matches
        it, and `requires_grad` if that is trainable. One that matches none, because all of it came from the state, loses
        its Site. The descriptions of tools and schemas that are trainable, and the texts of human messages that the
        author wrote into the state, become Variables of the calls that sent them.
        Marking a marked Trace changes nothing.
        """
        chosen: dict[str, Site | None] = {name: held.site for name, held in held_in(trace)}
        kept: dict[str, list[Variable]] = {}
        for sending in sendings([trace], values=False):
            site = chosen[sending.variable] = self._site_of(sending, chosen)
            if sending.kept and site is not None:
                role = (
                    f"human message of `{sending.site.path[-1] if sending.site.path else 'model'}`, kept in the state"
                )
                made = Variable(sending.variable, sending.text, role, None, site, site in self.trainable)
                kept.setdefault(f"{sending.span}.out", []).append(made)
        trace = with_variables(trace, is_kept, kept)
        variables = tuple(
            replace(at, site=chosen.get(at.id), requires_grad=chosen.get(at.id) in self.trainable)
            if at.site is not None and not is_setting(at) and not is_description(at.site) and not is_kept(at)
            else at
            for at in trace.variables
        )
        spans = tuple(
            replace(span, attributes=_marked(span.id, span.attributes, chosen)) if span.kind is SpanKind.LLM else span
            for span in trace.spans
        )
        marked = with_options(replace(trace, variables=variables, spans=spans), self.routes)
        tuned = {site: domain for site, domain in self.domains.items() if site in self.trainable}
        marked = with_domains(marked, self.parameters, tuned)
        described = {(_place(at), self.parameters[at].text): at for at in self.trainable if is_description(at)}
        return with_offers(marked, lambda place, text: described.get((place, text)))

    def _site_of(self, sending: Sending, chosen: Mapping[str, Site | None]) -> Site | None:
        if sending.kept and sending.given:
            return None
        here = [
            (site, text)
            for site, text in self.parameters.items()
            if _place(site) == _place(sending.site) and (text.telling or not sending.kept)
        ]
        used = {site for name, site in chosen.items() if name.rpartition(".")[0] == sending.span}
        # A text that is sent twice in one call may stand for two Parameters with the same words.
        here.sort(key=lambda item: (item[0] in used, item[0].index))
        found = pick(sending.text, [template for _, template in here])
        return next((site for site, template in here if template is found), None) if found is not None else None

    def extend(
        self,
        traces: Iterable[Trace],
        graph: Pregel[Any, Any, Any, Any] | None = None,
        *,
        only: Sequence[str] | None = None,
    ) -> Discovery:
        """This Discovery, and the Parameters of the places that its runs had not reached and these have.

        The places it knows keep their texts, whatever these runs were sent there. The arguments are those of
        `discover`; a name of `only` that fits nothing is no error here.
        """
        try:
            more = discover(traces, graph, only=(), domains=self.declared)
        except DiscoveryError:
            # Nothing more, or nothing that is clear: two handles of one name came together only now.
            return self
        known = {_place(site) for site in self.parameters}
        new = {site: text for site, text in more.parameters.items() if _place(site) not in known}
        chosen = tuple(site for site in new if chosen_by(site, only) or site in self.declared)
        return replace(
            self,
            parameters={**self.parameters, **new},
            trainable=(*self.trainable, *chosen),
            sources={**self.sources, **{site: held for site, held in more.sources.items() if site in new}},
            domains={**more.domains, **self.domains},
            unreached=tuple(text for text in self.unreached if text in more.unreached),
        )


def discover(
    traces: Iterable[Trace],
    graph: Pregel[Any, Any, Any, Any] | None = None,
    *,
    only: Sequence[str] | None = None,
    domains: Mapping[Site, Domain] | None = None,
) -> Discovery:
    """Find the Parameters of a graph.

    Args:
        traces: Recorded runs of the graph, in any number; two or more tell constants from slots best. Without any, the
            Parameters are guessed from the graph's code alone, which is what a dry run shows.
        graph: The compiled graph, if it is at hand.
        only: Which Parameters may be changed; by default all but descriptions of tools and output schemas. Each name is a
            printed Site ("triage/system"), the beginning of one ("desk/model"), the name of a node or agent, or a pattern
            ("*/system"). Descriptions need a name of their own ("tools:search", "tools:*", "schemas:Answer/args/label"), and so
            do settings that the code holds by `Setting` ("settings:retriever/k").
        domains: The settings that may be changed, whatever `only` says, and which values each may take.

    Returns:
        What was found. It depends on the arguments and on nothing else.

    Raises:
        NoPromptFound: There is no Parameter. The message says where was looked.
        UnknownParameter: A name of `only` fits no Parameter.
        DiscoveryError: Two `Prompt` or `Setting` handles have the same name and different defaults.
        DomainError: A setting has a value that is not in its domain.
    """
    traces = tuple(traces)
    code = walked(graph) if graph is not None else Findings()
    handles = find_handles(traces, code.found())
    texts = handles.others
    found = _Found()
    if traces:
        found.unreached += handles.unused.values()
        _from_runs(traces, texts, found)
        found.parameters |= handles.used
    else:
        _from_code(texts, found)
        found.parameters |= {site: text.template for site, text in handles.unused.items()}
    found.sources |= {site: held for site, held in handles.sources.items() if site in found.parameters}
    tools = dict.fromkeys(code.tools)
    known = {tool.name for tool in tools}
    tools |= dict.fromkeys(tool for tool in _tools_sent(traces) if tool.name not in known)
    visited = {span.path for trace in traces for span in trace.spans} if traces else None
    blind = out_of_reach(code, visited)
    found.warnings += blind
    settings = find_settings(traces, domains or {})
    found.parameters |= settings.texts
    found.warnings += settings.warnings
    prompts = bool(found.parameters)
    _from_offers(traces, tuple(tools), found)
    if not found.parameters or not (prompts or only is not None):
        seen = "".join(f" Also: {warning}." for warning in (blind if traces else found.warnings))
        descriptions = _ONLY_DESCRIPTIONS if found.parameters else ""
        raise NoPromptFound(_nothing(traces, texts, graph) + descriptions + seen)
    if not traces:
        only = _seen_in_code(only, found)
    chosen = {*selected(tuple(found.parameters), only), *settings.declared}
    return Discovery(
        found.parameters,
        tuple(site for site in found.parameters if site in chosen),
        found.sources,
        tuple(tools),
        tuple(found.unreached),
        tuple(found.warnings),
        settings.domains,
        domains or {},
        code.routes,
    )


_NAMED = 8
"""So many of the places whose text no run sent are named in a warning."""


@dataclass(slots=True)
class _Found:
    parameters: dict[Site, Template] = field(default_factory=dict[Site, Template])
    sources: dict[Site, str] = field(default_factory=dict[Site, str])
    unreached: list[StaticText] = field(default_factory=list[StaticText])
    warnings: list[str] = field(default_factory=list[str])

    def add(self, place: Site, template: Template, source: str | None) -> None:
        """Add a Parameter under the next free index of its place, unless its text is there already."""
        here = [site for site in self.parameters if _place(site) == _place(place)]
        if any(self.parameters[site] == template for site in here):
            return
        site = replace(place, index=len(here))
        self.parameters[site] = template
        if source:
            self.sources[site] = source


def _place(site: Site) -> Site:
    return replace(site, index=0)


# From recorded runs


def _from_runs(traces: Sequence[Trace], texts: Sequence[StaticText], found: _Found) -> None:
    sent = list(sendings(traces))
    places: dict[tuple[Site, bool], list[Sending]] = {}
    for sending in sent:
        places.setdefault((sending.site, sending.kept), []).append(sending)
    explained: dict[int, Template] = {}
    for (place, kept), group in places.items():
        templates = (
            kept_templates_of(place, group, texts) if kept else templates_of(place, group, texts, found.warnings)
        )
        for sending, template in zip(group, templates, strict=True):
            if template is not None and has_words(template):
                explained[id(sending)] = template
    for sending in sent:
        template = explained.get(id(sending))
        if template is not None:
            held = source_of(sending.site, template, texts) or ""
            pulled = f"pulled from {sending.pulled}" if sending.pulled not in held else ""
            found.add(sending.site, template, ", ".join(filter(None, (held, pulled))))
    whole = list(dict.fromkeys(sending.text for sending in sent if not sending.kept or id(sending) in explained))
    ours = [text for text in texts if not text.fragment and not text.shipped]
    unsent = [text for text in ours if not any(holds(at, text) for at in whole)]
    others = list(dict.fromkeys(sending.text for sending in sent if sending.kept and id(sending) not in explained))
    written = [text for text in unsent if any(holds(at, text) for at in others)]
    for held in dict.fromkeys(text.held for text in written):
        found.warnings.append(
            f"{held} reached a model as a human message that the graph keeps in its state, where it cannot be told from a "
            "user's words; to have it trained, make it a system message, or put it into the messages of the call itself"
        )
    found.unreached += [text for text in unsent if text not in written]
    if found.unreached:
        held = _listed(found.unreached)
        found.warnings.append(
            f"no recorded run sent the text of {held}; it can be trained only on examples that reach it"
        )
    found.warnings += _like_users(sent, found.parameters)


def _listed(texts: Sequence[StaticText]) -> str:
    """Where texts are held: the likeliest prompts of many, which are those nearest to a node.

    What a package holds deep inside is mostly something else.
    """
    near = sorted(texts, key=lambda text: (text.role is None, text.depth))
    held = list(dict.fromkeys(text.held for text in near))
    more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
    return f"{', '.join(held[:_NAMED])}{more}"


def _like_users(sent: Sequence[Sending], parameters: Mapping[Site, Template]) -> Iterator[str]:
    """What to say of the prompts that a user's message reads like, word for word."""
    for site, template in parameters.items():
        texts = (at.text for at in sent if at.kept and at.given and _place(site) == at.site)
        if site.in_message and template.telling and any(template.match(text) is not None for text in texts):
            yield f"{site}: a user's message has the words of this prompt, and would get its new words too"


def _from_offers(traces: Sequence[Trace], tools: Sequence[Tool], found: _Found) -> None:
    """Add the descriptions that models were offered, and those of the code's tools that no run offered to one."""
    where = {f"{TOOLS}{tool.name}": tool.where for tool in reversed(tools)}
    sent = dict.fromkeys(offer for trace in traces for span in trace.spans for offer in offered(span))
    names = {place.path for place, _ in sent}
    unsent = [(Site((f"{TOOLS}{tool.name}",), "description"), tool.description) for tool in tools]
    for place, text in (*sent, *(offer for offer in unsent if offer[0].path not in names)):
        if text.strip():
            node = where.get(place.path[0])
            found.add(place, Template(text), f"tool in node `{node}`" if node else None)


def _tools_sent(traces: Sequence[Trace]) -> Iterator[Tool]:
    for trace in traces:
        for span in trace.spans:
            for tool in cast("list[Any]", span.attributes.get("tools") or []):
                if not isinstance(tool, dict):
                    continue
                told = cast("dict[str, Any]", tool)
                told = cast("dict[str, Any]", told.get("function") or told)
                if told.get("name"):
                    yield Tool(str(told["name"]), str(told.get("description") or ""), "/".join(span.path))


# From the code alone


_ONLY_DESCRIPTIONS = (
    " There are descriptions of tools or schemas, which are changed only if you name them: optimize_only=['tools:*', "
    "'schemas:*']"
)


def _seen_in_code(only: Sequence[str] | None, found: _Found) -> Sequence[str] | None:
    """The names without those of descriptions that code does not show: of arguments, and of output schemas."""
    unseen = [
        name
        for name in only or ()
        if names_description(name) and not any(fits(site, name) for site in found.parameters)
    ]
    if unseen:
        found.warnings.append(f"whether the graph has {', '.join(map(repr, unseen))}, a run will tell")
    return only if only is None else [name for name in only if name not in unseen]


def _from_code(texts: Sequence[StaticText], found: _Found) -> None:
    for text in texts:
        if text.shipped:
            continue
        where = f"{text.held} ({text.source})" if text.source else text.held
        if text.fragment:
            found.warnings.append(f"{where} may be a piece of a prompt: {_short(text.text)}; a run will tell")
        else:
            found.add(Site(text.path, text.role or "system", 0, text.agent), text.template, where)


def _nothing(traces: Sequence[Trace], texts: Sequence[StaticText], graph: object) -> str:
    nodes = list(
        dict.fromkeys("/".join(span.path) for trace in traces for span in trace.spans if span.kind is SpanKind.NODE)
    )
    calls = sum(span.kind is SpanKind.LLM for trace in traces for span in trace.spans)
    if not traces:
        where = (
            "the code of the graph's nodes"
            if graph is not None
            else "nowhere: neither a recorded run nor a graph was given"
        )
        cure = "run the graph inside `record()` and pass its traces"
        return f"no prompt was found; looked at {where}. To find prompts that code does not show, {cure}."
    looked = f"{len(traces)} recorded runs, {len(nodes)} nodes ({', '.join(nodes) or 'none'}), {calls} model calls"
    if not calls:
        cure = (
            "no model call was seen: models that are called through another package than langchain-core, or in threads "
            "that do not carry the context, cannot be recorded; call them through a LangChain chat model"
        )
    else:
        cure = (
            "everything that was sent came from the graph's state; put the instructions into the node, as a system "
            "message or a template"
        )
    held = _listed([at for at in texts if not at.shipped])
    unsent = f" The code holds texts that no run sent: {held}." if held else ""
    return f"no prompt was found in {looked}: {cure}.{unsent}"


def _marked(span: str, attributes: Mapping[str, Any], chosen: Mapping[str, Site | None]) -> dict[str, Any]:
    """An llm span's attributes with the final Sites in its messages."""
    messages: list[Any] = []
    at = 0
    for message in cast("list[Any]", attributes.get("messages") or []):
        if isinstance(message, dict) and "site" in message:
            after = at + len(pieces_in(cast("dict[str, JSON]", message).get("content")))
            site = next(filter(None, (chosen.get(f"{span}.in{number}") for number in range(at, after))), None)
            at = after
            # None stays, so that the next marking counts the same messages.
            messages.append({**message, "site": str(site) if site is not None else None})
        else:
            messages.append(message)
    return {**attributes, "messages": messages} if "messages" in attributes else dict(attributes)


def _short(text: str) -> str:
    return json.dumps(text if len(text) <= 60 else f"{text[:57]}...", ensure_ascii=False)  # noqa: PLR2004
