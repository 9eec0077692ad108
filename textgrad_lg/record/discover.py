"""Discovery: which texts of a graph are Parameters, read off its recorded runs.

What was really sent decides. The texts found in the graph's code help to read it: they say where a text is held, what
its slots are called, which texts only look alike, and what no run has reached.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.errors import NoPromptFound, UnknownParameter
from textgrad_lg.prompt import Template
from textgrad_lg.record.align import Observed, align, pick
from textgrad_lg.record.mask import constants, has_words
from textgrad_lg.record.observe import Sending, sendings
from textgrad_lg.record.static import StaticText, Tool, static_texts, static_tools
from textgrad_lg.site import Site
from textgrad_lg.trace import Trace
from textgrad_lg.types import SpanKind

if TYPE_CHECKING:
    from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]  a package without py.typed

_RUNS = 3
"""From so many runs on, a text that only one of them sent, among many others, is taken for a value of the state."""
_VARIANTS = 2
"""So many different texts in one place are always taken for the author's: the two branches of a condition."""
_WORDS = 12
"""Characters that the constants of a format string must have before it explains a text that was sent."""


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
    """

    parameters: Mapping[Site, Template]
    trainable: tuple[Site, ...]
    sources: Mapping[Site, str] = field(default_factory=dict["Site", str])
    tools: tuple[Tool, ...] = ()
    unreached: tuple[StaticText, ...] = ()
    warnings: tuple[str, ...] = ()

    def label(self, trace: Trace) -> Trace:
        """The Trace with its Parameters marked.

        Each message that the recorder took for a possible Parameter gets the Site of the Parameter whose text matches
        it, and `requires_grad` if that is trainable. One that matches none, because all of it came from the state, loses
        its Site. Marking a marked Trace changes nothing.
        """
        chosen: dict[str, Site | None] = {}
        for sending in sendings([trace], values=False):
            chosen[sending.variable] = self._site_of(sending, chosen)
        variables = tuple(
            replace(at, site=chosen.get(at.id), requires_grad=chosen.get(at.id) in self.trainable)
            if at.site is not None
            else at
            for at in trace.variables
        )
        spans = tuple(
            replace(span, attributes=_marked(span.id, span.attributes, chosen)) if span.kind is SpanKind.LLM else span
            for span in trace.spans
        )
        return replace(trace, variables=variables, spans=spans)

    def _site_of(self, sending: Sending, chosen: Mapping[str, Site | None]) -> Site | None:
        here = [(site, text) for site, text in self.parameters.items() if _place(site) == _place(sending.site)]
        used = {site for name, site in chosen.items() if name.rpartition(".")[0] == sending.span}
        # A text that is sent twice in one call may stand for two Parameters with the same words.
        here.sort(key=lambda item: (item[0] in used, item[0].index))
        for text in sending.texts:
            found = pick(text, [template for _, template in here])
            if found is not None:
                return next(site for site, template in here if template is found)
        return None


def discover(
    traces: Iterable[Trace], graph: Pregel[Any, Any, Any, Any] | None = None, *, only: Sequence[str] | None = None
) -> Discovery:
    """Find the Parameters of a graph.

    Args:
        traces: Recorded runs of the graph, in any number; two or more tell constants from slots best. Without any, the
            Parameters are guessed from the graph's code alone, which is what a dry run shows.
        graph: The compiled graph, if it is at hand.
        only: Which Parameters may be changed, all by default. Each name is a printed Site ("triage/system"), the
            beginning of one ("desk/model"), the name of a node or agent, or a pattern ("*/system").

    Returns:
        What was found. It depends on the arguments and on nothing else.

    Raises:
        NoPromptFound: There is no Parameter. The message says where was looked.
        UnknownParameter: A name of `only` fits no Parameter.
    """
    traces = tuple(traces)
    texts = static_texts(graph) if graph is not None else ()
    found = _Found()
    if traces:
        _from_runs(traces, texts, found)
    else:
        _from_code(texts, found)
    if not found.parameters:
        raise NoPromptFound(_nothing(traces, texts, graph))
    tools = dict.fromkeys(static_tools(graph) if graph is not None else ())
    known = {tool.name for tool in tools}
    tools |= dict.fromkeys(tool for tool in _tools_sent(traces) if tool.name not in known)
    return Discovery(
        found.parameters,
        _selected(tuple(found.parameters), only),
        found.sources,
        tuple(tools),
        tuple(found.unreached),
        tuple(found.warnings),
    )


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
    sent = [sending for sending in sendings(traces) if sending.texts]
    places: dict[Site, list[Sending]] = {}
    for sending in sent:
        places.setdefault(sending.site, []).append(sending)
    explained: dict[int, Template] = {}
    for place, group in places.items():
        for sending, template in zip(group, _templates(place, group, texts, found.warnings), strict=True):
            if template is not None and has_words(template):
                explained[id(sending)] = template
    for sending in sent:
        template = explained.get(id(sending))
        if template is not None:
            found.add(sending.site, template, _source(sending.site, template, texts))
    whole = list(dict.fromkeys(text for sending in sent for text in sending.texts))
    found.unreached += [text for text in texts if not text.fragment and not any(_holds(at, text) for at in whole)]
    if found.unreached:
        held = ", ".join(dict.fromkeys(text.held for text in found.unreached))
        found.warnings.append(
            f"no recorded run sent the text of {held}; it can be trained only on examples that reach it"
        )


def _templates(
    place: Site, group: Sequence[Sending], texts: Sequence[StaticText], warnings: list[str]
) -> list[Template | None]:
    """The Template of each message sent from one place; None where it is a value of the state."""
    exact = [_exact(place, sending, texts) for sending in group]
    rest = [at for at, template in enumerate(exact) if template is None]
    observed = [Observed(_main_text(group[at]), group[at].values) for at in rest]
    result: list[Template | None] = list(exact)
    for at, template in zip(rest, align(observed), strict=True):
        result[at] = template
    runs: dict[Template, set[str]] = {}
    for sending, template in zip(group, result, strict=True):
        if template is not None and has_words(template):
            runs.setdefault(template, set()).add(sending.run)
    if len(runs) > _VARIANTS and len({sending.run for sending in group}) >= _RUNS:
        certain = {template for template in exact if template is not None}
        lone = {
            template
            for template, seen in runs.items()
            if len(seen) == 1 and template not in certain and not _in_code(template, texts)
        }
        if lone:
            warnings.append(
                f"{place}: {len(lone)} texts were sent by one run each and have little in common; they are taken for "
                "values of the state, not for prompts"
            )
        return [None if template in lone else template for template in result]
    return result


def _main_text(sending: Sending) -> str:
    """Of a message with several pieces of text, the first that does not come from the state as a whole."""
    if len(sending.texts) == 1:
        return sending.texts[0]
    return next(
        (text for text in sending.texts if has_words(align([Observed(text, sending.values)])[0])), sending.texts[0]
    )


def _exact(place: Site, sending: Sending, texts: Sequence[StaticText]) -> Template | None:
    """The Template of a message whose text stands in the code, as it is or as a format string."""
    for text in sending.texts:
        if any(not at.slots and at.text == text for at in texts):
            return Template(text)
    constant = {at.text for at in texts if not at.slots}
    best: Template | None = None
    for at in texts:
        near = (
            at.path == place.path[: len(at.path)] and at.agent in (None, place.agent) and at.role in (None, place.role)
        )
        if not (near and at.slots) or sum(map(len, constants(at.template))) < _WORDS:
            continue
        for text in sending.texts:
            values = at.template.match(text)
            if values is not None:
                # A slot that is filled with a text of the author's is no slot.
                kept = tuple(slot for slot in at.slots if values[slot] not in constant)
                template = Template(at.template.render({**values, **{slot: f"{{{slot}}}" for slot in kept}}), kept)
                if best is None or len("".join(constants(template))) > len("".join(constants(best))):
                    best = template if template.match(text) is not None else best
    return best


def _in_code(template: Template, texts: Sequence[StaticText]) -> bool:
    return any(_holds(template.text, text) for text in texts)


def _holds(sent: str, text: StaticText) -> bool:
    """Whether all constants of a text from the code stand in a text that was sent."""
    return all(part.strip() in sent for part in constants(text.template))


def _source(site: Site, template: Template, texts: Sequence[StaticText]) -> str | None:
    """Where the code holds a text: the nearest and longest of the texts that stand in it."""
    held = [text for text in texts if _holds(template.text, text) or _holds_all(text, template)]
    near = [text for text in held if text.path == site.path[: len(text.path)]]
    best = max(near or held, key=lambda text: len("".join(constants(text.template))), default=None)
    if best is None:
        return None
    return f"{best.held} ({best.source})" if best.source else best.held


def _holds_all(text: StaticText, template: Template) -> bool:
    parts = constants(template)
    return bool(parts) and all(part.strip() in text.text for part in parts)


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


def _from_code(texts: Sequence[StaticText], found: _Found) -> None:
    for text in texts:
        where = f"{text.held} ({text.source})" if text.source else text.held
        if text.fragment:
            found.warnings.append(f"{where} may be a piece of a prompt: {_short(text.text)}; a run will tell")
        else:
            found.add(Site(text.path, text.role or "system", 0, text.agent), text.template, where)


# What the user asked for


def _selected(sites: tuple[Site, ...], only: Sequence[str] | None) -> tuple[Site, ...]:
    if only is None:
        return sites
    chosen: set[Site] = set()
    for name in only:
        fitting = [site for site in sites if _fits(site, name)]
        if not fitting:
            raise UnknownParameter(_unknown(name, sites))
        chosen.update(fitting)
    return tuple(site for site in sites if site in chosen)


def _fits(site: Site, name: str) -> bool:
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
    near = get_close_matches(name, list(dict.fromkeys([*printed, *nodes])), n=3, cutoff=0.5)
    meant = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"the graph has no parameter {name!r}; {meant}It has {', '.join(printed)}"


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
        return f"no prompt was found; looked at {where}. To find prompts that code does not show, {cure}"
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
    unsent = (
        f" The code holds texts that no run sent: {', '.join(dict.fromkeys(at.held for at in texts))}." if texts else ""
    )
    return f"no prompt was found in {looked}: {cure}.{unsent}"


def _marked(span: str, attributes: Mapping[str, Any], chosen: Mapping[str, Site | None]) -> dict[str, Any]:
    """An llm span's attributes with the final Sites in its messages."""
    messages: list[Any] = []
    at = 0
    for message in cast("list[Any]", attributes.get("messages") or []):
        if isinstance(message, dict) and "site" in message:
            site = chosen.get(f"{span}.in{at}")
            at += 1
            # None stays, so that the next marking counts the same messages.
            messages.append({**message, "site": str(site) if site is not None else None})
        else:
            messages.append(message)
    return {**attributes, "messages": messages} if "messages" in attributes else dict(attributes)


def _short(text: str) -> str:
    return json.dumps(text if len(text) <= 60 else f"{text[:57]}...", ensure_ascii=False)  # noqa: PLR2004
