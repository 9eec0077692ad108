"""The contract of a prompt registry: versions that are only ever added, and labels that move between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from textgrad_lg.prompt import Template
from textgrad_lg.types import JSON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A text that is about to be committed.

    Attributes:
        name: The prompt's name.
        template: The text, with its slots and demonstrations.
        parent: The version it was made from; None where it has none.
        score: The score it was accepted with, higher is better; None where it was not scored.
        provenance: Where it came from, as JSON: run id, proposer, gradient ids, why.
    """

    name: str
    template: Template
    parent: int | None = None
    score: float | None = None
    provenance: Mapping[str, JSON] = field(default_factory=dict[str, JSON])


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """A text that was committed. It never changes again.

    Attributes:
        name: The prompt's name.
        version: Counts the versions of this name, from 1.
        template: The text as it was given, with its slots and demonstrations.
        parent: The version it was made from; None where it has none.
        score: The score it was accepted with; None where it was not scored.
        provenance: Where it came from, as JSON.
        created: Unix time in seconds.
    """

    name: str
    version: int
    template: Template
    parent: int | None
    score: float | None
    provenance: Mapping[str, JSON]
    created: float


@dataclass(frozen=True, slots=True)
class Move:
    """One move of a label.

    Attributes:
        version: The version it pointed to from then on; None where a rollback took the label off.
        created: Unix time in seconds.
        rollback: Whether it took back an earlier move.
    """

    version: int | None
    created: float
    rollback: bool = False


class PromptRegistry(Protocol):
    """The versioned store of accepted texts.

    The conventions, which `textgrad_lg.testing.registry_conformance` checks:

    - Versions and moves are only ever added. Nothing is deleted or changed, and there is no way to ask for it.
    - A write is atomic over all prompts it names: all of it happens, or none.
    - A write happens only if the label still points where the writer last saw it (`expect`), so of two writers that
      started from the same state exactly one wins, and the other gets `VersionConflict`. `expect` must say so for each
      prompt that is written, with None for "the label is not set there"; further prompts in it are checked as well.
    - A label that is told to move where it already points does not move, and adds nothing to its history.
    - What was committed comes back exactly: text, slots, demonstrations, provenance.
    - A name or label is any text that is not empty.
    - Every method may be called from any thread.
    """

    def names(self) -> tuple[str, ...]:
        """The names of all prompts, in the order of their first commit."""
        ...

    def get(self, name: str, *, version: int | None = None, label: str | None = None) -> PromptVersion:
        """One version of a prompt: that of the number, or that which `label` points to; with neither, the newest.

        Raises:
            UnknownVersion: There is none.
            RegistryError: Both `version` and `label` were given.
        """
        ...

    def history(self, name: str) -> tuple[PromptVersion, ...]:
        """All versions of a prompt, oldest first.

        Raises:
            UnknownVersion: There is no such prompt.
        """
        ...

    def labels(self, name: str) -> dict[str, int]:
        """The labels that are set on a prompt, and the versions they point to, in the order of their first use.

        Raises:
            UnknownVersion: There is no such prompt.
        """
        ...

    def moves(self, name: str, label: str) -> tuple[Move, ...]:
        """Every move of a label on a prompt, oldest first; empty where it was never set.

        Raises:
            UnknownVersion: There is no such prompt.
        """
        ...

    def commit(
        self, new: Sequence[NewVersion], *, label: str, expect: Mapping[str, int | None]
    ) -> tuple[PromptVersion, ...]:
        """Write new versions, at most one a prompt, and move `label` to each of them.

        Returns:
            The versions, in the order of `new`.

        Raises:
            VersionConflict: The label does not point where `expect` says; nothing was changed.
            UnknownVersion: A parent does not exist; nothing was changed.
            RegistryError: `new` names a prompt twice, `expect` leaves one out, or a value cannot be stored.
        """
        ...

    def move(self, label: str, to: Mapping[str, int], *, expect: Mapping[str, int | None]) -> None:
        """Point `label` to existing versions, as when a candidate is promoted to production.

        Raises:
            VersionConflict: The label does not point where `expect` says; nothing was changed.
            UnknownVersion: A version does not exist; nothing was changed.
            RegistryError: `expect` leaves a prompt out.
        """
        ...

    def rollback(
        self, label: str, names: Sequence[str], *, expect: Mapping[str, int | None] | None = None
    ) -> dict[str, int | None]:
        """Take back the last move of `label` on each of `names`.

        A rollback is itself a move in the history. It cannot be taken back: a second rollback goes one step further.

        Args:
            label: The label to move back.
            names: The prompts to move it on.
            expect: As in `commit`, where given: roll back only if nobody has moved the label since.

        Returns:
            For each name the version that the label points to now; None where it is not set any more.

        Raises:
            VersionConflict: The label does not point where `expect` says; nothing was changed.
            UnknownVersion: The label is not set on one of `names`; nothing was changed.
        """
        ...
