"""What recorded runs sent to models, and the values that it may have been made of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

from textgrad_lg.record.mask import CUT
from textgrad_lg.site import Site
from textgrad_lg.trace import Trace
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import Variable

_FIELD = re.compile(r"\.(?:in|out)\.(?P<field>.*)$", re.DOTALL)
_ROLES = {"system", "developer", "human", "user", "ai", "assistant", "tool"}


@dataclass(frozen=True, slots=True)
class Sending:
    """A message that could hold a Parameter, as one call sent it.

    Attributes:
        variable: The id of its Variable.
        span: The id of the call's Span.
        site: The recorder's Site, which counts messages within the call.
        texts: Its pieces of text: one, or several in a message of content blocks.
        values: Names and values of the state when it was sent. Of each field the values in force, and of earlier values
            those that stand in the message.
        run: The Example's id, or the Trace's where there is none: runs of one Example prove no more than one.
    """

    variable: str
    span: str
    site: Site
    texts: tuple[str, ...]
    values: tuple[tuple[str, str], ...]
    run: str


def sendings(traces: Iterable[Trace], *, values: bool = True) -> Iterator[Sending]:
    """The messages that could hold a Parameter, in the order they were sent.

    Args:
        traces: Recorded runs.
        values: Whether to find out the state's values too, which takes most of the time.
    """
    for trace in traces:
        state = _State()
        for variable in trace.variables:
            span = variable.id.rpartition(".")[0]
            if variable.site is not None and variable.span is None:
                texts = texts_in(variable.value)
                given = (
                    trace.span_by_id[span].attributes.get("template_variables") if span in trace.span_by_id else None
                )
                known = state.values(texts, given) if values else ()
                yield Sending(variable.id, span, variable.site, texts, known, trace.example or trace.id)
            elif values:
                state.add(_name(variable, trace), variable)


def texts_in(content: JSON) -> tuple[str, ...]:
    """The pieces of text of a message's content; pieces without a letter or digit are left out."""
    blocks = content if isinstance(content, list) else [content]
    texts = (block.get("text") if isinstance(block, dict) else block for block in blocks)
    return tuple(text for text in texts if isinstance(text, str) and any(char.isalnum() for char in text))


def leaves(name: str, value: JSON) -> Iterator[tuple[str, str]]:
    """The texts inside a value, each with a name made of the field's and the keys'; numbers as Python prints them."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        if "content" in value and "role" in value:
            yield from leaves(name, value["content"])
        elif isinstance(value.get("type"), str) and "text" in value:
            yield from leaves(name, value["text"])
        else:
            for key, item in value.items():
                yield from leaves(f"{name}_{key}", item)
    elif isinstance(value, list):
        # ("human", "hello"), one of the forms in which LangGraph takes a message
        pair = len(value) == 2 and isinstance(value[0], str) and value[0] in _ROLES and isinstance(value[1], str)  # noqa: PLR2004
        for item in value[1:] if pair else value:
            yield from leaves(name, item)
    elif value is not None:
        yield name, str(value)


class _State:
    """The values that a run has made so far."""

    def __init__(self) -> None:
        # Replies and results come after channels: a channel's name says more about the value it was given.
        self._fields: tuple[dict[tuple[str, str], None], dict[tuple[str, str], None]] = ({}, {})
        self._current: dict[str, tuple[tuple[str, str], ...]] = {}

    def add(self, name: tuple[str, bool], variable: Variable) -> None:
        field, channel = name
        found = dict.fromkeys((*leaves(field, variable.value), *_printed(field, variable.value)))
        self._fields[not channel].update(found)
        if channel:
            self._current[field] = tuple(found)

    def values(self, texts: Sequence[str], given: JSON) -> tuple[tuple[str, str], ...]:
        """Values that stand in one of the texts, and values in force, best names first."""
        result: dict[tuple[str, str], None] = {}
        for name, item in (given if isinstance(given, dict) else {}).items():
            result.update(dict.fromkeys(leaves(name, item)))
        for pair in chain(*self._fields):
            plain = pair[1].strip()
            if plain and any(plain[:CUT] in text for text in texts):
                result[pair] = None
        result.update(dict.fromkeys(pair for pairs in self._current.values() for pair in pairs))
        return tuple(result)


def _name(variable: Variable, trace: Trace) -> tuple[str, bool]:
    """What a value is called, and whether that is the name of a state field."""
    field = _FIELD.search(variable.id)
    if field is not None:
        return field["field"] or "input", True
    span = trace.span_by_id.get(variable.span or "")
    if span is None:
        return variable.id, False
    return (f"{span.path[-1]}_reply" if span.path and span.kind is SpanKind.LLM else span.name), False


def _printed(name: str, value: JSON) -> Iterator[tuple[str, str]]:
    """How a prompt shows a value that is not text: as Python prints it, and as JSON."""
    if isinstance(value, (dict, list)) and value and not _is_messages(value):
        yield name, str(value)
        yield name, json.dumps(value)
        yield name, json.dumps(value, ensure_ascii=False, indent=2)


def _is_messages(value: JSON) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, dict) and "role" in cast("Mapping[str, JSON]", item) for item in items)
