"""BlackboxLLM: a model with its system prompt."""

from __future__ import annotations

from typing_extensions import override

from textgrad_lg.eager.autograd.llm_ops import LLMCall
from textgrad_lg.eager.config import EngineLike
from textgrad_lg.eager.function import Module
from textgrad_lg.eager.variable import Variable


class BlackboxLLM(Module):
    """A model with its system prompt, which is its one parameter where it requires feedback.

    Args:
        engine: The engine; the one that is set if None.
        system_prompt: The system prompt; a text is not trained.

    Raises:
        NoEngine: No engine is given and none is set.
    """

    def __init__(self, engine: EngineLike | None = None, system_prompt: Variable | str | None = None) -> None:
        if isinstance(system_prompt, str):
            role = "system prompt for the language model"
            system_prompt = Variable(system_prompt, requires_grad=False, role_description=role)
        self.system_prompt = system_prompt
        self.llm_call = LLMCall(engine, system_prompt)
        self.engine = self.llm_call.engine

    @override
    def forward(self, x: Variable) -> Variable:
        """The model's reply to `x`."""
        return self.llm_call(x)
