"""Operation: what made a Variable, from what. An eager operation records itself as one of these, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textgrad_lg.types import SpanKind

if TYPE_CHECKING:
    from textgrad_lg.eager.variable import Variable


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Use:
    """A Variable as it was when an operation used it: its value may be replaced afterwards.

    Attributes:
        variable: The Variable.
        value: Its value at that time.
        version: How often the value had been replaced.
        operation: What had made the value; None where it was given.
    """

    variable: Variable
    value: Any
    version: int
    operation: Operation | None

    @property
    def key(self) -> tuple[int, int]:
        """The same for every use of one value of one Variable; holds while the Use is alive."""
        return id(self.variable), self.version

    @property
    def inputs(self) -> tuple[Use, ...]:
        """What the value was made from."""
        return self.operation.inputs if self.operation else ()

    @property
    def trainable(self) -> bool:
        """Whether feedback on it is wanted for its own sake: it was given, or an optimizer has taken it on."""
        return self.variable.requires_grad and (self.operation is None or self.variable.adopted)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Operation:
    """What made a Variable.

    Attributes:
        kind: `LLM` for a model call, `FUNCTION` for anything else.
        name: The operation's name, as in "LLMCall".
        inputs: What it used, in order.
        purpose: What it is for, in words; feedback passes unchanged through a function without a purpose.
        combines: Whether its value is a loss only as far as its inputs are, as that of `sum` is.
        mean: Whether feedback from its inputs is merged into one, as `aggregate` does.
        verdict: Whether its value says in words what is wrong with the input, so that it is feedback as it is.
    """

    kind: SpanKind
    name: str
    inputs: tuple[Use, ...]
    purpose: str = ""
    combines: bool = False
    mean: bool = False
    verdict: bool = False

    def __repr__(self) -> str:
        return f"{self.name}.backward({', '.join(use.variable.role_description for use in self.inputs)})"
