"""The operations of the eager API. Each records itself; the reverse pass is `textgrad_lg.autograd`'s."""

from textgrad_lg.eager.autograd.algebra import Aggregate, Sum
from textgrad_lg.eager.autograd.functional import aggregate, formatted_llm_call, llm_call, sum  # noqa: A004
from textgrad_lg.eager.autograd.llm_ops import FormattedLLMCall, LLMCall, LLMCall_with_in_context_examples
from textgrad_lg.eager.autograd.multimodal_ops import MultimodalLLMCall, OrderedFieldsMultimodalLLMCall
from textgrad_lg.eager.autograd.string_based_ops import StringBasedFunction
from textgrad_lg.eager.function import BackwardContext, Function, Module

__all__ = [
    "Aggregate",
    "BackwardContext",
    "FormattedLLMCall",
    "Function",
    "LLMCall",
    "LLMCall_with_in_context_examples",
    "Module",
    "MultimodalLLMCall",
    "OrderedFieldsMultimodalLLMCall",
    "StringBasedFunction",
    "Sum",
    "aggregate",
    "formatted_llm_call",
    "llm_call",
    "sum",
]
