"""Momentum: new texts that go on from past ones that did well, and further where the same feedback comes back."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgrad_lg.autograd.reduce import distinct
from textgrad_lg.optim import words
from textgrad_lg.optim.demos import Demos
from textgrad_lg.optim.edit import EditLimits
from textgrad_lg.optim.insert import Insert
from textgrad_lg.optim.patch import Patch
from textgrad_lg.optim.rewrite import Rewrite
from textgrad_lg.optim.screen import draw, limits_for
from textgrad_lg.optim.tgd import LONG, rank
from textgrad_lg.optim.tune import texts_of, tuners
from textgrad_lg.templates import fence, fill

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import Attempt, Proposals, StepContext
    from textgrad_lg.optim.checks import Check
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site

_ALTERNATIVES, _TOLD, _PAST = 4, 3, 4_000
"""Alternatives at most; earlier edits that a request tells of; hard cap in tokens of each past text that it shows."""
_ALIKE = 0.5
"""Feedback texts that share this part of all their words are taken to say the same."""


@dataclass(frozen=True, slots=True)
class Carry(Rewrite):
    """Asks the model for new versions that go on from past texts, which are drawn by what they did to the score.

    All that was ever tried would soon be longer than the text itself, so a few past texts stand for it. Each comes with the
    probability of its score, and not always the best: scores are noisy, and another text may be the better way on.

    Attributes:
        draws: Past texts that are drawn at most; the text in force is among those they are drawn from, and is shown anyway.
        temperature: In units of the score: a text that is better by this much is drawn first about three times as often.
    """

    draws: int = 2
    temperature: float = 0.1

    @property
    def name(self) -> str:
        """The name that the journal and the report give it."""
        return "momentum"

    def request(
        self, site: Site, template: Template, gradients: Sequence[Gradient], context: StepContext
    ) -> list[BaseMessage]:
        """The request, as it is sent."""
        attempts = [attempt for attempt in context.attempts if attempt.update.site == site]
        rng = random.Random(f"{context.seed}:{context.step}:{site}:past")  # noqa: S311  a draw, not a secret
        worth = values(attempts)
        here = worth.get(template.text, 0.0)
        past = sample(worth, self.draws, self.temperature, rng)
        return fill(
            "momentum",
            **words.revision(self, site, template, gradients, context, attempts=attempts[-_TOLD:]),
            past="\n\n".join(_past(text, worth[text] - here) for text in past if text != template.text),
            pace=_pace(recurrence(distinct(gradients), attempts)),
        )


class Momentum:
    """Takes the most blamed Parameters, and lets their past pull on them; `Insert` and `Demos` compete as they do in `TGD`.

    It keeps no state: its memory is the attempts of the `StepContext`, so the same context gives the same Proposals. Texts
    of `LONG` characters and more are edited in part, by `Patch`.

    Args:
        proposals: Updates at most in one step.
        parameters: Parameters at most that are changed in one step, the most blamed first.
        window: How many of the latest edits of a Parameter count as its past.
        draws: Past texts that a request shows at most.
        temperature: How much better texts are preferred in the draw, in units of the score; see `Carry`.
        constraints: What every new text must meet, in the user's words; told to the model.
        in_context_examples: Examples of good texts, in the user's words; shown to the model.
        limits: What code refuses; `EditLimits()` if None.
        frozen: Regular expressions; what they match must stay; see `EditLimits`.
        checks: Rules that code checks; see `EditLimits`.

    Raises:
        ValueError: A number is too small, or one of `frozen` is not a regular expression.
        TypeError: A list of texts is one text.
    """

    def __init__(
        self,
        *,
        proposals: int = 8,
        parameters: int = 2,
        window: int = 12,
        draws: int = 2,
        temperature: float = 0.1,
        constraints: Sequence[str] = (),
        in_context_examples: Sequence[str] = (),
        limits: EditLimits | None = None,
        frozen: Sequence[str] = (),
        checks: Sequence[Check] = (),
    ) -> None:
        if min(proposals, parameters, window) < 1 or draws < 0 or not temperature > 0:
            raise ValueError(
                "proposals, parameters and window must be at least 1, draws at least 0, and temperature more than 0"
            )
        self.proposals, self._parameters, self._window = proposals, parameters, window
        self._limits = limits_for(
            limits, frozen=frozen, checks=checks, constraints=constraints, in_context_examples=in_context_examples
        )
        few, asked, shown = min(_ALTERNATIVES, proposals), tuple(constraints), tuple(in_context_examples)
        self._carry = Carry(few, asked, shown, self._limits, draws=draws, temperature=temperature)
        self._patch = Patch(few, asked, shown, self._limits)
        self._asking = Rewrite(few, asked, shown, self._limits)
        self._others = (Insert(frozen=self._limits.frozen), Demos())

    async def propose(self, context: StepContext) -> Proposals:
        """Propose Updates for the Parameters that the Gradients blame, best guess first, without duplicates.

        Raises:
            BudgetExhausted: A proposer's model call was not admitted.
        """
        ranked = rank(context.gradients, context.parameters)
        asks = tuners(ranked, context, self._parameters, self._asking)
        asks += [
            (site, proposer)
            for site in texts_of(ranked, context)[: self._parameters]
            for proposer in (
                self._patch if len(context.parameters[site].text) >= LONG else self._carry,
                *self._others,
            )
        ]
        return await draw(asks, context, self._limits, proposals=self.proposals, memory=self._window)


def values(attempts: Iterable[Attempt]) -> dict[str, float]:
    """What each text that was run is worth, by adding up changes: the first edit's old text is worth 0.

    A text that was run several times is worth the mean. Edits that were never run say nothing.
    """
    found: dict[str, list[float]] = {}
    for attempt in attempts:
        if attempt.change is not None:
            before = found.setdefault(attempt.update.old.text, [0.0])
            base = math.fsum(before) / len(before)
            if attempt.update.new.text != attempt.update.old.text:  # else only its demonstrations are new
                found.setdefault(attempt.update.new.text, []).append(base + attempt.change)
    return {text: math.fsum(seen) / len(seen) for text, seen in found.items()}


def sample(worth: Mapping[str, float], count: int, temperature: float, rng: random.Random) -> tuple[str, ...]:
    """Draw `count` texts without repetition, each with a weight of `exp(worth / temperature)`, by Gumbel's top-k trick."""
    keys = {text: value / temperature - math.log(-math.log(rng.random() or 0.5)) for text, value in worth.items()}
    return tuple(sorted(keys, key=lambda text: -keys[text])[:count])


