"""TextLoss: a model as evaluator, told in words what a good output is."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import Field

from textgrad_lg.errors import EvaluatorError
from textgrad_lg.evals.text import as_json, as_text
from textgrad_lg.llm import Form, ask, resolve_model
from textgrad_lg.redact import Redaction, in_force
from textgrad_lg.templates import fence, fill

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_TOKENS = 4_000
"""Cap of each part of the request: inputs, output and reference."""


class Judgement(Form):
    """The judgement of one output."""

    # In this order: a model that writes its reasons first judges by them.
    comment: str = Field(
        description="What is wrong with the output and what a better one would have, in one to three sentences that "
        "quote it. What is good about it, where nothing is wrong."
    )
    score: float = Field(ge=0, le=1, description="From 0, useless, to 1, nothing is left to improve.")


class TextLoss:
    """An evaluator that asks a model how well the output does what `instruction` says.

    Inputs, output and reference are shown to the model as data, between fences that they cannot forge, and as the run's
    redactor lets them through (`Settings.redactor`). Where strangers wrote them, as in `learn`, they are quoted as JSON.

    Example:
        >>> polite = TextLoss("The reply is polite, and promises nothing that the policy does not.")
        >>> polite.key
        'text_loss'

    Args:
        instruction: What a good output is, in words.
        model: Judges: a chat model, or a name as in "openai:gpt-4o-mini". By default the critic of the run.
        key: The name of its Scores.

    Raises:
        EvaluatorError: `instruction` is empty.
    """

    def __init__(self, instruction: str, model: BaseChatModel | str | None = None, *, key: str = "text_loss") -> None:
        if not instruction.strip():
            raise EvaluatorError("the instruction of a TextLoss is empty; say what a good output is")
        self.instruction, self.key = instruction, key
        self._given = model

    @cached_property
    def model(self) -> BaseChatModel | None:
        """The model it was given; a name is looked up on first use."""
        return resolve_model(self._given)

    async def __call__(
        self,
        inputs: Any,
        outputs: Any,
        reference_outputs: Any = None,
        model: BaseChatModel | None = None,
    ) -> tuple[float, str]:
        """Judge one output.

        Args:
            inputs: What the graph was given.
            outputs: What it made of it.
            reference_outputs: What was wanted, where that is known.
            model: The run's critic, for a TextLoss without a model of its own.

        Returns:
            The score, from 0 to 1, and the reason for it.

        Raises:
            EvaluatorError: There is no model.
            ModelError: The model gave no usable reply.
            BudgetExhausted: The call was not admitted.
        """
        judge = self.model or model
        if judge is None:
            raise EvaluatorError(
                f"{self.key!r} has no model to judge with; give it one, TextLoss(..., model), or give the run one"
            )
        messages = fill(
            "judge",
            instruction=self.instruction.strip(),
            inputs=_data("inputs", inputs),
            outputs=_data("output", outputs),
            reference=""
            if reference_outputs is None
            else f"What was wanted:\n\n{_data('reference', reference_outputs)}",
        )
        judgement = (await ask(judge, messages, Judgement)).value
        return judgement.score, judgement.comment

    def __repr__(self) -> str:
        return f"TextLoss({self.instruction!r}, key={self.key!r})"


def _data(label: str, value: Any) -> str:
    redactor = in_force()
    if redactor is not None:
        value = Redaction(redactor).value(f"judged.{label}", as_json(value))
    return fence(label, as_text(value), tokens=_TOKENS)
