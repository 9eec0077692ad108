"""Images as values: bytes or a URL, as the content block of a chat message."""

from __future__ import annotations

import base64
from typing import Any

from textgrad_lg.variable import text_of

_SIGNATURES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


def block(value: bytes | dict[str, Any]) -> dict[str, Any]:
    """An image as a content block in LangChain's form; what is one already is returned as it is.

    Raises:
        ValueError: The bytes are none of JPEG, PNG, GIF and WebP.
    """
    if isinstance(value, dict):
        return value
    return {"type": "image", "base64": base64.b64encode(value).decode(), "mime_type": mime_type(value)}


def mime_type(data: bytes) -> str:
    """The type of an image, from its first bytes.

    Raises:
        ValueError: It is none of JPEG, PNG, GIF and WebP.
    """
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature) and (name != "image/webp" or data[8:12] == b"WEBP"):
            return name
    raise ValueError(
        f"the {len(data)} bytes begin with {data[:8]!r} and are no JPEG, PNG, GIF or WebP image; bytes are taken for images, "
        "so decode a text first"
    )


def shown(value: Any) -> str:
    """A value as a person would read it; an image as its kind and size."""
    return f"[{mime_type(value)}, {len(value)} bytes]" if isinstance(value, bytes) else text_of(value)
