"""What recorded runs sent to models, and the values that it may have been made of."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import cast

from textgrad_lg.record.mask import CUT
from textgrad_lg.record.messages import is_kept, kept_in, pieces_in
from textgrad_lg.record.uses import Held, found_again, handle_name, held_in
from textgrad_lg.site import Site
from textgrad_lg.trace import Trace
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import Variable

_FIELD = re.compile(r"\.(?:in|out)\.(?P<field>.*)$", re.DOTALL)
_AGAIN = re.compile(r"\.\d+$")
_CALL, _COMMAND, _SEND = {"name", "args", "id"}, {"update", "goto"}, {"node", "arg"}
_CONTROL = "next node, chosen by "
_GIVEN = {SpanKind.LLM, SpanKind.TOOL, SpanKind.RETRIEVER}
_ROLES = {"system", "developer", "human", "user", "ai", "assistant", "tool"}


@dataclass(frozen=True, slots=True)
class Sending:
    """A text that could be a Parameter, as one call sent it: a message, or a text block of one.

    Attributes:
        variable: The id of its Variable.
        span: The id of the call's Span.
        site: The recorder's Site, which counts such texts within the call.
        text: The text.
        values: Names and values of the state when it was sent. Of each field the values in force, and of earlier values
            those that stand in the message.
        pulled: Where the prompt that its call was made from was pulled from; see `prompts.pulled_from`.
        run: The Example's id, or the Trace's where there is none: runs of one Example prove no more than one.
        kept: Whether it is a human message's that came from the state.
        given: Whether, word for word, it came in with the graph's input, or is a reply or a tool's result.
    """

    variable: str
    span: str
    site: Site
    text: str
    values: tuple[tuple[str, str], ...]
    pulled: str
    run: str
    kept: bool = False
    given: bool = False


def sendings(traces: Iterable[Trace], *, values: bool = True) -> Iterator[Sending]:
    """The texts that could be a Parameter, in the order they were sent; those without a letter or digit are left out.

    Args:
        traces: Recorded runs.
        values: Whether to find out the state's values too, which takes most of the time.
    """
    for trace in traces:
        yield from _sent_in(trace, values=values)


def leaves(name: str, value: JSON) -> Iterator[tuple[str, str]]:
    """The texts inside a value, each with a name made of the field's and the keys'; numbers as Python prints them."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, item in _entries(name, value):
            yield from leaves(key, item)
    elif isinstance(value, list):
        # ("human", "hello"), one of the forms in which LangGraph takes a message
        pair = len(value) == 2 and isinstance(value[0], str) and value[0] in _ROLES and isinstance(value[1], str)  # noqa: PLR2004
        for item in value[1:] if pair else value:
            yield from leaves(name, item)
    elif value is not None:
        yield name, str(value)


def _entries(name: str, value: Mapping[str, JSON]) -> Iterator[tuple[str, JSON]]:
    """What of a mapping is a value of the state, and what it is called."""
    if "content" in value and "role" in value:
        yield name, value["content"]
    elif isinstance(value.get("type"), str) and "text" in value:
        yield name, value["text"]
    elif value.keys() >= _CALL:
        # A tool call: its name and id stand in prompts by chance.
        arguments = value["args"]
        yield from arguments.items() if isinstance(arguments, dict) else [(name, arguments)]
    elif set(value) in (_COMMAND, _SEND):
        # What runs next is no value; what it is given is.
        yield name, value.get("update", value.get("arg"))
    else:
        yield from ((f"{name}_{key}", item) for key, item in value.items())


def _sent_in(trace: Trace, *, values: bool) -> Iterator[Sending]:
    state = _State(trace)
    held = dict(held_in(trace))
    run = trace.example or trace.id
    for variable in trace.variables:
        call = trace.span_by_id.get(variable.span or "")
        if call is not None:
            # Its reply: all that it was sent was made before.
            for name, site, text in kept_in(call):
                if any(char.isalnum() for char in text):
                    known = state.values(text, None) if values else ()
                    yield Sending(name, call.id, site, text, known, "", run, kept=True, given=state.given(text))
        if variable.id in held:
            state.hold(held[variable.id])
        elif variable.site is None or variable.span is not None:
            state.see(variable, values=values)
        elif variable.site.in_message and not is_kept(variable):
            text = _text(variable.value)
            if any(char.isalnum() for char in text):
                span = variable.id.rpartition(".")[0]
                about = trace.span_by_id[span].attributes if span in trace.span_by_id else {}
                known = state.values(text, about.get("template_variables")) if values else ()
                pulled = str(about.get("template_source") or "")
                yield Sending(variable.id, span, variable.site, text, known, pulled, run)


