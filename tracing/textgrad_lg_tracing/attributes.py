"""Every attribute key that the spans of textgrad_lg carry, and the order in which a span gets them.

The GenAI, OpenInference, LangSmith and Langfuse keys are written out here, because the packages that hold them are beta
or have deprecated them. All those that say the same thing get the same value: which one a backend prefers is its own
affair. The keys of the namespace `textgrad.` belong to this library; a change of their meaning raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue

SCHEMA_VERSION: Final = "1"

NAMESPACE: Final = "textgrad."
SCHEMA: Final = "textgrad.schema.version"
RUN: Final = "textgrad.run.id"
GRAPH: Final = "textgrad.graph.name"
PHASE: Final = "textgrad.phase"
STEP: Final = "textgrad.step"
EXAMPLE: Final = "textgrad.example.id"
EXAMPLE_COUNT: Final = "textgrad.example.count"
CANDIDATE: Final = "textgrad.candidate"
CACHED: Final = "textgrad.cached"
SOURCE: Final = "textgrad.source"
SOURCE_BACKEND: Final = "textgrad.source.backend"
SCORE: Final = "textgrad.score"
SCORES: Final = "textgrad.scores"
IMPROVED: Final = "textgrad.improved"
WARNING_COUNT: Final = "textgrad.warning.count"
UNSAMPLED: Final = "textgrad.example.unsampled"
DROPPED_SPANS: Final = "textgrad.spans.dropped"
DROPPED_LINKS: Final = "textgrad.links.dropped"

TRACE: Final = "textgrad.trace.id"
SPAN: Final = "textgrad.span.id"
VISIT: Final = "textgrad.visit"
NODE: Final = "textgrad.node.name"
TASK: Final = "textgrad.task.id"
RUN_ID: Final = "textgrad.langchain.run_id"
FORWARD_TRACE: Final = "textgrad.forward.trace_id"
FORWARD_SPAN: Final = "textgrad.forward.span_id"
LINK_TYPE: Final = "textgrad.link.type"

GRADIENT_COUNT: Final = "textgrad.gradient.count"
GRADIENT_IDS: Final = "textgrad.gradient.ids"
GRADIENT_DISTINCT: Final = "textgrad.gradient.distinct"
GRADIENT_TRACES: Final = "textgrad.gradient.source_trace_ids"
GRADIENT_EVENT: Final = "textgrad.gradient"
GRADIENT_ID: Final = "textgrad.gradient.id"
GRADIENT_VARIABLE: Final = "textgrad.gradient.variable"
GRADIENT_WEIGHT: Final = "textgrad.gradient.weight"
GRADIENT_TEXT: Final = "textgrad.gradient.text"
GRADIENT_FAILURES: Final = "textgrad.gradient.failures"

PARAMETERS: Final = "textgrad.param.names"
PARAMETER_COUNT: Final = "textgrad.param.count"
PARAMETER: Final = "textgrad.param.name"
HASH_BEFORE: Final = "textgrad.param.hash.before"
HASH_AFTER: Final = "textgrad.param.hash.after"
VERSION_BEFORE: Final = "textgrad.param.version.before"
VERSION: Final = "textgrad.param.version.after"
LABEL: Final = "textgrad.param.label"
PROPOSER: Final = "textgrad.proposer"
DECISION: Final = "textgrad.decision"
TOGETHER: Final = "textgrad.update.together"
ACCEPTED: Final = "textgrad.accepted"
REJECT_REASON: Final = "textgrad.reject_reason"
GATE: Final = "textgrad.gate.name"
GATE_BEFORE: Final = "textgrad.gate.before"
GATE_AFTER: Final = "textgrad.gate.after"
GATE_N: Final = "textgrad.gate.n"
GATE_P: Final = "textgrad.gate.p_value"
GATE_ALPHA: Final = "textgrad.gate.alpha"

METRIC_STEP: Final = "textgrad.step.duration"
METRIC_LOSS: Final = "textgrad.loss"
METRIC_ACCEPTED: Final = "textgrad.update.accepted"
METRIC_REJECTED: Final = "textgrad.update.rejected"
METRIC_TOKENS: Final = "gen_ai.client.token.usage"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  a kind of token, not one

CONTENT_REDACTED: Final = "textgrad.content.redacted"
CONTENT_TRUNCATED: Final = "textgrad.content.truncated"

SESSION: Final = "session.id"
METADATA: Final = "metadata"
INPUT: Final = "input.value"
INPUT_MIME: Final = "input.mime_type"
OUTPUT: Final = "output.value"
OUTPUT_MIME: Final = "output.mime_type"
OPENINFERENCE_KIND: Final = "openinference.span.kind"
LLM_MODEL: Final = "llm.model_name"
LLM_PROVIDER: Final = "llm.provider"
LLM_INPUT_TOKENS: Final = "llm.token_count.prompt"
LLM_OUTPUT_TOKENS: Final = "llm.token_count.completion"
TOOL_NAME: Final = "tool.name"
GRAPH_NODE: Final = "graph.node.id"
GRAPH_NODE_PARENT: Final = "graph.node.parent_id"
EVALUATION: Final = "evaluation.name"
EVALUATION_SCORE: Final = "evaluation.score"
EVALUATION_EXPLANATION: Final = "evaluation.explanation"
PROMPT_TEMPLATE_VERSION: Final = "llm.prompt_template.version"

GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
GEN_AI_MODEL: Final = "gen_ai.request.model"
GEN_AI_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_INPUT: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT: Final = "gen_ai.output.messages"
GEN_AI_PROMPT: Final = "gen_ai.prompt.name"
GEN_AI_PROMPT_VERSION: Final = "gen_ai.prompt.version"
GEN_AI_EVALUATION: Final = "gen_ai.evaluation.name"
GEN_AI_EVALUATION_SCORE: Final = "gen_ai.evaluation.score.value"
GEN_AI_EVALUATION_EXPLANATION: Final = "gen_ai.evaluation.explanation"
GEN_AI_EVALUATION_EVENT: Final = "gen_ai.evaluation.result"

LANGSMITH_KIND: Final = "langsmith.span.kind"
LANGSMITH_METADATA: Final = "langsmith.metadata."
LANGSMITH_SESSION: Final = "langsmith.metadata.session_id"
LANGFUSE_TYPE: Final = "langfuse.observation.type"
LANGGRAPH_STEP: Final = "langgraph_step"

ERROR_TYPE: Final = "error.type"
EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"

SERVICE_NAME: Final = "service.name"


class Kind(Enum):
    """What a span is to OpenInference, to LangSmith and to Langfuse.

    LangSmith has no kind for an evaluator. No kind is OpenInference's PROMPT: MLflow and Langfuse do not know it.
    """

    CHAIN = ("CHAIN", "chain", "chain")
    TOOL = ("TOOL", "tool", "tool")
    RETRIEVER = ("RETRIEVER", "retriever", "retriever")
    EVALUATOR = ("EVALUATOR", "chain", "evaluator")
    LLM = ("LLM", "llm", "generation")


def complete(attributes: Mapping[str, AttributeValue], kind: Kind) -> dict[str, AttributeValue]:
    """All attributes of one span, in the order in which it can spare them.

    An SDK at its limit (128 by default) throws out the attribute that was set first. So content goes first, then what
    other conventions ask for, then what says which span this is.

    Args:
        attributes: What is known of the span; `RUN` must be in it.
        kind: What it is.
    """
    ours = {key: value for key, value in attributes.items() if key.startswith(NAMESPACE)}
    openinference, langsmith, langfuse = kind.value
    run = ours[RUN]
    return {
        **{key: value for key, value in attributes.items() if key not in ours},
        **{LANGSMITH_METADATA + key: _dump(v) if isinstance(v, tuple) else v for key, v in ours.items()},
        METADATA: _dump(ours),
        **ours,
        LANGSMITH_SESSION: run,
        OPENINFERENCE_KIND: openinference,
        LANGSMITH_KIND: langsmith,
        LANGFUSE_TYPE: langfuse,
        SCHEMA: SCHEMA_VERSION,
        SESSION: run,
    }


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
