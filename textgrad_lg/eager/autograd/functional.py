"""The operations as functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from textgrad_lg.eager.autograd.algebra import Aggregate, Sum
from textgrad_lg.eager.autograd.llm_ops import FormattedLLMCall, LLMCall
from textgrad_lg.eager.config import EngineLike
from textgrad_lg.eager.variable import Variable


def sum(variables: Sequence[Variable]) -> Variable:  # noqa: A001  TextGrad's name
    """The values line by line: a batch of losses as one. Each is differentiated as it is, and each example by itself.

    Raises:
        ValueError: The list is empty, or holds an image.
    """
    return Sum()(variables)


def aggregate(variables: Sequence[Variable]) -> Variable:
    """As `sum`; then the feedback that a Variable has got from these losses is merged into one by the engine.

    Raises:
        ValueError: The list is empty, or holds an image.
    """
    return Aggregate()(variables)


def llm_call(
    input_variable: Variable,
    engine: EngineLike | None = None,
    response_role_description: str | None = None,
    system_prompt: Variable | None = None,
) -> Variable:
    """One call of a model, see `LLMCall`."""
    return LLMCall(engine, system_prompt)(input_variable, response_role_description)


def formatted_llm_call(  # noqa: PLR0917  TextGrad's order
    inputs: Mapping[str, Variable],
    response_role_description: str | None,
    engine: EngineLike | None,
    format_string: str,
    fields: Iterable[str],
    system_prompt: Variable | None = None,
) -> Variable:
    """One call of a model with several texts, see `FormattedLLMCall`."""
    return FormattedLLMCall(engine, format_string, fields, system_prompt)(inputs, response_role_description)
