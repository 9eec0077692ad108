"""Calls of a model with texts and images. Any model may be given images: its provider says so if it takes none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import override

from textgrad_lg.eager.autograd.llm_ops import LLMCall, check_fields
from textgrad_lg.eager.config import EngineLike
from textgrad_lg.eager.variable import Variable


class MultimodalLLMCall(LLMCall):
    """A call of a model with a list of texts and images."""

    @override
    def forward(self, inputs: Sequence[Variable], response_role_description: str | None = None) -> Variable:  # pyright: ignore[reportIncompatibleMethodOverride]  as TextGrad has it
        """Call the model with `inputs`, in this order.

        Raises:
            Exception: What the engine raised, unchanged.
        """
        return self.called([_part(variable) for variable in inputs], inputs, response_role_description)


class OrderedFieldsMultimodalLLMCall(LLMCall):
    """A call of a model with named texts and images.

    Args:
        engine: The engine; the one that is set if None.
        fields: The names, in the order in which the model is given them.
        system_prompt: The system prompt.
        purpose: What the call is for, where it is an evaluation.
        verdict: Whether the reply says in words what is wrong with its one trainable input.
    """

    def __init__(
        self,
        engine: EngineLike | None,
        fields: Sequence[str],
        system_prompt: Variable | None = None,
        *,
        purpose: str = "",
        verdict: bool = False,
    ) -> None:
        super().__init__(engine, system_prompt, purpose=purpose, verdict=verdict)
        self.fields = list(fields)

    @override
    def forward(self, inputs: Mapping[str, Variable], response_role_description: str | None = None) -> Variable:  # pyright: ignore[reportIncompatibleMethodOverride]  as TextGrad has it
        """Call the model with the fields of `inputs`.

        Raises:
            ValueError: The fields are not those that were announced.
            Exception: What the engine raised, unchanged.
        """
        check_fields(self.fields, inputs)
        given = [inputs[name] for name in self.fields]
        content = [
            _part(variable) if variable.is_image else f"{name}: {variable.text}"
            for name, variable in zip(self.fields, given, strict=True)
        ]
        return self.called(content, given, response_role_description)


def _part(variable: Variable) -> Any:
    return variable.value if variable.is_image else variable.text
