"""From the spans of one trace to a Trace."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from textgrad_lg.record.langgraph import to_trace
from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers.own import read_own
from textgrad_lg_tracing.readers.runs import tree_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgrad_lg.trace import Trace
    from textgrad_lg_tracing.readers.parts import Part
    from textgrad_lg_tracing.readers.runs import Tree
    from textgrad_lg_tracing.readers.span import SourceSpan

_EXAMPLE = ("reference_example_id", "example_id", "textgrad_example_id")
_NOT_HEX = re.compile(r"[^0-9a-f]")


@dataclass(frozen=True, slots=True)
class Built:
    """A Trace and what it was built from.

    Attributes:
        trace: The Trace.
        tree: The runs; None where the spans are our own, which name their Variables.
        producer: Who wrote the spans.
        spans: The Trace's Span ids to the source's span ids.
    """

    trace: Trace
    tree: Tree | None
    producer: str
    spans: Mapping[str, str]


def build(part: Part) -> Built | None:
    """The Trace of one run's spans; None where none of them is a graph's, a model's or a tool's.

    The order of the spans makes no difference: the same spans give the same Trace, with the same ids.
    """
    spans = part.source.spans
    if part.dialect is None:
        assert part.rollout is not None
        trace, names = read_own(spans, part.rollout)
        return Built(trace, None, "textgrad_lg", names)
    tree = tree_of(spans, part.dialect)
    if tree is None:
        return None
    trace = to_trace(tree.root, id=part.id, example=_example(tree, part.rollout))
    warnings = tuple(dict.fromkeys((*trace.warnings, *tree.rebuilt)))
    made = {span.id: str(span.attributes["run_id"]) for span in trace.spans if span.attributes["run_id"]}
    return Built(replace(trace, warnings=warnings), tree, part.dialect.name, made)


def trace_id(text: str) -> str:
    """A trace's id as a Trace has it: 32 hexadecimal digits."""
    return _NOT_HEX.sub("", text.lower())[:32].rjust(32, "0")


def _example(tree: Tree, rollout: SourceSpan | None) -> str | None:
    if rollout is not None and at.EXAMPLE in rollout.attributes:
        return str(rollout.attributes[at.EXAMPLE])
    top = next((node for node in tree.nodes if node.run is tree.root), tree.nodes[0])
    known: dict[str, Any] = {**top.told.metadata}
    given = top.span.attributes.get("langsmith.reference_example_id")
    return next((str(value) for value in (given, *map(known.get, _EXAMPLE)) if value), None)
