"""Framing: where in a file of OTLP protobuf each message begins, in whichever of three ways they follow each other.

One `TracesData` of the whole file is taken apart into its `ResourceSpans`, which read as `TracesData` too, with their tag. Or
each message has its length before it: as a varint, or, as a collector's file exporter writes it, in four bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BufferedIOBase
from typing import Final

from textgrad_lg_tracing.readers import wire

_TAG: Final = 0x0A  # field 1, bytes: with it TracesData begins, and so does each export request
_LENGTH: Final = 4


def frames(stream: BufferedIOBase, head: bytes, most: int) -> Iterator[tuple[int, int]]:
    """Offset and size of each message; the stream stands at it when it is given out, and may be read or not.

    Args:
        stream: The file, at its beginning.
        head: Its first bytes.
        most: How many bytes of the file may be read.

    Raises:
        Damaged: It goes on with what is no message, ends within one, or goes beyond `most`.
    """
    single = head[0] == _TAG
    fixed = not single and head[_LENGTH : _LENGTH + 1] == bytes([_TAG])
    length = _fixed if fixed else wire.varint
    offset = 0
    while True:
        stream.seek(offset)
        before = 0
        if single:
            tag = wire.varint(stream.read)
            if tag is None:
                return
            if tag[0] != _TAG:
                raise wire.Damaged(f"at byte {offset} there is no OTLP trace data")
            before = tag[1]
        found = length(stream.read)
        if found is None:
            if single:
                raise wire.Damaged(f"it ends at byte {offset + before}, within a message")
            return
        size, width = found
        end = offset + before + width + size
        if end > most:
            raise wire.Damaged(f"at byte {offset} it goes beyond {most} bytes")
        if single:
            stream.seek(offset)
            yield offset, end - offset
        else:
            yield end - size, size
        offset = end


def _fixed(read: Callable[[int], bytes]) -> tuple[int, int] | None:
    length = read(_LENGTH)
    return (int.from_bytes(length, "big"), _LENGTH) if len(length) == _LENGTH else None
