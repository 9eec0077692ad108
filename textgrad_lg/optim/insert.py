"""Insert: the reduced feedback itself, put at each section boundary of the text. Needs no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textgrad_lg.autograd.reduce import distinct
from textgrad_lg.optim.edit import frozen_spans, keep_margins
from textgrad_lg.update import Update

if TYPE_CHECKING:
    from textgrad_lg.gradient import Gradient
    from textgrad_lg.optim.base import StepContext
    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site

_BLANK_LINES = re.compile(r"\r?\n(?:[ \t]*\r?\n)+")
_CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_SLOT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")


@dataclass(frozen=True, slots=True)
class Insert:
    """Puts a piece of feedback into the text as a paragraph of its own: first, last, and between paragraphs.

    For a small model the place of an instruction matters as much as its words, and an evaluator's comment often is the
    instruction. So this proposer leaves the words alone and tries the places; the gate finds the good one.

    Attributes:
        feedback: How many distinct feedback texts to place, the most pressing first.
        frozen: Regular expressions whose matches are not taken apart; see `EditLimits.frozen`.
    """

    feedback: int = 2
    frozen: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The name that the journal and the report give it."""
        return "insert"

    async def propose(
        self, site: Site, template: Template, gradients: tuple[Gradient, ...], context: StepContext
    ) -> tuple[Update, ...]:
        """Propose each piece of feedback at each place: all of them first, then all last, then each inner boundary."""
        pressing = [text for text in distinct(gradients) if text.strip()][: self.feedback]
        updates: list[Update] = []
        for where, before, after in _places(template.text.strip(), self.frozen):
            for text in pressing:
                said = _SLOT.sub(r"\1", text.strip())  # a slot that feedback quotes is a word, and not to be filled
                if before.endswith(said) or after.startswith(said):
                    continue
                new = "\n\n".join(part for part in (before, said, after) if part)
                asked = tuple(dict.fromkeys(gradient.id for gradient in gradients if _same(gradient.text, text)))
                updates.append(
                    Update(
                        site,
                        template,
                        replace(template, text=keep_margins(template.text, new)),
                        f"The feedback itself, placed {where}.",
                        self.name,
                        asked,
                    )
                )
        return tuple(updates)


def _places(text: str, frozen: Sequence[str]) -> list[tuple[str, str, str]]:
    """Where a paragraph can go: the place in words, the text before it and the text behind it."""
    if not text:
        return [("as the text", "", "")]
    closed = [*frozen_spans(text, frozen), *(found.span() for found in _CODE.finditer(text))]
    inner = [
        found.span()
        for found in _BLANK_LINES.finditer(text)
        if not any(start < found.start() < end for start, end in closed)
    ]
    return [
        ("at the start", "", text),
        ("at the end", text, ""),
        *((f"after paragraph {at}", text[:start], text[end:]) for at, (start, end) in enumerate(inner, start=1)),
    ]


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()) == " ".join(other.split())