class _State:
    """The values that a run has made so far."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._outer = set(trace.inputs.values())
        self._outermost = {name.partition(".")[0] for name in self._outer}
        self._nodes = {name for span in trace.spans for name in span.path}
        # Replies and results come after channels: a channel's name says more about the value it was given.
        self._fields: tuple[dict[tuple[str, str], None], dict[tuple[str, str], None]] = ({}, {})
        self._current: dict[str, tuple[tuple[str, str], ...]] = {}
        self._held: dict[Held, None] = {}
        self._given: set[str] = set()

    def see(self, variable: Variable, *, values: bool) -> None:
        """Add a value of the run; where values are not asked for, only as what came in from outside."""
        outer = variable.id in self._outer
        span = self._trace.span_by_id.get(variable.span or "")
        if outer or (span is not None and span.kind in _GIVEN):
            self._given.update(text.strip() for _, text in leaves("", variable.value))
        if values and not variable.role.startswith(_CONTROL):
            # The names of nodes say who goes on, and stand in prompts by chance.
            without = () if outer else self._nodes
            self._add(_name(variable, self._trace), _value(variable, self._outermost), without)

    def given(self, text: str) -> bool:
        """Whether a text came in from outside, word for word."""
        return text.strip() in self._given

    def _add(self, name: tuple[str, bool], value: JSON, without: Collection[str]) -> None:
        field, channel = name
        found = dict.fromkeys((*leaves(field, value), *_printed(field, value)))
        found = {pair: None for pair in found if pair[1] not in without}
        self._fields[not channel].update(found)
        if channel:
            self._current[field] = tuple(found)

    def hold(self, held: Held) -> None:
        """Add a prompt that is held by name: in a message that it was put into, it is no text of the message's own."""
        self._held[held] = None

    def values(self, text: str, given: JSON) -> tuple[tuple[str, str], ...]:
        """Values that stand in the text, and values in force, best names first."""
        result: dict[tuple[str, str], None] = {}
        for name, item in (given if isinstance(given, dict) else {}).items():
            result.update(dict.fromkeys(leaves(name, item)))
        for held in self._held:
            result.update(((handle_name(held.site), part), None) for part in found_again(held, text))
        for pair in chain(*self._fields):
            plain = pair[1].strip()
            if plain and plain[:CUT] in text:
                result[pair] = None
        result.update(dict.fromkeys(pair for pairs in self._current.values() for pair in pairs))
        return tuple(result)


def _text(value: JSON) -> str:
    """A Variable's text; of content blocks, which older Traces hold as a whole, the first that is one."""
    return next((piece for piece in pieces_in(value) if isinstance(piece, str)), "")


def _name(variable: Variable, trace: Trace) -> tuple[str, bool]:
    """What a value is called, and whether that is the name of a state field."""
    field = _FIELD.search(variable.id)
    if field is not None:
        # The number tells apart values of one field that were there together.
        return _AGAIN.sub("", field["field"]) or "input", True
    span = trace.span_by_id.get(variable.span or "")
    if span is None:
        return "input" if variable.id.endswith(".in") else variable.id, False
    return (f"{span.path[-1]}_reply" if span.path and span.kind is SpanKind.LLM else span.name), False


def _value(variable: Variable, outermost: Collection[str]) -> JSON:
    """What of a Variable may be a value of the state.

    A system message that was handed to an inner graph is what the calling node wrote: there it is a text like any other.
    If it came in with the input of the outermost graph, or from an earlier run, that has it as a value already.
    """
    value = variable.value
    if variable.span is not None or variable.id.partition(".")[0] in outermost or not isinstance(value, list):
        return value
    return [item for item in value if not _is_system(item)]


def _is_system(item: JSON) -> bool:
    role = item.get("role") if isinstance(item, dict) else item[0] if isinstance(item, list) and item else None
    return role == "system"


def _printed(name: str, value: JSON) -> Iterator[tuple[str, str]]:
    """How a prompt shows a value that is not text: as Python prints it, and as JSON."""
    if isinstance(value, (dict, list)) and value and not _is_messages(value):
        yield name, str(value)
        yield name, json.dumps(value)
        yield name, json.dumps(value, ensure_ascii=False, indent=2)


def _is_messages(value: JSON) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, dict) and "role" in cast("Mapping[str, JSON]", item) for item in items)
