"""Demos: passing examples as demonstration turns. Needs no model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from textgrad_lg.update import Update

if TYPE_CHECKING:
    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import StepContext
    from textgrad_lg.prompt import Demo, Template
    from textgrad_lg.site import Site

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Demos:
    """Puts passing examples before the call's own turn, in place of any demonstrations that are there.

    Attributes:
        sizes: How many demonstrations to try; one Update each.
    """

    sizes: Sequence[int] = (2, 4)

    @property
    def name(self) -> str:
        """The name that the journal and the report give it."""
        return "demos"

    async def propose(
        self, site: Site, template: Template, gradients: tuple[Gradient, ...], context: StepContext
    ) -> tuple[Update, ...]:
        """Propose one draw of demonstrations for each size; the draw depends on the seed, the step and the Parameter."""
        rng = random.Random(f"{context.seed}:{context.step}:{site}")  # noqa: S311  a draw, not a secret
        pool = draw(context.demos.get(site, ()), rng)
        asked = tuple(dict.fromkeys(gradient.id for gradient in gradients))
        sets = dict.fromkeys(pool[:size] for size in self.sizes if size > 0)
        return tuple(
            Update(site, template, replace(template, demos=chosen), _why(chosen), self.name, asked)
            for chosen in sets
            if chosen and chosen != template.demos
        )


def draw(demos: Sequence[Demo], rng: random.Random) -> tuple[Demo, ...]:
    """All of `demos` in an order whose every beginning covers the outputs evenly.

    Outputs take turns, so that four demonstrations of a two-label task show each label twice. Which output starts, and
    which of its demonstrations is taken, is drawn: the earlier one stands in `demos`, the likelier it is.

    Args:
        demos: Best first; one that is there twice counts once.
        rng: Makes the draw.
    """
    groups: dict[str, list[Demo]] = {}
    for demo in dict.fromkeys(demos):
        groups.setdefault(demo.output, []).append(demo)
    turns = [_shuffle(group, rng) for group in _shuffle(list(groups.values()), rng)]
    longest = max(map(len, turns), default=0)
    return tuple(turn[at] for at in range(longest) for turn in turns if at < len(turn))


def _shuffle(items: Sequence[T], rng: random.Random) -> list[T]:
    """A random order in which an item with rank r comes early with weight 1 / (r + 1) (Efraimidis and Spirakis)."""
    keys = [rng.random() ** (rank + 1) for rank in range(len(items))]
    return [items[at] for at in sorted(range(len(items)), key=lambda at: -keys[at])]


def _why(chosen: Sequence[Demo]) -> str:
    outputs = len({demo.output for demo in chosen})
    return f"{len(chosen)} demonstrations from passing examples, with {outputs} distinct outputs."
