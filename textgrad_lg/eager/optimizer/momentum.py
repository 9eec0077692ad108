"""Momentum: an optimizer that shows its engine the values that were there before, and what was said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from textgrad_lg.eager.config import EngineLike
from textgrad_lg.eager.optimizer.optimizer import TextualGradientDescent, ago

if TYPE_CHECKING:
    from textgrad_lg.eager.variable import Variable

_MOVE = (
    "Earlier versions of the text are shown with the feedback that each of them got. Where the same feedback comes again and "
    "again, change more than before; where an earlier version was better, go back to what made it so."
)


class TextualGradientDescentwithMomentum(TextualGradientDescent):
    """As `TextualGradientDescent`, and its engine sees the last values and the feedback on each.

    Args:
        engine: Writes the new values; the engine that is set if None.
        parameters: The Variables to improve.
        momentum_window: How many earlier values are shown; with 0 it is a `TextualGradientDescent`.
        constraints: What every new value must meet, in words.
        new_variable_tags: Not used.
        in_context_examples: Texts that are good examples.
        optimizer_system_prompt: What the engine is told of how to work, beside what it is told anyhow.
        kwargs: See `TextualGradientDescent`.

    Raises:
        ValueError: `momentum_window` is negative; see `TextualGradientDescent`.
    """

    def __init__(  # noqa: PLR0917  TextGrad's order
        self,
        engine: EngineLike | None = None,
        parameters: Sequence[Variable] = (),
        momentum_window: int = 0,
        constraints: Sequence[str] | None = None,
        new_variable_tags: Sequence[str] | None = None,
        in_context_examples: Sequence[str] | None = None,
        optimizer_system_prompt: str | None = None,
        **kwargs: Any,
    ) -> None:
        if momentum_window < 0:
            raise ValueError(f"momentum_window is {momentum_window}; it counts earlier values, from 0")
        self.momentum_window = momentum_window
        super().__init__(
            parameters,
            engine=engine,
            constraints=constraints,
            new_variable_tags=new_variable_tags,
            in_context_examples=in_context_examples,
            optimizer_system_prompt="\n\n".join(
                text for text in (optimizer_system_prompt, _MOVE if momentum_window else "") if text
            ),
            **kwargs,
        )

    @property
    def momentum_storage(self) -> list[list[dict[str, str]]]:
        """The earlier values and the feedback on each, by parameter, oldest first."""
        return [past[-self.momentum_window :] if self.momentum_window else [] for past in self._past]

    @override
    def _memory(self, at: int) -> list[tuple[str, str]]:
        past = self.momentum_storage[at]
        shown: list[tuple[str, str]] = []
        for number, one in enumerate(past):
            when = ago(len(past) - number)
            shown += [(f"version {when}", one["value"]), (f"feedback on the version {when}", one["feedback"])]
        return shown or super()._memory(at)

    @override
    def _kept(self) -> int:
        return max(self.momentum_window, super()._kept())
