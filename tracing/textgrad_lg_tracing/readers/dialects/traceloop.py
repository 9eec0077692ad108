"""Traceloop's (OpenLLMetry's) instrumentation of LangChain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textgrad_lg_tracing.readers.dialects.genai import call
from textgrad_lg_tracing.readers.dialects.told import ABSENT, Absent, Told, mapping, parsed, under
from textgrad_lg_tracing.readers.literals import arguments

if TYPE_CHECKING:
    from textgrad_lg.types import JSON
    from textgrad_lg_tracing.readers.span import SourceSpan

_SCOPE = "opentelemetry.instrumentation.langchain"
_KIND, _NAME, _ABOUT = "traceloop.span.kind", "traceloop.entity.name", "traceloop.association.properties."
_PROMPT = "PromptTemplate"


class Traceloop:
    """Spans by traceloop. A model call's messages are without ids; those of the state have them."""

    name = "traceloop"

    def speaks(self, span: SourceSpan) -> bool:
        """Whether traceloop wrote a span."""
        return _KIND in span.attributes or span.scope == _SCOPE

    def read(self, span: SourceSpan) -> Told:
        """What a span says."""
        about = span.attributes
        if str(about.get("gen_ai.operation.name")) in {"chat", "text_completion"}:
            told = call(span)
            told.metadata = under(about, _ABOUT)
            if told.params.get("model") == "unknown":
                told.params = {**told.params, "model": told.metadata.get("ls_model_name")}
            return told
        if _KIND not in about:
            # A second span for a graph, which says nothing that the first does not.
            return Told("", span.name)
        name = str(about.get(_NAME) or span.name)
        sent = mapping(about.get("traceloop.entity.input"))
        came = mapping(about.get("traceloop.entity.output"))
        metadata = {**under(about, _ABOUT), **mapping(sent.get("metadata"))}
        tags = cast("Any", sent.get("tags"))
        inputs: JSON | Absent = sent.get("inputs", ABSENT)
        outputs: JSON | Absent = came.get("outputs", came.get("output", ABSENT))
        told = Told(
            "tool" if about[_KIND] == "tool" else "prompt" if name.endswith(_PROMPT) else "chain",
            name,
            metadata,
            tuple(map(str, cast("list[Any]", tags))) if isinstance(tags, list) else (),
            inputs,
            outputs,
        )
        if told.kind == "tool":
            given: JSON | Absent = sent.get("inputs") or sent.get("input_str", ABSENT)
            told.inputs = arguments(given) if not isinstance(given, Absent) else ABSENT
            told.outputs = parsed(outputs)
        return told
