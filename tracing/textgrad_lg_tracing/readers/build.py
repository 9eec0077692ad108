"""From the spans of one trace to a Trace."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from textgrad_lg.record.langgraph import to_trace
from textgrad_lg_tracing.attributes import SCHEMA
from textgrad_lg_tracing.readers.dialects.table import dialect_of
from textgrad_lg_tracing.readers.own import is_own, read_own
from textgrad_lg_tracing.readers.runs import tree_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgrad_lg.trace import Trace
    from textgrad_lg_tracing.readers.runs import Tree
    from textgrad_lg_tracing.readers.span import SourceTrace

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


def build(source: SourceTrace) -> Built | None:
    """The Trace of one trace's spans; None where no span of it is a graph's, a model's or a tool's.

    The order of the spans makes no difference: the same spans give the same Trace, with the same ids.
    """
    if is_own(source.spans):
        trace, names = read_own(source.spans)
        return Built(trace, None, "textgrad_lg", names)
    if any(SCHEMA in span.attributes for span in source.spans):
        # A step, a reverse pass or a whole optimisation of ours, and no run of a graph.
        return None
    dialect = dialect_of(source.spans)
    if dialect is None:
        return None
    tree = tree_of(source.spans, dialect)
    if tree is None:
        return None
    trace = to_trace(tree.root, id=trace_id(source.id), example=_example(tree))
    warnings = tuple(dict.fromkeys((*trace.warnings, *tree.rebuilt)))
    made = {span.id: str(span.attributes["run_id"]) for span in trace.spans if span.attributes["run_id"]}
    return Built(replace(trace, warnings=warnings), tree, dialect.name, made)


def trace_id(text: str) -> str:
    """A trace's id as a Trace has it: 32 hexadecimal digits."""
    return _NOT_HEX.sub("", text.lower())[:32].rjust(32, "0")


def _example(tree: Tree) -> str | None:
    top = next((node for node in tree.nodes if node.run is tree.root), tree.nodes[0])
    known: dict[str, Any] = {**top.told.metadata}
    given = top.span.attributes.get("langsmith.reference_example_id")
    return next((str(value) for value in (given, *map(known.get, _EXAMPLE)) if value), None)
