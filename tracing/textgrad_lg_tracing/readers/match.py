"""Which Parameter each message is that a production run sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from textgrad_lg.record.align import pick
from textgrad_lg.record.messages import pieces_in
from textgrad_lg.record.prompts import pulled_from
from textgrad_lg_tracing.readers.templates import template_of

if TYPE_CHECKING:
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Span, Trace
    from textgrad_lg.types import JSON
    from textgrad_lg.variable import Variable
    from textgrad_lg_tracing.readers.build import Built

THRESHOLD = 0.8
"""The least confidence with which a text is taken for a Parameter."""
_ELSEWHERE = 0.9
"""What a match is worth at another place than the Parameter's, where the spans say the place."""
_LIKE = 0.5
"""What a person's message is like a prompt at least, if it is to be said that it is none: of what people say, nobody asks."""
_LONGEST = 4_000
"""Words of a text that are compared one by one; of longer ones the first."""
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Match:
    """What a text that a call was sent is taken for.

    Attributes:
        variable: The id of its Variable.
        site: The Parameter; of one that was not matched the likeliest, None where there is none.
        how: "attribute", "hub", "template", "text" or "similar", or "place" where no texts were given to match.
        confidence: From 0 to 1.
        matched: Whether that was enough.
    """

    variable: str
    site: Site | None
    how: str
    confidence: float
    matched: bool


def match(
    built: Built,
    templates: Mapping[Site, Template],
    hub: Mapping[str, Site],
    threshold: float = THRESHOLD,
) -> tuple[Trace, tuple[Match, ...]]:
    """The Trace with its Parameters marked, and how sure each is.

    A text that fits no Parameter well enough loses its Site, and a warning says so.

    Args:
        built: The Trace as it was built.
        templates: The Parameters and their current texts; none to leave each text a Parameter of its place.
        hub: Prompts of a hub to their Parameters, each "owner/name", or "owner/name:commit".
        threshold: The least confidence.
    """
    trace = built.trace
    prompts = [variable for variable in trace.variables if variable.site is not None and variable.site.in_message]
    if not templates:
        return trace, tuple(Match(at.id, at.site, "place", 1.0, matched=True) for at in prompts)
    origins = _origins(built)
    found: list[Match] = []
    for variable in prompts:
        call = variable.id.rpartition(".")[0]
        if built.tree is None and variable.site in templates:
            # Our own spans name the Parameters that each call used.
            found.append(Match(variable.id, variable.site, "attribute", 1.0, matched=True))
        else:
            taken = {at.site for at in found if at.matched and at.variable.rpartition(".")[0] == call}
            found.append(
                _best(variable, templates, origins.get(call, _NO_ORIGIN), hub=hub, taken=taken, threshold=threshold)
            )
    return _marked(trace, found), tuple(found)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where the spans say that a call's prompt comes from: its name in a hub, and the texts of its template."""

    pulled: str = ""
    texts: tuple[tuple[str, str], ...] = ()


_NO_ORIGIN = _Origin()


def _origins(built: Built) -> dict[str, _Origin]:
    """By the id of the call: the prompt that was filled last under the same run before the call."""
    if built.tree is None:
        return {}
    names = {source: name for name, source in built.spans.items()}
    waiting: dict[int, _Origin] = {}
    found: dict[str, _Origin] = {}
    for node in built.tree.nodes:
        if node.run.kind == "prompt":
            waiting[id(node.parent)] = _Origin(pulled_from(node.told.metadata), node.told.templates)
        elif node.run.kind == "llm" and node.run.id in names:
            found[names[node.run.id]] = waiting.pop(id(node.parent), _NO_ORIGIN)
    return found


