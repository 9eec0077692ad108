"""Minibatches of the train set."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textgrad_lg.example import Example


def minibatches(train: Sequence[Example], size: int, seed: int) -> Iterator[list[Example]]:
    """Minibatches of the train set without end, in an order that the seed fixes.

    Every example comes once in each epoch, and never twice in one minibatch: where a minibatch takes the last of one
    epoch and the first of the next, the next begins with examples that it does not hold yet.

    Args:
        train: The train set, with unique ids; not empty.
        size: Examples a minibatch; all of them where there are fewer.
        seed: All chance comes from it.
    """
    chance = random.Random(seed)  # noqa: S311  an order of examples, not a secret
    size = min(size, len(train))
    order: list[Example] = []
    while True:
        if len(order) < size:
            held = {example.id for example in order}
            epoch = list(train)
            chance.shuffle(epoch)
            first = [example for example in epoch if example.id not in held][: size - len(order)]
            taken = {example.id for example in first}
            order += [*first, *(example for example in epoch if example.id not in taken)]
        yield order[:size]
        order = order[size:]
