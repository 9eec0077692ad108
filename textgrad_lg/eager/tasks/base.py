"""Dataset and DataLoader: batches of examples that a script has itself."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol


class Dataset(ABC):
    """Examples by number."""

    @abstractmethod
    def __getitem__(self, index: int) -> Any: ...

    @abstractmethod
    def __len__(self) -> int: ...


class Examples(Protocol):
    """Anything with examples by number: a list, a Dataset."""

    def __getitem__(self, index: int, /) -> Any:
        """One example."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


class DataLoader:
    """Batches of examples.

    Args:
        data: The examples.
        batch_size: Examples in a batch, at least 1; the last batch may be smaller.
        shuffle: Whether each pass is in another order.
        seed: Makes the orders; if None, they come from `random` as the script has seeded it.

    Raises:
        ValueError: `batch_size` is too small.
    """

    def __init__(self, data: Examples, batch_size: int = 32, shuffle: bool = True, seed: int | None = None) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; a batch has at least one example")
        self.data, self.batch_size, self.shuffle = data, batch_size, shuffle
        self._random = random if seed is None else random.Random(seed)  # noqa: S311  an order, not a secret

    def __iter__(self) -> Iterator[Any]:
        """One pass. Examples that are tuples come as a tuple of their first parts, of their second parts, and so on."""
        order = list(range(len(self.data)))
        if self.shuffle:
            self._random.shuffle(order)
        for start in range(0, len(order), self.batch_size):
            batch = [self.data[at] for at in order[start : start + self.batch_size]]
            yield tuple(zip(*batch, strict=True)) if isinstance(batch[0], tuple) else batch

    def __len__(self) -> int:
        """How many batches a pass has."""
        return math.ceil(len(self.data) / self.batch_size)
