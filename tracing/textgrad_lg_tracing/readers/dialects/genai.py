"""OpenTelemetry's own GenAI conventions: model calls and tool calls, and nothing of the graph that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers.dialects.told import ABSENT, Absent, Told, parsed, tokens

if TYPE_CHECKING:
    from textgrad_lg.types import JSON
    from textgrad_lg_tracing.readers.span import SourceSpan

_CALLS = {"chat", "text_completion", "generate_content"}
_RUNS = {"invoke_workflow", "invoke_agent"}


class GenAI:
    """Spans by the GenAI conventions. They say what was sent and what came back, and not where in a graph."""

    name = "gen_ai"

    def speaks(self, span: SourceSpan) -> bool:
        """Whether a span follows the conventions."""
        return at.GEN_AI_OPERATION in span.attributes

    def read(self, span: SourceSpan) -> Told:
        """What a span says."""
        about = span.attributes
        operation = str(about[at.GEN_AI_OPERATION])
        if operation in _CALLS:
            return call(span)
        if operation == "execute_tool":
            return Told(
                "tool",
                str(about.get("gen_ai.tool.name") or span.name),
                inputs=parsed(about.get("gen_ai.tool.call.arguments", ABSENT)),
                outputs=about.get("gen_ai.tool.call.result", ABSENT),
                extra={
                    "description": about.get("gen_ai.tool.description"),
                    "tool_call_id": about.get("gen_ai.tool.call.id"),
                },
            )
        if operation == "retrieval":
            return Told("retriever", span.name, inputs=about.get("gen_ai.retrieval.query.text", ABSENT))
        if operation not in _RUNS:
            return Told("", span.name)
        name = str(about.get("gen_ai.workflow.name") or about.get("gen_ai.agent.name") or span.name)
        told = Told("chain", name, has_ids=False)
        given, made = parsed(about.get(at.GEN_AI_INPUT, ABSENT)), parsed(about.get(at.GEN_AI_OUTPUT, ABSENT))
        told.inputs = {"messages": given} if isinstance(given, list) else ABSENT
        told.outputs = {"messages": made} if isinstance(made, list) else ABSENT
        return told


def call(span: SourceSpan) -> Told:
    """What a model call says by the conventions."""
    about = span.attributes
    sent = parsed(about.get(at.GEN_AI_INPUT, ABSENT))
    came = parsed(about.get(at.GEN_AI_OUTPUT, ABSENT))
    messages: JSON | Absent = sent if isinstance(sent, list) else ABSENT
    system = parsed(about.get("gen_ai.system_instructions", ABSENT))
    if not isinstance(system, Absent) and system:
        parts: JSON = system if isinstance(system, list) else [{"type": "text", "content": system}]
        told: list[JSON] = messages if isinstance(messages, list) else []
        messages = [{"role": "system", "parts": parts}, *told]
    tools = parsed(about.get("gen_ai.tool.definitions", ABSENT))
    params: dict[str, Any] = {"model": about.get(at.GEN_AI_MODEL), "provider": about.get(at.GEN_AI_PROVIDER)}
    if isinstance(tools, list):
        params["tools"] = [_tool(item) for item in cast("list[Any]", tools)]
    return Told(
        "llm",
        str(about.get(at.GEN_AI_MODEL) or span.name),
        messages=messages,
        reply=came[0] if isinstance(came, list) and came else ABSENT,
        params=params,
        usage=tokens(about, at.GEN_AI_INPUT_TOKENS, at.GEN_AI_OUTPUT_TOKENS),
        has_ids=False,
    )


def _tool(item: Any) -> Any:
    """A tool as the conventions have it, in the form in which it is sent."""
    if not isinstance(item, dict) or "function" in item or "name" not in item:
        return cast("Any", item)
    known = cast("dict[str, Any]", item)
    return {"type": "function", "function": {key: known[key] for key in known if key != "type"}}
