"""Observations by Langfuse's own LangChain callback. Those of other producers keep their attributes in Langfuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textgrad_lg_tracing.readers.dialects.told import ABSENT, Absent, Told, first_messages, mapping, parsed

if TYPE_CHECKING:
    from textgrad_lg.types import JSON
    from textgrad_lg_tracing.readers.span import SourceSpan

_TYPE = "langfuse.observation.type"
_KINDS = {
    "generation": "llm",
    "tool": "tool",
    "retriever": "retriever",
    "evaluator": "eval",
    "event": "",
    "embedding": "",
}
_SENT, _RECEIVED = ("input", "input_tokens", "promptTokens"), ("output", "output_tokens", "completionTokens")


class Langfuse:
    """Observations of Langfuse. The messages of a model call are without ids."""

    name = "langfuse"

    def speaks(self, span: SourceSpan) -> bool:
        """Whether a span is an observation."""
        return _TYPE in span.attributes

    def read(self, span: SourceSpan) -> Told:
        """What an observation says."""
        about = span.attributes
        told = Told(
            _KINDS.get(str(about[_TYPE]).lower(), "chain"),
            span.name,
            mapping(about.get("langfuse.observation.metadata")),
            inputs=parsed(about.get("langfuse.observation.input", ABSENT)),
            outputs=parsed(about.get("langfuse.observation.output", ABSENT)),
        )
        if told.kind == "llm":
            sent, came = parsed(told.inputs), parsed(told.outputs)
            told.messages = sent if isinstance(sent, list) else first_messages(sent)
            told.reply = _reply(came)
            told.params = {"model": about.get("langfuse.observation.model")}
            usage = mapping(about.get("langfuse.observation.usage"))
            found = {"input_tokens": _first(usage, _SENT), "output_tokens": _first(usage, _RECEIVED)}
            told.usage = {name: n for name, n in found.items() if n is not None}
            told.has_ids = False
        return told


def _reply(value: JSON | Absent) -> JSON | Absent:
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        return {"role": "assistant", "content": value}
    return value if isinstance(value, dict) else ABSENT


def _first(usage: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((cast("int", usage[name]) for name in names if isinstance(usage.get(name), int)), None)
