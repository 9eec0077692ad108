"""Discovery: which texts of a graph are Parameters, read off its recorded runs.

What was really sent decides. The texts found in the graph's code help to read it: they say where a text is held, what
its slots are called, which texts only look alike, and what no run has reached.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.errors import NoPromptFound
from textgrad_lg.prompt import Template
from textgrad_lg.record.align import pick
from textgrad_lg.record.explain import holds, source_of, templates_of
from textgrad_lg.record.held import StaticText, Tool
from textgrad_lg.record.mask import has_words
from textgrad_lg.record.observe import Sending, sendings
from textgrad_lg.record.select import fits, selected
from textgrad_lg.record.static import static_texts, static_tools
from textgrad_lg.site import Site
from textgrad_lg.trace import Trace
from textgrad_lg.types import SpanKind

if TYPE_CHECKING:
    from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]  a package without py.typed


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
            more = discover(traces, graph)
        except NoPromptFound:
            return self
        known = {_place(site) for site in self.parameters}
        new = {site: text for site, text in more.parameters.items() if _place(site) not in known}
        chosen = tuple(site for site in new if only is None or any(fits(site, name) for name in only))
        return replace(
            self,
            parameters={**self.parameters, **new},
            trainable=(*self.trainable, *chosen),
            sources={**self.sources, **{site: held for site, held in more.sources.items() if site in new}},
            unreached=tuple(text for text in self.unreached if text in more.unreached),
        )


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
        selected(tuple(found.parameters), only),
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
        for sending, template in zip(group, templates_of(place, group, texts, found.warnings), strict=True):
            if template is not None and has_words(template):
                explained[id(sending)] = template
    for sending in sent:
        template = explained.get(id(sending))
        if template is not None:
            found.add(sending.site, template, source_of(sending.site, template, texts))
    whole = list(dict.fromkeys(text for sending in sent for text in sending.texts))
    found.unreached += [text for text in texts if not text.fragment and not any(holds(at, text) for at in whole)]
    if found.unreached:
        held = ", ".join(dict.fromkeys(text.held for text in found.unreached))
        found.warnings.append(
            f"no recorded run sent the text of {held}; it can be trained only on examples that reach it"
        )


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
