"""HeldOut: the guard of the test set, which is read once, at the end, for one comparison."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from textgrad_lg.errors import BudgetExhausted, DataError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from textgrad_lg.example import Example
    from textgrad_lg.run.journal import Journal

_KIND, _KEY = "run", "test set read for"


class HeldOut:
    """Lets test examples be run while the test set is read, under the texts that are compared, and at no other time.

    A second look would be a choice: whoever reads the test set, changes something and reads it again, takes the better of
    two draws. It stands where rollouts are made, so it holds for whatever code asks for one. A run whose test set was read
    ends there for good: in a later session of it, nothing more is run than what its journal has, whatever its budget is then.

    Args:
        examples: The test set; none where there is nothing to guard.
        journal: Keeps that it was read, for later sessions of the run.
    """

    def __init__(self, examples: Iterable[Example] = (), journal: Journal | None = None) -> None:
        self._ids = frozenset(example.id for example in examples)
        self._journal = journal
        self._open: tuple[str, ...] = ()
        self._read = False

    @contextmanager
    def reading(self, *texts: str) -> Generator[None]:
        """Read the test set in this block; it counts as read for later sessions once the block has ended without an error.

        Args:
            *texts: The hashes of the texts that are compared.

        Raises:
            DataError: It was read before: in this session, or for other texts in an earlier one.
        """
        before = self._journal.get(_KIND, _KEY) if self._journal is not None else None
        if self._read or before not in (None, list(texts)):
            raise DataError(
                "the test set of this run was read before, and is read once: a second comparison on the same examples "
                "would be a choice between two draws, and prove nothing. Start a new run with test examples that are new"
            )
        self._read, self._open = True, texts
        try:
            yield
        finally:
            self._open = ()
        if self._journal is not None:
            self._journal.put(_KIND, _KEY, list(texts))

    def check(self, example: str, texts: str, *, known: bool) -> None:
        """Allow a rollout, or refuse it.

        Args:
            example: The id of the example to be run.
            texts: The hash of the texts to run it with.
            known: Whether the journal has that rollout, so that nothing is run.

        Raises:
            DataError: It is of the test set, which is not being read, or not for these texts.
            BudgetExhausted: An earlier session of the run has read the test set.
        """
        if example in self._ids and texts not in self._open:
            raise DataError(
                f"the example {example!r} is of the test set, which is read once, at the end of the run, for the texts that "
                "are compared; use examples of the train or the validation set"
            )
        if not known and self._journal is not None and self._journal.get(_KIND, _KEY) is not None:
            raise BudgetExhausted(
                "the test set of this run was read, so the run has ended, and nothing more is run in it. To go on from "
                "here, start a new run from `result.graph`, with test examples that are new"
            )
