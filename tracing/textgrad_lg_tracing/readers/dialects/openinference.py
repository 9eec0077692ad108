"""OpenInference's instrumentation of LangChain, as Phoenix and others keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textgrad_lg_tracing.readers.dialects.told import (
    ABSENT,
    Coded,
    Told,
    first_generation,
    first_messages,
    mapping,
    parsed,
    tokens,
)
from textgrad_lg_tracing.readers.literals import arguments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgrad_lg.types import JSON
    from textgrad_lg_tracing.readers.dialects.told import Absent
    from textgrad_lg_tracing.readers.span import SourceSpan

_KIND = "openinference.span.kind"
_KINDS = {"LLM": "llm", "TOOL": "tool", "RETRIEVER": "retriever", "PROMPT": "prompt", "EVALUATOR": "eval"}


class OpenInference:
    """Spans by OpenInference's LangChain instrumentor. A state of one text is written as the text alone."""

    name = "openinference"

    def speaks(self, span: SourceSpan) -> bool:
        """Whether an OpenInference instrumentor wrote a span."""
        return _KIND in span.attributes

    def read(self, span: SourceSpan) -> Told:
        """What a span says."""
        about = span.attributes
        inputs, outputs = _value(about, "input"), _value(about, "output")
        tags = about.get("tag.tags")
        told = Told(
            _KINDS.get(str(about[_KIND]), "chain"),
            span.name,
            mapping(about.get("metadata")),
            tuple(map(str, tags)) if isinstance(tags, list) else (),
            inputs,
            outputs,
            unwrapped=True,
        )
        if told.kind == "llm":
            told.messages, told.reply = first_messages(inputs), first_generation(outputs)
            if told.messages is ABSENT:
                told.messages, told.has_ids = flattened(about, "llm.input_messages."), False
            if told.reply is ABSENT:
                replies = flattened(about, "llm.output_messages.")
                told.reply = replies[0] if isinstance(replies, list) else ABSENT
            told.params = {"model": about.get("llm.model_name"), **mapping(about.get("llm.invocation_parameters"))}
            told.usage = tokens(about, "llm.token_count.prompt", "llm.token_count.completion")
        elif told.kind == "prompt":
            text = about.get("llm.prompt_template.template")
            told.templates = (("system", text),) if isinstance(text, str) else ()
        elif told.kind == "tool":
            told.name = str(about.get("tool.name") or span.name)
            told.inputs = arguments(cast("JSON", parsed(inputs))) if inputs is not ABSENT else ABSENT
            told.extra = {"description": about.get("tool.description")}
        return told


def flattened(attributes: Mapping[str, JSON], prefix: str) -> JSON | Absent:
    """Messages that are written as one attribute for each part: `llm.input_messages.0.message.content`."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if key.startswith(prefix):
            number, _, rest = key[len(prefix) :].partition(".message.")
            if number.isdigit():
                found.setdefault(int(number), {})[rest] = value
    return [_message(found[at]) for at in sorted(found)] if found else ABSENT


def _message(parts: Mapping[str, Any]) -> JSON:
    calls: dict[str, dict[str, Any]] = {}
    blocks: dict[str, str] = {}
    for key, value in parts.items():
        if key.startswith("tool_calls."):
            number, _, rest = key.removeprefix("tool_calls.").partition(".tool_call.")
            calls.setdefault(number, {})[rest] = value
        elif key.startswith("contents.") and key.endswith(".message_content.text"):
            blocks[key] = str(value)
    made: list[JSON] = [
        {"name": call.get("function.name"), "args": parsed(call.get("function.arguments")), "id": call.get("id")}  # pyright: ignore[reportAssignmentType]
        for _, call in sorted(calls.items())
    ]
    content: JSON = parts.get("content")
    if content is None:
        content = [{"type": "text", "text": blocks[key]} for key in sorted(blocks)] if blocks else ""
    message: dict[str, JSON] = {"role": str(parts.get("role") or "user"), "content": content}
    if made:
        message["tool_calls"] = made
    if parts.get("tool_call_id"):
        message["tool_call_id"] = str(parts["tool_call_id"])
    return message


def _value(attributes: Mapping[str, JSON], side: str) -> JSON | Absent | Coded:
    value = attributes.get(f"{side}.value", ABSENT)
    # A state of one text that happens to be JSON is not a mapping of channels; the type says which it is.
    if isinstance(value, str) and attributes.get(f"{side}.mime_type") == "application/json":
        return Coded(value)
    return value
