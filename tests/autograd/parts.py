"""The parts of a request, read back from it."""

from __future__ import annotations

import re

from textgrad_lg.templates import tokens_in

_PART = re.compile(
    r"<<<DATA (?P<label>[^\n]*?) (?P<mark>[0-9a-f]{8})>>>\n(?P<text>.*?)\n<<<END (?P=mark)>>>", re.DOTALL
)


def parts(request) -> dict[str, str]:
    """What a request holds as data: label to text."""
    return {found["label"]: found["text"] for found in _PART.finditer(request.messages[-1].text)}


def part(request, start: str) -> str:
    """The part whose label begins with `start`; empty where there is none."""
    return next((text for label, text in parts(request).items() if label.startswith(start)), "")


def tokens(request) -> int:
    """The size of a request, as the caps count it."""
    return tokens_in("".join(message.text for message in request.messages))


def step(request) -> str:
    """The name of the step that a request is about."""
    return re.search(r"The (?:step to criticise is|evaluation is)[^`]*`([^`]*)`", request.messages[-1].text)[1]
