"""Texts to try in the place of a Parameter's, to see whether the score depends on it: one that says nothing, one that moves it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from textgrad_lg.descriptions import is_description
from textgrad_lg.optim.edit import check, frozen_spans
from textgrad_lg.optim.sections import sections
from textgrad_lg.site import TOOLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgrad_lg.prompt import Template
    from textgrad_lg.site import Site

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)")
_WORD = re.compile(r"\S+")


def neutral(site: Site, template: Template) -> Template | None:
    """The text without what it says: its slots, what is frozen in it, and no demonstration; None where it says no more.

    Where nothing is left, a few words stand in for it, because a text must not be empty.
    """
    text = template.text
    kept = [text[start:end] for start, end in frozen_spans(text)]
    kept += [f"{{{slot}}}" for slot in template.slots if not any(f"{{{slot}}}" in part for part in kept)]
    new = replace(template, text="\n".join(kept) or _nothing(site), demos=())
    return new if check(template, new) is None else None


def moved(template: Template) -> tuple[Template | None, str]:
    """The same text a little otherwise, made by code, and how it was made; None for the text where code has no way to.

    The first of its parts goes to the end: sections, or else sentences. A single sentence is cut to its first half, and
    keeps its slots.
    """
    text = template.text
    frozen = frozen_spans(text)
    parts = [(part.start, part.end) for part in sections(text, frozen)]
    how = "its sections in another order"
    if len(parts) == 1:
        how = "its sentences in another order"
        start, end = parts[0]
        cuts = [
            match.span() for match in _SENTENCE.finditer(text, start, end) if not _inside(match.span(), frozen, text)
        ]
        parts = [*zip([start, *(cut[1] for cut in cuts)], [*(cut[0] for cut in cuts), end], strict=True)]
    new = _turned(text, parts)
    if len(parts) <= 1:
        how, new = "its first half", _halved(template)
    made = replace(template, text=new)
    return made if check(template, made) is None else None, how


def _nothing(site: Site) -> str:
    if not is_description(site):
        return "Do your task."
    return "A tool." if site.path[0].startswith(TOOLS) and site.role == "description" else "A value."


def _turned(text: str, parts: Sequence[tuple[int, int]]) -> str:
    """The text with its first part behind the last, and the white space between parts where it was."""
    words = [text[start:end] for start, end in parts]
    edges = [0, *(at for part in parts for at in part), len(text)]
    gaps = [text[edges[at] : edges[at + 1]] for at in range(0, len(edges), 2)]
    return gaps[0] + "".join(word + gap for word, gap in zip([*words[1:], *words[:1]], gaps[1:], strict=True))


def _halved(template: Template) -> str:
    words = [match.end() for match in _WORD.finditer(template.text)]
    half = template.text[: words[(len(words) - 1) // 2]] if words else ""
    lost = [f"{{{slot}}}" for slot in template.slots if f"{{{slot}}}" not in half]
    return "\n".join([half, *lost])


def _inside(cut: tuple[int, int], frozen: Sequence[tuple[int, int]], text: str) -> bool:
    """Whether a cut would take a frozen span or a block of code apart."""
    return any(start < cut[1] and cut[0] < end for start, end in frozen) or text[: cut[0]].count("```") % 2 == 1
