"""EngineLM: what eager operations call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

Content = str | list[Any]
"""A text; or a list of texts, bytes of images, and content blocks."""


class EngineLM(ABC):
    """A language model that is given a content and a system prompt, and replies with a text.

    A class of one's own needs `generate` alone.

    Attributes:
        model_string: The model's name.
        system_prompt: Sent where a call has none of its own; empty for none.
    """

    model_string: str = ""
    system_prompt: str = ""

    @abstractmethod
    def generate(self, content: Any, system_prompt: str | None = None, **kwargs: Any) -> str:
        """The model's reply."""

    def __call__(self, content: Any, system_prompt: str | None = None, **kwargs: Any) -> str:
        """The same as `generate`."""
        return self.generate(content, system_prompt=system_prompt, **kwargs)
