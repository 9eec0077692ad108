"""Protobuf's wire format, as far as it takes to find the records of a file and the good parts of a damaged message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_LONGEST_VARINT: Final = 10
_MOST_FIELDS: Final = 1_000_000


class Damaged(ValueError):  # noqa: N818  reads as the condition it names
    """These bytes are no protobuf message."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: Its number.
        data: All its bytes, with its tag.
        payload: The bytes of its value, where it is text, bytes or a message; else empty.
    """

    number: int
    data: bytes
    payload: bytes


def varint(read: Callable[[int], bytes]) -> tuple[int, int] | None:
    """The next number and how many bytes it took, or None at the end.

    Args:
        read: Gives the next bytes, as a file's `read` does.

    Raises:
        Damaged: The bytes end within it, or it is longer than a number can be.
    """
    number = 0
    for size in range(1, _LONGEST_VARINT + 1):
        byte = read(1)
        if not byte:
            if size == 1:
                return None
            break
        number |= (byte[0] & 0x7F) << 7 * (size - 1)
        if byte[0] < 0x80:  # noqa: PLR2004  the bit that says that more follows
            return number, size
    raise Damaged("a number is cut off or too long")


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message.

    Raises:
        Damaged: It is none, is cut off, or has more than a million of them.
    """
    at = 0

    def read(count: int) -> bytes:
        nonlocal at
        at += count
        return data[at - count : at]

    for _ in range(_MOST_FIELDS):
        start = at
        tag = varint(read)
        if tag is None:
            return
        kind = tag[0] & 7
        payload = b""
        if kind == _VARINT:
            if varint(read) is None:
                raise Damaged("a number is missing")
        elif kind in {_FIXED32, _FIXED64}:
            at += 4 if kind == _FIXED32 else 8
        elif kind == _BYTES:
            size = varint(read)
            if size is None:
                raise Damaged("a length is missing")
            payload = read(size[0])
        else:
            raise Damaged(f"a field is of the unknown type {kind}")
        if at > len(data):
            raise Damaged("it is cut off")
        yield Field(_number(tag[0]), data[start:at], payload)
    raise Damaged(f"it has more than {_MOST_FIELDS} fields")


def _number(tag: int) -> int:
    number = tag >> 3
    if not number:
        raise Damaged("a field has the number 0")
    return number


def field(number: int, payload: bytes) -> bytes:
    """A field that holds bytes or a message."""
    return _encoded(number << 3 | _BYTES) + _encoded(len(payload)) + payload


def _encoded(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:  # noqa: PLR2004
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
