"""Planted: what feedback may have carried into a proposed text from a tool, a user or an imported trace.

Feedback is written over texts of strangers, so what they write can come out of it. Each Kind here is found by its form: these
are lists and patterns, and no proof. Words that ask for something harmful in a way that no list knows are left to the gates,
and to whoever reads the diff. What the text in force or the user's own words hold is never planted.

A text is read as a reader sees it: full-width letters and invisible ones do not hide a word, and neither do letters of
another script that look alike.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import pairwise
from string import printable

from textgrad_lg.optim.overrides import overrides


class Kind(StrEnum):
    """What a proposed text may not bring in.

    Attributes:
        ADDRESS: A URL, a domain, an IP address or an e-mail address.
        PHONE: A phone number.
        KEY: A string that looks like a key, a token or an id: known prefixes, 32 hex digits or more, high entropy.
        BLOB: Text that is encoded: base64, base32, or a row of escapes.
        HIDDEN: Characters that a reader does not see, or that change the order of what he sees.
        MARKUP: Markup that loads or runs something.
        MARKER: What a chat template or an agent takes for a turn, a role or a tool call.
        OVERRIDE: Words that lift earlier instructions, give the prompt away, or command who writes prompts.
        COPIED: Words copied out of one trace; see `optim.copied`.
        BORROWED: A sentence that a stranger says in a trace; see `optim.borrowed`.
    """

    ADDRESS = "address"
    PHONE = "phone"
    KEY = "key"
    BLOB = "blob"
    HIDDEN = "hidden"
    MARKUP = "markup"
    MARKER = "marker"
    OVERRIDE = "override"
    COPIED = "copied"
    BORROWED = "borrowed"


_TOP = "com|org|net|info|biz|io|ai|dev|app|xyz|edu|gov|mil|onion|uk|de|fr|eu|ru|cn|jp|ch|nl|br|kr|tw|hk|tk|gg|cc"
"""Top-level domains that count without a scheme or a path. Those that are also words, or ends of file names, do not."""

# Each alternative starts where a word starts, so that a long text without any match is read once and not once a letter.
_ADDRESS = re.compile(
    rf"""
      (?<![\w.+-]) [\w.+-]+ @ [\w-]+ (?:\.[\w-]+)+                          # an e-mail address
    | (?<![\w.+-]) [a-z][a-z0-9+.-]* :// [^\s<>"'`]+                        # any scheme
    | (?<!\w) (?:mailto|tel|javascript) : [^\s<>"'`]+
    | (?<![\w.-]) www \. [\w-]+ (?:\.[\w-]+)* (?:/[^\s<>"'`]*)?
    | (?<![\w.-]) (?:[\w-]+\.)+ (?:{_TOP}) (?![\w.-]*\w) (?:/[^\s<>"'`]*)?
    | (?<![\w.-]) (?:[\w-]+\.)+ [a-z]{{2,}} /[^\s<>"'`]+                    # a bare host with a path
    | (?<![\w.]) \d{{1,3}} (?:\.\d{{1,3}}){{3}} (?![\w.]*\w)                # an IP address
    | (?<![\w:.]) (?=[0-9a-f:]*\d) (?:(?:[0-9a-f]{{1,4}}:){{7}}[0-9a-f]{{1,4}}
        | (?:[0-9a-f]{{1,4}}:){{1,6}} (?::[0-9a-f]{{1,4}}){{1,6}}) (?![\w:])   # version 6 of it
    """,
    re.VERBOSE | re.IGNORECASE,
)
_DOT = re.compile(
    rf"(?:\[\.\]|\(\.\)|\{{\.\}}|[ ]?[\[(]dot[\])][ ]?|[ ]dot[ ])(?=[\w-]+(?:\.|[ ]dot[ ])|(?:{_TOP})\b)", re.IGNORECASE
)
"""A dot of an address that is written otherwise, as in `name[.]com` and `name dot com`."""

_PHONE = re.compile(
    r"""
      (?<![\w+]) \+ \d (?:[\s().-]{0,2}\d){7,14} (?!\d)                     # with the code of a country
    | (?<![\w.,-]) \(?\d{3}\)? [\s.-] \d{3} [\s.-] \d{4} (?![\w-])          # as in 555 010 0199
    | (?<![\w.,-]) 0\d{2,4} [\s/-] \d{3,4} (?:[\s-]?\d{2,4}){1,2} (?![\w-])
    | (?<![\w.,-]) 1[-. ]8\d\d[-. ][A-Z0-9]{3}-?[A-Z0-9]{4} (?![\w-])
    | \b(?:call|phone|telephone|dial|fax|whats\s?app|sms)\b [^\n\d]{0,20} (?<!\d)\d (?:[\s().-]{0,2}\d){6,13} (?!\d)
    """,
    re.VERBOSE | re.IGNORECASE,
)

_KEY = re.compile(
    r"""
      \b (?:sk|pk|rk|lsv2|gsk|xai|hf|ghp|gho|ghs|glpat|npm|pypi|xox[abprs]|dop_v1) [-_] [\w-]{8,}
    | \b github_pat_\w{8,}
    | \b (?:AKIA|ASIA|AGPA|AIDA|AROA) [0-9A-Z]{12,}
    | \b AIza [\w-]{20,}
    | \b eyJ [\w-]{6,} \. [\w-]+ (?:\.[\w-]*)?                              # a JSON web token
    | -----BEGIN [A-Z ]*KEY-----
    | (?<![0-9A-Za-z]) (?:0x)? (?=[A-Fa-f]*[0-9]) [0-9A-Fa-f]{32,} (?![0-9A-Za-z])
    | (?<![0-9A-Za-z]) [0-9A-Fa-f]{8} (?:-[0-9A-Fa-f]{4}){3} - [0-9A-Fa-f]{12} (?![0-9A-Za-z])
    """,
    re.VERBOSE,
)
_LABELLED = re.compile(
    r"(?i)\b(?:api[ _-]?key|secret|pass(?:word|wd|phrase|code)|access[ _-]?(?:key|code)|auth[ _-]?token|token|bearer)\b"
    r"[\"'`]?\s{0,3}(?:is|=|:)?\s{0,3}[\"'`]?(?P<value>[^\s\"'`,;]{8,})"
)
_TOKEN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{20,}(?![A-Za-z0-9])")
_CHANGES = 0.27
"""Changes between capitals, small letters and digits, a character, from which a token is no name any more: names change with
each word, that is once in five letters, and random ones at every second."""

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])(?P<body>[A-Za-z0-9+/_-]{16,})={0,2}(?![A-Za-z0-9+/_=-])")
_ESCAPED = re.compile(
    r"(?:\\x[0-9A-Fa-f]{2}|%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|&\#x?[0-9A-Fa-f]{2,5};){6,}"
    r"|(?:\b[01]{8}\b[ ]?){6,}|(?:\b[0-9A-Fa-f]{2}\b[ ]){11,}|(?<![A-Z0-9])[A-Z2-7]{40,}={0,6}|;base64,"
)
_ASCII, _LONG_BLOB = frozenset(printable), 40
_READABLE = 0.9
"""Part of the bytes that are ASCII text, from which something decoded was meant to be read."""

_MARKUP = re.compile(
    r"""
      !\[ [^\]\n]{0,500} \] [(\[]                                           # an image in Markdown
    | (?:<|&lt;) \s{0,3} (?:script|img|iframe|frame|embed|svg|video|audio|applet|marquee)\b
    | (?:<|&lt;) \s{0,3} \w{1,20} \s [^<>]{0,500}? \b (?:src|srcset|href|poster|formaction|background|on[a-z]{3,20}) \s{0,3} =
    | \b url \s{0,3} \( \s{0,3} ["']? (?: \w+: | //)
    | @import \b
    | <!-- (?!\s*/?frozen\s*-->)                                           # a reader of what it is rendered to does not see it
    """,
    re.VERBOSE | re.IGNORECASE,
)

_MARKER = re.compile(
    r"""
      <\|{1,2} [^|<>\n]{1,40} \|{1,2}>                                      # as in ChatML
    | \[ /? INST \] | << /? SYS >> | </?s> | \[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]
    | </? (?:start|end)_of_turn > | <(?:bos|eos)>
    | </? (?:system|assistant|developer|system[_-]?(?:prompt|message|reminder)|tool[_-]?(?:call|use|result|response)s?
        |function[_-]?(?:call|result|response)s?|invoke|antml:\w+) (?:\s[^<>]{0,200})? >
    | (?:^|(?<=[.:;!?>)\]][ ])) [ \t]* (?:[*_]{2})? (?:system|developer|assistant|human)
        (?:\s(?:message|prompt|override|note|notice))? (?:[*_]{2})? \s? : (?:[*_]{2})?
    | (?<![^\s*_]) \#{1,6} [ \t]* (?:system|instruction|response|human|user|assistant) [ \t]* :
    | ^ \#{1,6} [ \t]* (?:human|assistant) [ \t]* $
    | ^ [ \t]* Action\ Input: | ```[ ]?tool_(?:code|call)
    | ["']role["'] \s{0,3} : \s{0,3} ["'](?:system|developer|assistant|user|tool|function)["']
    | ["'](?:tool_calls?|function_call|tool_use)["'] \s{0,3} :
    | ["']name["'] \s{0,3} : \s{0,3} ["'][^"'\n]{1,80}["'] \s{0,3} , \s{0,3} ["'](?:arguments|parameters|args)["'] \s{0,3} :
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)

_JOINERS = "\u200c\u200d\u00ad"
"""Invisible, and part of ordinary writing: Persian, Indic scripts and emoji need the joiners, German the soft hyphen."""
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u2028\u2029\u2800\u3164\uffa0"
_UNSEEN = ("Cc", "Cf", "Cs", "Co")
_SMUGGLED = re.compile(
    "[\u200c\u200d\u00ad]{2,}|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}|(?<=[A-Za-z\\s])[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Rows of what is harmless one at a time: bits can be written with them."""

_WHAT: Mapping[Kind, str] = {
    Kind.ADDRESS: "{}",
    Kind.PHONE: "the phone number {}",
    Kind.KEY: "what looks like a key, {}",
    Kind.BLOB: "the encoded text {}",
    Kind.MARKUP: "markup that loads or runs something, {}",
    Kind.MARKER: "what a model may take for a turn or a tool call, {}",
    Kind.OVERRIDE: "an instruction about instructions, “{}”",
}
_SHOWN = 60
"""Characters of what was planted that the reason shows."""


def planted(
    new: str, known: Callable[[], Iterable[str]], allow: Iterable[str] = (), *, of: str = "the new text"
) -> Iterator[tuple[Kind, str]]:
    """What `new` brings in that `known` does not hold: of each Kind the first, with the reason in words.

    Args:
        new: The proposed text.
        known: Gives the text in force, and texts by the user (goal, constraints); what they hold may stay. Asked only where
            there is something to be excused.
        allow: Kinds that are not looked for.
        of: What `new` is, for the reason.
    """
    allow = set(allow)
    if Kind.HIDDEN not in allow:
        yield from ((Kind.HIDDEN, f"{of} holds {reason}") for reason in _hidden(known, new))
    plain = _plain(new)
    for kind, find in _FINDERS.items():
        found = [] if kind in allow else list(dict.fromkeys(find(plain)))
        held = {_same(item) for text in known() for item in find(_plain(text))} if found else set[str]()
        fresh = next((item for item in found if _same(item) not in held), None)
        if fresh is not None:
            yield kind, f"{of} brings in {_WHAT[kind].format(_shown(fresh))}, {_NEITHER}"


_NEITHER = "which is neither in the old text nor in your own words"


def _hidden(known: Callable[[], Iterable[str]], new: str) -> Iterator[str]:
    strange = sorted({char for char in new if _is_unseen(char)})
    row = _SMUGGLED.search(new)
    if strange:
        seen = {char for text in known() for char in text}
        strange = [char for char in strange if char not in seen]
    if strange:
        yield f"control characters: {_codes(strange)}"
    if row and not any(row[0] in text for text in known()):
        yield f"invisible characters in a row: {_codes(row[0][:4])}"


def _codes(chars: Iterable[str]) -> str:
    return ", ".join(f"U+{ord(char):04X}" for char in chars)


def _is_unseen(char: str) -> bool:
    if char in "\n\t\r" or char in _JOINERS:
        return False
    return char in _BLANK or unicodedata.category(char) in _UNSEEN


def _plain(text: str) -> str:
    """The text as a reader would see it."""
    if text.isascii():
        return text
    return "".join(
        char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) not in ("Cf", "Co")
    )


def _same(found: str) -> str:
    return " ".join(found.split()).casefold()


def _shown(found: str) -> str:
    said = " ".join(found.split())
    return said if len(said) <= _SHOWN else f"{said[: _SHOWN - 1]}…"


def _matches(pattern: re.Pattern[str]) -> Callable[[str], Iterator[str]]:
    return lambda text: (found[0] for found in pattern.finditer(text))


def _addresses(text: str) -> Iterator[str]:
    for found in _ADDRESS.finditer(_refanged(text)):
        yield found[0].rstrip(".,;:!?)]}*_").casefold()


def _refanged(text: str) -> str:
    """Addresses as they are meant, where they are written so that nobody follows them."""
    text = re.sub(r"[\[({]([:/.@]|://)[\])}]", r"\1", text)
    return _DOT.sub(".", re.sub(r"(?i)\bhxxp", "http", text))


def _keys(text: str) -> Iterator[str]:
    yield from _matches(_KEY)(text)
    for found in _LABELLED.finditer(text):
        value = found["value"].rstrip(".)")
        if any(map(str.isdigit, value)) and any(map(str.isalpha, value)) and "{" not in value and "<" not in value:
            yield value
    yield from (found[0] for found in _TOKEN.finditer(text) if _is_random(found[0]))


def _is_random(token: str) -> bool:
    """Whether a token changes between kinds of characters more often than a name does; a capital begins a word."""
    kinds = "".join("d" if char.isdigit() else "u" if char.isupper() else "l" for char in token)
    changes = sum(one != other and (one, other) != ("u", "l") for one, other in pairwise(kinds))
    return "d" in kinds and changes >= _CHANGES * len(token)


def _blobs(text: str) -> Iterator[str]:
    yield from _matches(_ESCAPED)(text)
    for found in _BASE64.finditer(text):
        if _decodes(found["body"]):
            yield found[0]


def _decodes(body: str) -> bool:
    """Whether base64 hides text, or is long and looks like nothing else."""
    body = body.replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(body[: len(body) - len(body) % 4], validate=True)
    except binascii.Error:
        return False
    readable = sum(chr(byte) in _ASCII for byte in data)
    if readable >= _READABLE * len(data):
        return True
    return len(body) >= _LONG_BLOB and _is_random(body.replace("/", "").replace("+", ""))


_FINDERS: Mapping[Kind, Callable[[str], Iterator[str]]] = {
    Kind.ADDRESS: _addresses,
    Kind.PHONE: _matches(_PHONE),
    Kind.KEY: _keys,
    Kind.BLOB: _blobs,
    Kind.MARKUP: _matches(_MARKUP),
    Kind.MARKER: _matches(_MARKER),
    Kind.OVERRIDE: overrides,
}
