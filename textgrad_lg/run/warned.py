"""What the user is warned of: each thing once, with how often it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Warnings:
    """The warnings of one run.

    Attributes:
        tell: Called with the first message of its kind.
    """

    tell: Callable[[str], None]
    _found: dict[str, tuple[str, int]] = field(default_factory=dict[str, "tuple[str, int]"])

    def add(self, message: str, kind: str | None = None) -> None:
        """Warn.

        Args:
            message: What to say.
            kind: What makes it the same as an earlier one, which is then only counted; default: the message.
        """
        first, times = self._found.get(kind or message, (message, 0))
        self._found[kind or message] = (first, times + 1)
        if not times:
            self.tell(message)

    def lines(self) -> tuple[str, ...]:
        """All warnings in the order they first came."""
        return tuple(
            first if times == 1 else f"{first} (and {times - 1} more like it)" for first, times in self._found.values()
        )
