"""OpenTelemetry spans by LangSmith's SDK (`LANGSMITH_TRACING_MODE=otel` or `hybrid`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgrad_lg_tracing.readers.dialects.langsmith import tool_input
from textgrad_lg_tracing.readers.dialects.told import (
    ABSENT,
    Told,
    first_generation,
    first_messages,
    mapping,
    parsed,
    tokens,
    under,
)

if TYPE_CHECKING:
    from textgrad_lg_tracing.readers.span import SourceSpan

_KIND, _METADATA = "langsmith.span.kind", "langsmith.metadata."
_KINDS = {"llm": "llm", "tool": "tool", "retriever": "retriever", "prompt": "prompt"}


class LangSmithOTel:
    """Spans by LangSmith's SDK. Templates and tool schemas are not in them."""

    name = "langsmith-otel"

    def speaks(self, span: SourceSpan) -> bool:
        """Whether LangSmith's SDK wrote a span."""
        return _KIND in span.attributes

    def read(self, span: SourceSpan) -> Told:
        """What a span says."""
        about = span.attributes
        inputs = parsed(about.get("gen_ai.prompt", ABSENT))
        outputs = parsed(about.get("gen_ai.completion", ABSENT))
        metadata = under(about, _METADATA)
        tags = str(about.get("langsmith.span.tags") or "")
        told = Told(
            _KINDS.get(str(about[_KIND]), "chain"),
            str(about.get("langsmith.trace.name") or span.name),
            metadata,
            tuple(tag.strip() for tag in tags.split(",") if tag.strip()),
            inputs,
            outputs,
            wrapped="output",
        )
        if told.kind == "llm":
            told.messages, told.reply = first_messages(inputs), first_generation(outputs)
            told.usage = tokens(about, "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
            told.params = {"model": about.get("gen_ai.request.model"), **mapping(metadata.get("invocation_params"))}
            if isinstance(metadata.get("tools"), list):
                told.params = {**told.params, "tools": metadata["tools"]}
        elif told.kind == "tool":
            told.inputs = tool_input(inputs)
        return told
