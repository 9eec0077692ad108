"""Demonstrations that a Parameter could carry, taken from recorded runs of train examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgrad_lg.prompt import Demo
from textgrad_lg.trace import CONFIRMED
from textgrad_lg.variable import images_in, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from textgrad_lg.example import Example
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Trace
    from textgrad_lg.types import JSON
    from textgrad_lg.variable import Variable


def demonstrations(
    runs: Iterable[tuple[Example, Trace, bool]], parameters: Mapping[Site, Template]
) -> dict[Site, tuple[Demo, ...]]:
    """What each Parameter's call was given and what it should have replied, best first.

    A passing run shows its calls' own replies. A failing run shows a call only where the reply is, word for word, a
    field of the graph's output that the example has a reference for: then the reference is the reply that was wanted.

    Args:
        runs: Example, its labelled Trace, and whether it passed; train examples only.
        parameters: The Parameters and their texts in force.
    """
    passing: dict[Site, list[Demo]] = {}
    corrected: dict[Site, list[Demo]] = {}
    for example, trace, passed in runs:
        wanted = {} if passed else _wanted(example, trace)
        for parameter in trace.parameters:
            site = parameter.site
            if site is None or site not in parameters or not site.in_message:
                continue
            reply = next((edge.target for edge in trace.edges if edge.source == parameter.id), None)
            inputs = _inputs(trace, parameter, parameters[site])
            output = _reply(trace.variable_by_id[reply]) if passed and reply else wanted.get(reply or "")
            if inputs is not None and output:
                found = (passing if passed else corrected).setdefault(site, [])
                demo = Demo(inputs, output)
                if demo not in found:
                    found.append(demo)
    return {
        site: (*passing.get(site, ()), *corrected.get(site, ()))
        for site in parameters
        if site in passing or site in corrected
    }


def _inputs(trace: Trace, parameter: Variable, template: Template) -> tuple[tuple[str, str], ...] | None:
    """Slot values for a human text; the human turn for a system text."""
    assert parameter.site is not None
    span = trace.span_by_id.get(parameter.id.partition(".")[0])
    messages = span.attributes.get("messages") if span else None
    if isinstance(messages, list) and any(images_in(at.get("content")) for at in messages if isinstance(at, dict)):
        # Without the image that it is about, an answer would teach what is wrong.
        return None
    if parameter.site.role == "human":
        values = template.match(text_of(parameter.value))
        return tuple(values.items()) if values else None
    if not isinstance(messages, list):
        return None
    turns = [
        text_of(message)
        for message in messages
        if isinstance(message, dict) and message.get("role") in ("human", "user")
    ]
    return (("human", turns[-1]),) if turns else None


def _reply(variable: Variable) -> str | None:
    """A reply in words; None where it calls tools or says nothing."""
    value = variable.value
    if isinstance(value, dict) and value.get("tool_calls"):
        return None
    return text_of(value) or None


def _wanted(example: Example, trace: Trace) -> dict[str, str]:
    """The reply that was wanted, by the id of the reply that stands, word for word, in a judged output field."""
    found: dict[str, str] = {}
    for field, output in trace.outputs.items():
        expected: JSON = (example.reference_outputs or {}).get(field)
        if not isinstance(expected, str):
            continue
        todo, seen = [output], {output}
        while todo:
            at = todo.pop()
            variable = trace.variable_by_id[at]
            if text_of(variable.value).strip() != text_of(trace.variable_by_id[output].value).strip():
                continue
            if at.endswith(".out") and (span := trace.span_by_id.get(variable.span or "")) and span.kind == "llm":
                found[at] = expected
                continue
            for edge in trace.incoming.get(at, ()):
                if edge.weight >= CONFIRMED and edge.source not in seen:
                    seen.add(edge.source)
                    todo.append(edge.source)
    return found
