"""The library's own prompts, one Markdown file each, and the fences around what is data in them.

A file has the sections `# system` and `# human`, and placeholders `{{name}}`. A placeholder that is a paragraph of its own
disappears, paragraph and all, where its value is empty.

A fence cannot be broken out of in three ways that do not depend on each other. Its mark does not occur in the text. What looks
like a delimiter in the text, with any mark, is taken apart. And under `guarded` the marks are made with a secret of the run,
which whoever wrote an old trace could not know, and the text is a JSON string: one line in which nothing is hidden.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from textgrad_lg.errors import TemplateError

__all__ = ["CHARS_PER_TOKEN", "FENCE", "clip", "fence", "fill", "guarded", "named", "tokens_in", "tokens_shown"]

CHARS_PER_TOKEN = 3
"""Characters counted as one token. English has about four, so a cap in tokens errs on the safe side for it."""

FENCE = re.compile(r"<<<(?:DATA [^\n<>]*|END) (?:[0-9a-f]{8}|[0-9a-f]{16})>>>")
"""Matches a delimiter of `fence`: none may be left over in a text that a model wrote."""

_GAP = r"[\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]{0,3}"
_BRACKET = "[<\uff1c\ufe64\u2039\u00ab\u27e8\u3008\u300a\u226a]"
_FORGED = re.compile(rf"(?:{_BRACKET}{_GAP}){{2,8}}(?=(?:DATA|END)\b)", re.IGNORECASE)
"""What a reader may take for the beginning of a delimiter."""
_NAME = 120
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Categories of characters that a reader does not see."""

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


@dataclass(frozen=True, slots=True)
class _Guard:
    """How fences are made in a context."""

    secret: str = ""
    quote: bool = False


_GUARD: ContextVar[_Guard | None] = ContextVar("textgrad_lg_fences", default=None)


@contextmanager
def guarded(secret: str, *, quote: bool = True) -> Generator[None]:
    """Within it, fences have marks that nobody can compute who does not know `secret`, and hold JSON strings.

    The same secret gives the same requests, byte for byte. Fences that are made outside have marks that are a hash of the text
    alone; that is enough for texts of the user's own, because a text that looks like a delimiter is taken apart anyway.

    Args:
        secret: Anything that strangers could not know when they wrote: a run's seed and id, say.
        quote: Whether texts are shown as JSON strings, in which no line can begin anew and no character is invisible. Texts
            that a model has to quote or to write anew (`fence(exact=True)`) are shown as they are in any case.
    """
    token = _GUARD.set(_Guard(secret, quote))
    try:
        yield
    finally:
        _GUARD.reset(token)


def fence(label: str, text: str, *, tokens: int, exact: bool = False) -> str:
    """`text` as data: between two delimiters that the text cannot forge, and clipped to `tokens`.

    The delimiters end in a hash of the text, taken again until it does not occur in the text, and no other delimiter occurs
    in it either: whoever wrote the text cannot close the fence. The same text always gives the same request, and a
    different one under another secret, see `guarded`.

    Args:
        label: What the text is, in a few words; shown in the opening delimiter.
        text: Any text.
        tokens: Hard cap of the text, see `clip`.
        exact: Whether the text has to be shown letter by letter, because a model is to quote it or to write it anew: a
            text in force, say. Only a whole delimiter is taken apart in it then.
    """
    guard = _GUARD.get() or _Guard()
    text = _quoted(text, tokens) if guard.quote and not exact else clip(_apart(text, exact=exact), tokens)
    mark = _hash(text, guard.secret)
    while mark in text:
        mark = _hash(mark, guard.secret)
    label = named(re.sub(r"[<>]", "", label))
    return f"<<<DATA {label} {mark}>>>\n{text}\n<<<END {mark}>>>"


def named(name: str) -> str:
    """A name as a request may show it outside of a fence: one line of at most 120 characters, all of which are seen.

    Names of nodes and tools are the application's, but those of an imported trace are whatever its sender says.
    """
    return " ".join(_apart(visible(name)).split())[:_NAME]


def visible(text: str) -> str:
    """The text with a blank in the place of each character that no reader sees."""
    return "".join(char if unicodedata.category(char) not in _UNSEEN else " " for char in text)


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


def tokens_shown(text: str) -> int:
    """About how many tokens a fence takes to show all of `text`; more than it has where texts are quoted, see `guarded`."""
    guard = _GUARD.get() or _Guard()
    return tokens_in(_spelled(text) if guard.quote else text)


def _cut(characters: int) -> str:
    return f"\n[... {characters} characters cut ...]\n"


def _apart(text: str, *, exact: bool = False) -> str:
    """The text, with blanks in what looks like a delimiter. Never longer than it was by more than those."""
    if exact:
        return FENCE.sub(lambda found: f"< < <{found[0][3:]}", text)
    return _FORGED.sub(lambda found: " ".join("<" * len(re.findall(_BRACKET, found[0]))) + " ", text)


def _quoted(text: str, tokens: int) -> str:
    """The text as a JSON string in at most `tokens`, with what a reader would not see spelled out."""
    limit, room = max(tokens, 0) * CHARS_PER_TOKEN, tokens
    while True:
        # Clipped before it is quoted, so that what is shown is a whole JSON string; less of it where quoting made it longer.
        said = _spelled(clip(text, room))
        if len(said) <= limit or room <= 0:
            return said[:limit]
        room = min(room - 1, room * limit // len(said))


def _spelled(text: str) -> str:
    return "".join(map(_visible, json.dumps(_apart(text), ensure_ascii=False)))


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _UNSEEN:
        return char
    return json.dumps(char)[1:-1]


def _hash(text: str, secret: str) -> str:
    """Without a secret anybody can compute the mark, however long it is."""
    if not secret:
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    key = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=8).hexdigest()


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
