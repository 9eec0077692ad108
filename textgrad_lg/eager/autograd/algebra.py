"""sum and aggregate: several Variables as one, and feedback on it as feedback on each."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from textgrad_lg.eager.function import Function
from textgrad_lg.eager.operation import Operation
from textgrad_lg.eager.variable import Variable
from textgrad_lg.types import SpanKind


class Sum(Function):
    """The values line by line. Each Variable gets the feedback once; losses are each differentiated as they are."""

    @override
    def forward(self, variables: Sequence[Variable]) -> Variable:
        """The sum.

        Raises:
            ValueError: There is nothing to sum, or an image among it.
        """
        return _combined(variables, "sum", "a combination of the following", mean=False)


class Aggregate(Function):
    """As `Sum`; then the feedback that a Variable has got from these losses is merged into one by the engine."""

    @override
    def forward(self, variables: Sequence[Variable]) -> Variable:
        """The aggregate.

        Raises:
            ValueError: There is nothing to aggregate, or an image among it.
        """
        return _combined(variables, "aggregate", "a combination of the following variables", mean=True)


def _combined(variables: Sequence[Variable], name: str, words: str, *, mean: bool) -> Variable:
    variables = list(variables)
    if not variables:
        raise ValueError(f"there is nothing to {name}: the list is empty")
    if any(variable.is_image for variable in variables):
        raise ValueError(f"an image cannot be part of a {name}: its value is text")
    roles = ", ".join(dict.fromkeys(variable.role_description for variable in variables))
    inputs = tuple(variable.use() for variable in variables)
    operation = Operation(SpanKind.FUNCTION, name, inputs, combines=True, mean=mean)
    return Variable.made("\n".join(variable.text for variable in variables), f"{words}: {roles}", operation)
