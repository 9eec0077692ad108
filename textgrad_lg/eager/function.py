"""Function, Module and BackwardContext: what scripts build their own operations and losses from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.eager.operation import Operation
from textgrad_lg.types import SpanKind

if TYPE_CHECKING:
    from textgrad_lg.eager.variable import Variable

BY_PURPOSE = "_textgrad_lg_by_purpose"
"""Marks the one backward function that a `BackwardContext` may name."""


class Function(ABC):
    """An operation: called, it makes a Variable that knows what it was made from."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `forward`."""
        return self.forward(*args, **kwargs)

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Make the output."""


class BackwardContext:
    """How a value was made, said afterwards: see `Variable.set_grad_fn`.

    Args:
        backward_fn: `StringBasedFunction.backward_static`.
        args: Not used.
        kwargs: `function_purpose`, and `inputs` by name; `response` may be there, and is not used.
    """

    def __init__(self, backward_fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.backward_fn, self.args, self.kwargs = backward_fn, args, kwargs

    def operation(self) -> Operation:
        """The operation that is meant.

        Raises:
            TypeError: The function is one of the caller's own.
        """
        inputs = self.kwargs.get("inputs")
        if not getattr(self.backward_fn, BY_PURPOSE, False) or not isinstance(inputs, Mapping):
            raise TypeError(
                f"{self!r} is a backward function that the reverse pass cannot use: it has one rule for each kind of "
                "operation. Name StringBasedFunction.backward_static, with function_purpose and inputs"
            )
        used = tuple(source.use() for source in cast("Mapping[str, Variable]", inputs).values())
        return Operation(SpanKind.FUNCTION, "function", used, purpose=str(self.kwargs.get("function_purpose") or ""))

    def __repr__(self) -> str:
        return f"{self.backward_fn.__module__}.{getattr(self.backward_fn, '__qualname__', '?')}"


class Module(ABC):
    """A part of a program that holds trainable Variables, as PyTorch's modules hold tensors."""

    def parameters(self) -> list[Variable]:
        """The trainable Variables in its attributes, and in those of the modules among them, each once."""
        from textgrad_lg.eager.variable import Variable

        found: dict[int, Variable] = {}
        seen: set[int] = set()
        left: list[Any] = [self]
        while left:
            held = left.pop(0)
            if id(held) in seen:
                continue
            seen.add(id(held))
            if isinstance(held, Variable):
                if held.requires_grad:
                    found[id(held)] = held
            elif isinstance(held, Module):
                left += vars(held).values()
            elif isinstance(held, list | tuple):
                left += cast("list[Any]", held)
            elif isinstance(held, dict):
                left += cast("dict[str, Any]", held).values()
        return list(found.values())

    def named_parameters(self) -> Iterator[tuple[str, Variable]]:
        """Each trainable Variable, with its role."""
        for parameter in self.parameters():
            yield parameter.role_description, parameter

    def zero_grad(self) -> None:
        """Clear the feedback on its trainable Variables."""
        for parameter in self.parameters():
            parameter.reset_gradients()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `forward`."""
        return self.forward(*args, **kwargs)

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Make the output."""
