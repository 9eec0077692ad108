"""Secrets: what looks like a credential is masked in all content, whatever else is shown of it.

The text of a failed request often quotes its headers, and a graph's state may hold a key. No redactor of the user has to
think of these.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "[secret]"

_NAMES = (
    r"(?:proxy-)?authorization|(?:set-)?cookie|x-[a-z0-9-]*(?:key|token|secret)|"
    r"(?:[a-z0-9]+[-_])*api[-_ ]?key|(?:access|auth|refresh|session)[-_]token|client[-_]secret|password|passwd"
)
_NAME = re.compile(_NAMES, re.IGNORECASE)
_NAMED = re.compile(
    rf"\b({_NAMES})((?:\\?[\"'])?\s*[:=]\s*(?:b?\\?[\"'])?)(?!(?:\w+\s+)?\[secret\])((?:bearer|basic|token)\s+)?[^\s\"'\\,;&}}\])]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)(?=[a-z._~+/=-]*\d)[a-z0-9._~+/=-]{12,}", re.IGNORECASE)
_KEYS = re.compile(
    r"\b(?:sk|pk|rk|lsv2|xox[abprs]|gh[opsu]|github_pat|glpat|hf|AIza|AKIA)[-_A-Z](?=[\w-]*\d)[\w-]{14,}"
)
_USER = re.compile(r"(\w://)[^\s/@]+@")


def named(key: str) -> bool:
    """Whether a header or a field of this name holds a credential."""
    return _NAME.fullmatch(key.strip()) is not None


def mask(text: str) -> str:
    """The text with what looks like a credential replaced by `MASK`."""
    text = _NAMED.sub(lambda found: f"{found[1]}{found[2]}{found[3] or ''}{MASK}", text)
    text = _BEARER.sub(lambda found: found[1] + MASK, text)
    text = _USER.sub(lambda found: f"{found[1]}{MASK}@", text)
    return _KEYS.sub(MASK, text)