def recurrence(feedback: Sequence[str], attempts: Iterable[Attempt]) -> int:
    """In how many earlier steps something like `feedback` was said already.

    Where an Attempt does not know what was said, the reason given for its edit stands for it.
    """
    steps: dict[int, list[str]] = {}
    for attempt in attempts:
        steps.setdefault(attempt.step, []).extend(attempt.feedback or (attempt.update.why,))
    return sum(any(_alike(now, then) for now in feedback for then in said) for said in steps.values())


def _alike(one: str, other: str) -> bool:
    first, second = set(one.casefold().split()), set(other.casefold().split())
    return bool(first) and len(first & second) >= _ALIKE * len(first | second)


def _past(text: str, better: float) -> str:
    said = f"an earlier version; the mean score with it was {better:+.3f} against the text now"
    return fence(said, text, tokens=_PAST, exact=True)


def _pace(again: int) -> str:
    if not again:
        return "How far to move: change as little as the cause allows."
    rounds = "one earlier round" if again == 1 else f"{again} earlier rounds"
    further = (
        "move further than those edits did, in their direction if they raised the score, in another one if they did not."
        if again == 1
        else "small edits do not answer it. Change how the text is built: state what is asked for first and in full, as a "
        "rule of its own, and add an example of it that you made up."
    )
    return f"How far to move: feedback like this came back after {rounds} of edits, so {further}"
