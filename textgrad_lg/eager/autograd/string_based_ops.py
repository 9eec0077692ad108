"""StringBasedFunction: any Python function, or a simulator, as an operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from typing_extensions import override

from textgrad_lg.eager.function import BY_PURPOSE, BackwardContext, Function
from textgrad_lg.eager.operation import Operation
from textgrad_lg.eager.variable import Variable
from textgrad_lg.types import SpanKind

__all__ = ["BackwardContext", "StringBasedFunction"]


class StringBasedFunction(Function):
    """A Python function as an operation. What it was given and what it returned are told to the engine in full.

    Example:
        >>> def longer(text, limit):
        ...     return "too long" if len(text.value) > int(limit.value) else "fits"
        >>> check = StringBasedFunction(longer, function_purpose="tells whether the text fits")
        >>> text = Variable("a long text", role_description="text")
        >>> limit = Variable(5, requires_grad=False, role_description="limit")
        >>> check({"text": text, "limit": limit}).value
        'too long'

    Args:
        fn: The function. It is called with Variables, by name, and returns a value of a Variable.
        function_purpose: What it is for, in words: all that the engine knows of how it works.
    """

    def __init__(self, fn: Callable[..., Any], function_purpose: str) -> None:
        self.fn, self.function_purpose = fn, function_purpose

    @override
    def forward(self, inputs: Mapping[str, Variable], response_role_description: str | None = None) -> Any:
        """Call the function.

        Raises:
            Exception: What the function raised, unchanged.
        """
        used = tuple(source.use() for source in inputs.values())
        value = self.fn(**inputs)
        role = response_role_description or f"output of the function that {self.function_purpose}"
        operation = Operation(SpanKind.FUNCTION, _name(self.fn), used, purpose=self.function_purpose)
        return Variable.made(value, role, operation)

    @staticmethod
    def backward_static(
        response: Variable, function_purpose: str, inputs: Mapping[str, Variable], backward_engine: Any = None
    ) -> None:
        """Differentiate `response`; by itself, `BackwardContext` only needs this function's name.

        Args:
            response: What the function made.
            function_purpose: What it is for.
            inputs: What it was given.
            backward_engine: Gives the feedback.
        """
        response.set_grad_fn(
            BackwardContext(StringBasedFunction.backward_static, function_purpose=function_purpose, inputs=inputs)
        )
        response.backward(backward_engine)


setattr(StringBasedFunction.backward_static, BY_PURPOSE, True)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
