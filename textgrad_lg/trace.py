"""Trace: one recorded run as a DAG of Spans and Variables.

A Trace comes from a live run, from a builder in a test, or from a production backend; what reads it cannot tell which.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from textgrad_lg.errors import TraceError
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import Variable

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIRMED = 1.0
"""Weight of an edge that was seen: by message id, tool call id, text, or because a call was given the value."""
CANDIDATE = 0.1
"""Weight of an edge that is possible by its channel and was not seen in the value."""

OPTIONS = "options"
"""Attribute of a Span that chose what ran next: what it could have chosen, where the graph declares it."""


@dataclass(frozen=True, slots=True)
class Span:
    """One recorded operation.

    Attributes:
        id: Unique in its Trace; counts Spans in the order they started, so the same run gives the same ids.
        kind: What was recorded.
        name: The node's, tool's, model's or evaluator's name.
        parent: The id of the enclosing Span; None for the outermost.
        path: Node names from the outermost graph inwards, without task ids.
        visit: Counts the Spans of this kind, path and name in the Trace, from 0: a loop's second turn is visit 1.
        error: The exception in words, where the operation failed; control flow (interrupt, handoff) is not an error.
        start: Seconds since the Trace began.
        end: Seconds since the Trace began.
        attributes: What else is known. `llm`: "model", "provider", "messages" (the messages sent, each with "role",
            "content", "id", and "site" where it is a Parameter), "agent" (the name given to `create_agent`, if any), "tools",
            "input_tokens", "output_tokens".
            `tool`: "description", "arguments", "tool_call_id". `node`: "task" (LangGraph's checkpoint namespace),
            "step", "triggers"; of one that chose what ran next, "options". `llm` and `tool`, where a replay answered from
            memory: "replayed", and "seconds", which is how long the answer took when it was given first. All: "run_id".
    """

    id: str
    kind: SpanKind
    name: str
    parent: str | None = None
    path: tuple[str, ...] = ()
    visit: int = 0
    error: str | None = None
    start: float = 0.0
    end: float = 0.0
    attributes: dict[str, JSON] = field(default_factory=dict[str, JSON])


@dataclass(frozen=True, slots=True)
class Edge:
    """That one Variable was used to make another.

    Attributes:
        source: The id of the Variable that was used.
        target: The id of the Variable that was made.
        span: The id of the Span that used it.
        weight: `CONFIRMED` where it was seen, `CANDIDATE` where it is only possible.
        via: How it is known: "call", "message-id", "tool-call-id", "text", "value", "channel" or "control".
    """

    source: str
    target: str
    span: str
    weight: float = CONFIRMED
    via: str = "call"


@dataclass(frozen=True)
class Trace:
    """One recorded run. Frozen; `Trace.from_json(trace.to_json()) == trace`.

    Attributes:
        id: The Trace's id: 32 hex digits, as OpenTelemetry has them.
        name: The graph's name.
        spans: In the order they started.
        variables: In the order they were made.
        edges: In the order of their targets' making. They point backwards in `variables`' order, so this is a DAG.
        inputs: The run's input: field to Variable id.
        outputs: The run's output: field to Variable id; one field "" where the output is not a mapping.
        example: The id of the Example that was run, if any.
        warnings: What could not be recorded, in words.
        started: Unix time at which the run began, in seconds.
    """

    id: str
    name: str
    spans: tuple[Span, ...] = ()
    variables: tuple[Variable, ...] = ()
    edges: tuple[Edge, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    outputs: dict[str, str] = field(default_factory=dict[str, str])
    example: str | None = None
    warnings: tuple[str, ...] = ()
    started: float = 0.0

    def __post_init__(self) -> None:
        order = {variable.id: at for at, variable in enumerate(self.variables)}
        spans = {span.id for span in self.spans}
        if len(order) != len(self.variables) or len(spans) != len(self.spans):
            raise TraceError(f"trace {self.id}: two spans or two variables have the same id")
        for edge in self.edges:
            if edge.source not in order or edge.target not in order or edge.span not in spans:
                raise TraceError(
                    f"trace {self.id}: the edge {edge.source} -> {edge.target} names something it does not hold"
                )
            if order[edge.source] >= order[edge.target]:
                raise TraceError(f"trace {self.id}: the edge {edge.source} -> {edge.target} points forwards")
        for name in (*self.inputs.values(), *self.outputs.values()):
            if name not in order:
                raise TraceError(f"trace {self.id}: there is no variable {name}")
        for variable in self.variables:
            if variable.span is not None and variable.span not in spans:
                raise TraceError(
                    f"trace {self.id}: variable {variable.id} names the span {variable.span}, which is not there"
                )

    @cached_property
    def span_by_id(self) -> Mapping[str, Span]:
        """Spans by id."""
        return {span.id: span for span in self.spans}

    @cached_property
    def variable_by_id(self) -> Mapping[str, Variable]:
        """Variables by id."""
        return {variable.id: variable for variable in self.variables}

    @cached_property
    def incoming(self) -> Mapping[str, tuple[Edge, ...]]:
        """Edges by the id of the Variable that was made."""
        found: dict[str, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.target, []).append(edge)
        return {target: tuple(edges) for target, edges in found.items()}

    @property
    def parameters(self) -> tuple[Variable, ...]:
        """The Parameters that entered a call in this run, once for each call."""
        return tuple(variable for variable in self.variables if variable.site is not None)

    def output(self) -> dict[str, JSON]:
        """The run's output, field by field."""
        return {field: self.variable_by_id[name].value for field, name in self.outputs.items()}

    def to_json(self) -> str:
        """The Trace as one line of JSON. A long text that stands in several places, such as an image's, is in it once."""
        text = _adapter().dump_json(self).decode()
        return _pooled(text) if len(text) > _LARGE else text

    @classmethod
    def from_json(cls, text: str | bytes) -> Trace:
        """Read a Trace back.

        Raises:
            TraceError: `text` is not the JSON of a Trace.
        """
        try:
            return _adapter().validate_json(_spread(text) if text[:_MARK_LENGTH] in (_MARK, _MARK.encode()) else text)
        except ValidationError as error:
            raise TraceError(
                f"this is not a trace: {error.error_count()} fields do not fit, first {error.errors()[0]['loc']}"
            ) from error


_LARGE, _LONG = 32_768, 2_048
"""Characters: of a Trace's JSON and of a text, from which on it is worth looking for texts that stand in it twice."""
_MARK = '{"texts":'
_MARK_LENGTH = len(_MARK)
_POOLED, _BEFORE = "$text", "before"
_DATA_URL = re.compile(r"data:[\w/+.;=-]{1,100};base64,")


def _pooled(text: str) -> str:
    """The same JSON with its long texts listed first, each once, and numbers in their places."""
    if f'"{_POOLED}"' in text or not _has_long(text):
        return text
    data: JSON = json.loads(text)
    counts: dict[str, int] = {}
    todo: list[JSON] = [data]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            if len(item) < _LONG:
                continue
            long = item[_head(item) :]
            counts[long] = counts.get(long, 0) + (len(long) >= _LONG)
        elif isinstance(item, list | dict):
            todo += item.values() if isinstance(item, dict) else item
    shared = [item for item, count in counts.items() if count > 1]
    if not shared:
        return text
    number = {item: at for at, item in enumerate(shared)}

    def put(item: JSON) -> JSON:
        if isinstance(item, str):
            at = _head(item)
            long = number.get(item[at:])
            return item if long is None else {_POOLED: long, _BEFORE: item[:at]}
        if isinstance(item, list):
            return [put(part) for part in item]
        return {key: put(part) for key, part in item.items()} if isinstance(item, dict) else item

    return json.dumps({"texts": shared, "trace": put(data)}, ensure_ascii=False, separators=(",", ":"))


def _has_long(text: str) -> bool:
    """Whether there may be a long text in this JSON: so many characters without a quote, escaped ones apart.

    A look every two thousand characters or so is enough; to parse all of it takes longer than to write it did.
    """
    text, at = text.replace('\\"', "  "), 0
    while at + _LONG <= len(text):
        quote = text.rfind('"', at, at + _LONG)
        if quote < 0:
            return True
        at = quote + 1
    return False


def _head(text: str) -> int:
    """Where the long part of a text begins: an image's data is in the state as it is, and in a message as a URL."""
    found = _DATA_URL.match(text) if text.startswith("data:") else None
    return found.end() if found else 0


def _spread(text: str | bytes) -> str:
    """The JSON that `_pooled` was given."""

    def put(found: dict[str, JSON]) -> JSON:
        at = found.get(_POOLED)
        return f"{found[_BEFORE]}{texts[at]}" if isinstance(at, int) else found

    try:
        texts: list[str] = json.loads(text)["texts"]
        return json.dumps(json.loads(text, object_hook=put)["trace"], ensure_ascii=False)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise TraceError(f"this is not a trace: its long texts cannot be put back ({error})") from error


@cache
def _adapter() -> TypeAdapter[Trace]:
    # Built on first use: building it costs more than importing this module.
    return TypeAdapter(Trace)
