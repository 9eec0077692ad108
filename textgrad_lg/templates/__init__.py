"""The library's own prompts, one Markdown file each, and the fences around what is data in them.

A file has the sections `# system` and `# human`, and placeholders `{{name}}`. A placeholder that is a paragraph of its own
disappears, paragraph and all, where its value is empty.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from textgrad_lg.errors import TemplateError

__all__ = ["CHARS_PER_TOKEN", "FENCE", "clip", "fence", "fill", "tokens_in"]

CHARS_PER_TOKEN = 3
"""Characters counted as one token. English has about four, so a cap in tokens errs on the safe side for it."""

FENCE = re.compile(r"<<<(?:DATA [^\n<>]*|END) [0-9a-f]{8}>>>")
"""Matches a delimiter of `fence`: none may be left over in a text that a model wrote."""

_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")
_SECTION = re.compile(r"^# (system|human)[ \t]*$", re.MULTILINE)


def fill(name: str, /, **values: str) -> list[BaseMessage]:
    """The messages of the template `name`, with its placeholders filled. A value is never searched for placeholders.

    Raises:
        TemplateError: There is no such template, or a value is missing or has no place in it.
    """
    sections = _sections(name)
    wanted = {slot for _, text in sections for slot in _PLACEHOLDER.findall(text)}
    if wanted != values.keys():
        missing, unknown = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
        raise TemplateError(f"the template {name!r} is not given {missing or 'nothing'} and has no place for {unknown}")
    return [(SystemMessage if role == "system" else HumanMessage)(_filled(text, values)) for role, text in sections]


def fence(label: str, text: str, *, tokens: int) -> str:
    """`text` as data: between two delimiters that the text cannot forge, and clipped to `tokens`.

    The delimiters end in a hash of the text, taken again until it does not occur in the text: whoever wrote the text
    cannot close the fence, and the same text always gives the same request.

    Args:
        label: What the text is, in a few words; shown in the opening delimiter.
        text: Any text.
        tokens: Hard cap of the text, see `clip`.
    """
    text = clip(text, tokens)
    mark = _hash(text)
    while mark in text:
        mark = _hash(mark)
    label = " ".join(re.sub(r"[<>]", "", label).split())[:120]
    return f"<<<DATA {label} {mark}>>>\n{text}\n<<<END {mark}>>>"


def clip(text: str, tokens: int) -> str:
    """`text` in at most `tokens` tokens of `CHARS_PER_TOKEN` characters: its head, what was cut in words, its tail.

    The head gets two thirds of what is kept: a prompt's first lines say most, and its last ones are the next to count.
    """
    limit = max(tokens, 0) * CHARS_PER_TOKEN
    if len(text) <= limit:
        return text
    # The mark is made with the largest number it could have to name, so that the result never exceeds the limit.
    room = limit - len(_cut(len(text)))
    if room <= 0:
        return text[:limit]
    tail = room // 3
    head = room - tail
    return f"{text[:head]}{_cut(len(text) - room)}{text[len(text) - tail :] if tail else ''}"


def tokens_in(text: str) -> int:
    """About how many tokens `text` has, by `CHARS_PER_TOKEN`."""
    return -(-len(text) // CHARS_PER_TOKEN)


def _cut(characters: int) -> str:
    return f"\n[... {characters} characters cut ...]\n"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _filled(text: str, values: dict[str, str]) -> str:
    paragraphs = [
        paragraph
        for paragraph in text.split("\n\n")
        if not ((alone := _PLACEHOLDER.fullmatch(paragraph.strip())) and not values[alone[1]])
    ]
    return _PLACEHOLDER.sub(lambda slot: values[slot[1]], "\n\n".join(paragraphs)).strip()


@cache
def _sections(name: str) -> tuple[tuple[str, str], ...]:
    file = files(__name__).joinpath(f"{name}.md")
    if not name.isidentifier() or not file.is_file():
        raise TemplateError(f"there is no template {name!r}")
    parts = _SECTION.split(file.read_text(encoding="utf-8"))
    if parts[0].strip() or len(parts) == 1:
        raise TemplateError(f"the template {name!r} must begin with the line '# system' or '# human'")
    return tuple((role, text.strip()) for role, text in zip(parts[1::2], parts[2::2], strict=True))