def _best(
    variable: Variable,
    templates: Mapping[Site, Template],
    origin: _Origin,
    *,
    hub: Mapping[str, Site],
    taken: Iterable[Site | None],
    threshold: float,
) -> Match:
    assert variable.site is not None
    own, text = variable.site, variable.value if isinstance(variable.value, str) else ""
    here = [site for site in templates if site.role == own.role and site.in_message and site not in taken]
    at_place = [site for site in here if (site.path, site.agent or own.agent) == (own.path, own.agent or site.agent)]
    best = Match(variable.id, None, "similar", 0.0, matched=False)
    name = origin.pulled
    pulled = hub.get(name) or hub.get(name.partition(":")[0])
    if pulled in here:
        best = _better(best, Match(variable.id, pulled, "hub", 0.95, matched=True))
    written = [told for role, told in origin.texts if role == own.role and template_of(told).match(text) is not None]
    for told in written:
        same = [site for site in at_place or here if templates[site].text == template_of(told).text]
        if same:
            best = _better(best, Match(variable.id, same[0], "template", 1.0, matched=True))
    for group, worth in ((at_place, 1.0), ([site for site in here if site not in at_place], _worth(own))):
        exact = pick(text, [templates[site] for site in group])
        if exact is not None and exact.telling:
            site = next(site for site in group if templates[site] is exact)
            best = _better(best, Match(variable.id, site, "text", worth, matched=True))
        elif best.confidence < worth:
            for site in group:
                best = _better(
                    best, Match(variable.id, site, "similar", worth * likeness(templates[site], text), matched=True)
                )
    enough = best.confidence >= threshold
    return replace(best, matched=enough, confidence=round(best.confidence, 3))


def _worth(site: Site) -> float:
    return _ELSEWHERE if site.path else 1.0


def _better(one: Match, other: Match) -> Match:
    return other if other.confidence > one.confidence else one


def likeness(template: Template, text: str) -> float:
    """How much of a Template's constant words stands in a text in their order, from 0 to 1.

    What fills a slot counts neither for nor against. A text with much in it that no slot explains is less like it.
    """
    pieces = re.split("|".join(re.escape(f"{{{slot}}}") for slot in template.slots) or r"(?!)", template.text)
    constant = [word for piece in pieces for word in _words(piece)]
    words = _words(text)
    if not constant or not words:
        return 0.0
    blocks = SequenceMatcher(None, constant, words, autojunk=False).get_matching_blocks()
    shared = sum(block.size for block in blocks)
    covered = shared / len(constant)
    return covered if template.slots else min(covered, 2 * shared / (len(constant) + len(words)))


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)[:_LONGEST]]


def _marked(trace: Trace, found: Sequence[Match]) -> Trace:
    chosen = {at.variable: at.site if at.matched else None for at in found}
    variables = tuple(
        replace(at, site=chosen[at.id], requires_grad=chosen[at.id] is not None) if at.id in chosen else at
        for at in trace.variables
    )
    spans = tuple(_told(span, chosen) for span in trace.spans)
    return replace(trace, variables=variables, spans=spans, warnings=(*trace.warnings, *refused(trace, found)))


def refused(trace: Trace, found: Sequence[Match]) -> tuple[str, ...]:
    """The texts that lost their Site, each a sentence.

    Of messages in a person's name only those that are rather like a prompt: most are what a person has said.

    Args:
        trace: The Trace.
        found: What its texts are taken for.
    """
    said: dict[str, None] = {}
    for at in (at for at in found if not at.matched):
        variable = trace.variable_by_id[at.variable]
        likeliest = f"; the likeliest is {at.site}, with a confidence of {at.confidence:.2f}" if at.site else ""
        if variable.role.startswith("system ") or at.confidence >= _LIKE:
            said[f"the {variable.role} ({at.variable}) is none of the known prompts{likeliest}"] = None
    return tuple(said)


def _told(span: Span, chosen: Mapping[str, Site | None]) -> Span:
    """A call whose messages say which Parameter each is."""
    sent = span.attributes.get("messages")
    number = 0
    messages: list[JSON] = []
    for message in sent if isinstance(sent, list) else ():
        if isinstance(message, dict) and "site" in message:
            after = number + len(pieces_in(message.get("content")))
            site = next(filter(None, (chosen.get(f"{span.id}.in{at}") for at in range(number, after))), None)
            number = after
            # None stays, so that `Discovery.label` counts the same messages.
            messages.append({**message, "site": str(site) if site is not None else None})
        else:
            messages.append(message)
    return replace(span, attributes={**span.attributes, "messages": messages}) if messages else span
