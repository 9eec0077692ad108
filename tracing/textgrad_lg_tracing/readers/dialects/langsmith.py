"""LangSmith's own runs, as its API gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textgrad_lg_tracing.readers.dialects.told import ABSENT, Told, first_generation, first_messages, mapping
from textgrad_lg_tracing.readers.templates import template_texts

if TYPE_CHECKING:
    from textgrad_lg.types import JSON
    from textgrad_lg_tracing.readers.dialects.told import Absent
    from textgrad_lg_tracing.readers.span import SourceSpan

_TYPE = "langsmith.run_type"
_KINDS = {"llm": "llm", "tool": "tool", "retriever": "retriever", "prompt": "prompt"}


class LangSmithRuns:
    """Runs by `runs.query`, `list_runs` or a bulk export."""

    name = "langsmith"

    def speaks(self, span: SourceSpan) -> bool:
        """Whether a span is a run."""
        return _TYPE in span.attributes

    def read(self, span: SourceSpan) -> Told:
        """What a run says."""
        about = span.attributes
        extra = mapping(about.get("langsmith.extra"))
        inputs: JSON | Absent = _given(about.get("langsmith.inputs"))
        outputs: JSON | Absent = _given(about.get("langsmith.outputs"))
        serialized = mapping(about.get("langsmith.serialized"))
        tags = about.get("langsmith.tags")
        metadata = mapping(extra.get("metadata"))
        told = Told(
            _KINDS.get(str(about[_TYPE]), "chain"),
            span.name,
            metadata,
            tuple(map(str, tags)) if isinstance(tags, list) else (),
            inputs,
            outputs,
            wrapped="output",
        )
        if told.kind == "llm":
            told.messages, told.reply = first_messages(inputs), first_generation(outputs)
            told.params = mapping(extra.get("invocation_params"))
            usage = mapping(metadata.get("usage_metadata"))
            told.usage = {k: usage[k] for k in ("input_tokens", "output_tokens") if isinstance(usage.get(k), int)}
        elif told.kind == "prompt":
            told.templates = template_texts(serialized)
        elif told.kind == "tool":
            told.inputs = tool_input(inputs)
            told.extra = {"description": serialized.get("description"), "tool_call_id": extra.get("tool_call_id")}
        return told


def tool_input(inputs: JSON | Absent) -> JSON | Absent:
    """A tool's arguments: the tracer writes them as one text under "input", printed as Python or as JSON prints them."""
    given: Any = inputs
    if isinstance(given, dict) and list(cast("dict[str, Any]", given)) == ["input"]:
        from textgrad_lg_tracing.readers.literals import arguments

        return arguments(cast("dict[str, JSON]", given)["input"])
    return inputs


def _given(value: JSON) -> JSON | Absent:
    return ABSENT if value is None else value
