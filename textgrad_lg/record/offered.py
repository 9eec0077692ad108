"""What a recorded model call offered beside its messages: the descriptions of tools and output schemas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from textgrad_lg.descriptions import is_description, mapped, plain, title
from textgrad_lg.record.insert import with_variables
from textgrad_lg.site import Site
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import Variable

if TYPE_CHECKING:
    from textgrad_lg.record.draft import Draft
    from textgrad_lg.trace import Span, Trace


def attributes(params: Mapping[str, Any], draft: Draft) -> dict[str, JSON]:
    """What an llm Span keeps of a call's parameters: its tools and the form its reply must have, as they were sent."""
    return {key: draft.convert.json(value, key) for key, value in plain(params).items()}


def offered(span: Span) -> tuple[tuple[Site, str], ...]:
    """The descriptions that a call sent, each with its Site's place (index 0), in order; a text that it sent twice once."""
    if span.kind is not SpanKind.LLM:
        return ()
    found: dict[tuple[Site, str], None] = {}

    def note(site: Site, text: str) -> str:
        found[site, text] = None
        return text

    mapped(span.attributes, note)
    return tuple(found)


def with_offers(trace: Trace, site_of: Callable[[Site, str], Site | None]) -> Trace:
    """The Trace with a Variable for each description that is a trainable Parameter, and an edge from it to the call's reply.

    A Trace is recorded without them: every call repeats the descriptions of all tools, and most runs train none of them.

    Args:
        trace: A Trace; Variables of descriptions that it has from an earlier call are made anew.
        site_of: The trainable Parameter that a place and a text are, else None.
    """
    made: dict[str, list[Variable]] = {}
    for span in trace.spans:
        sites = {site: text for place, text in offered(span) if (site := site_of(place, text)) is not None}
        made[f"{span.id}.out"] = [
            Variable(f"{span.id}.{site}", text, title(site), site=site, requires_grad=True)
            for site, text in sites.items()
        ]
    return with_variables(trace, lambda at: at.site is not None and is_description(at.site), made)
