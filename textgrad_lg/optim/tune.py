"""Tune: other values of a setting. Needs no model; `Value` asks one for a value as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from textgrad_lg.domain import UNSET, Choice, Whole
from textgrad_lg.optim.rewrite import Rewrite
from textgrad_lg.prompt import Template
from textgrad_lg.update import Update

if TYPE_CHECKING:
    from textgrad_lg.domain import Domain
    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import Attempt, Proposer, StepContext
    from textgrad_lg.site import Site

_FEW = 8
"""Of so few values no model need name one: they are all tried soon."""


@dataclass(frozen=True, slots=True)
class Tune:
    """Proposes values near the one in force, in the order of `Domain.neighbours`, that were not tried from there.

    Feedback says that a setting matters and seldom which value it should have, so this is a local search: the values in a
    direction in which an edit has raised the score come first, and those in a direction that has lowered it come last.

    Attributes:
        values: How many values to propose at most.
    """

    values: int = 4

    @property
    def name(self) -> str:
        """The name that the journal and the report give it."""
        return "tune"

    async def propose(
        self, site: Site, template: Template, gradients: tuple[Gradient, ...], context: StepContext
    ) -> tuple[Update, ...]:
        """Propose values that were not tried; nothing where the Parameter is no setting."""
        domain = context.domains.get(site)
        if domain is None:
            return ()
        asked = tuple(dict.fromkeys(gradient.id for gradient in gradients))
        here = [attempt for attempt in context.attempts if attempt.update.site == site]
        value = _value(template.text, domain)
        tried = {attempt.update.new.text for attempt in here}
        found = [other for other in domain.neighbours(value) if domain.text(other) not in tried]
        # Stable: in each direction the neighbours stay in their order.
        found.sort(key=_direction(value, here, domain))
        return tuple(self._update(site, template, domain, other, asked) for other in found[: self.values])

    def _update(self, site: Site, template: Template, domain: Domain, value: Any, asked: tuple[str, ...]) -> Update:
        text = domain.text(value)
        what = site.context_field or site.role
        why = f"{what} {text} in place of {'what was not set' if template.text == UNSET else template.text}."
        return Update(site, template, Template(text), why, self.name, asked)


@dataclass(frozen=True, slots=True)
class Value:
    """Asks the model for values of a setting that feedback blames, where there are more of them than `Tune` soon goes through.

    Attributes:
        rewrite: Asks for a text; it is told what the text has to be.
    """

    rewrite: Rewrite = field(default_factory=Rewrite)

    @property
    def name(self) -> str:
        """The name that the journal and the report give it."""
        return "value"

    async def propose(
        self, site: Site, template: Template, gradients: tuple[Gradient, ...], context: StepContext
    ) -> tuple[Update, ...]:
        """Propose the values that the model names, each in the domain's own form; what is none is left for the check.

        Raises:
            ModelError: The call failed for good.
            BudgetExhausted: The call was not admitted.
        """
        domain = context.domains.get(site)
        few = isinstance(domain, Choice) or (isinstance(domain, Whole) and domain.high - domain.low < _FEW)
        if domain is None or few or not gradients:
            return ()
        rule = f"The whole text is the value of a setting: {domain.words}, and nothing else."
        ask = replace(self.rewrite, constraints=(*self.rewrite.constraints, rule))
        found = await ask.propose(site, template, gradients, context)
        return tuple(
            replace(update, new=Template(_formed(update.new.text, domain)), proposer=self.name) for update in found
        )


def tuners(
    ranked: Sequence[Site], context: StepContext, most: int, rewrite: Rewrite | None = None
) -> list[tuple[Site, Proposer]]:
    """Whom to ask about which setting, for `screen.draw`.

    Settings that are blamed come first. The others have their turn too, from step to step, because a critic that reads a
    reply sees what a prompt lacks, and rarely that another temperature would have given another reply.

    Args:
        ranked: The blamed Parameters, the most blamed first.
        context: The step.
        most: Settings at most.
        rewrite: Asks the model; None where it is not asked.
    """
    blamed = [site for site in ranked if site in context.domains]
    others = [site for site in context.parameters if site in context.domains and site not in blamed]
    turn = (context.step - 1) % len(others) if others else 0
    chosen = [*blamed, *others[turn:], *others[:turn]][:most]
    asked: tuple[Proposer, ...] = (Tune(),) if rewrite is None else (Tune(), Value(rewrite))
    return [(site, proposer) for site in chosen for proposer in asked]


def texts_of(ranked: Iterable[Site], context: StepContext) -> tuple[Site, ...]:
    """Of the blamed Parameters those that have words: no settings."""
    return tuple(site for site in ranked if site not in context.domains)


def _direction(value: Any, attempts: list[Attempt], domain: Domain) -> Callable[[Any], float]:
    """How a value is sorted: by what the edits in its direction have brought so far, the best first.

    Directions are up and down; where the values have no order, or none is in force, all are one.
    """
    gains: dict[bool, float] = {}
    for up, change in _moves(attempts, domain):
        gains[up] = gains.get(up, 0.0) + change
    if not _is_number(value):
        return lambda _: 0.0
    return lambda other: -gains.get(other > value, 0.0) if _is_number(other) else 0.0


def _moves(attempts: list[Attempt], domain: Domain) -> Iterator[tuple[bool, float]]:
    """For each edit that was run and moved a number: whether it went up, and what it changed."""
    for attempt in attempts:
        old, new = (_value(template.text, domain) for template in (attempt.update.old, attempt.update.new))
        if _is_number(old) and _is_number(new) and attempt.change is not None:
            yield new > old, attempt.change


def _value(text: str, domain: Domain) -> Any:
    """A setting's value; None where it is not set, or is none of the domain any more."""
    try:
        return None if text == UNSET else domain.parse(text)
    except ValueError:
        return None


def _formed(text: str, domain: Domain) -> str:
    try:
        return domain.text(domain.parse(text))
    except ValueError:
        return text


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
