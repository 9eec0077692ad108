"""Files as records: lines of JSON, one JSON document, protobuf messages, batches of Parquet rows; gzip is seen through.

A record is found again by its file, offset and size, so an index need not keep what was in it.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Container, Iterator
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from textgrad_lg.errors import DataError
from textgrad_lg_tracing.readers import framing, parquet, wire
from textgrad_lg_tracing.readers.extra import needed
from textgrad_lg_tracing.readers.limits import Limits
from textgrad_lg_tracing.readers.place import Place, Problems

if TYPE_CHECKING:
    _Stream = io.BufferedReader[Any] | gzip.GzipFile

_GZIP: Final = b"\x1f\x8b"
_PARQUET: Final = b"PAR1"
_BOM: Final = b"\xef\xbb\xbf"
_PIECE: Final = 1 << 20
_HEAD: Final = 64
_SUFFIXES: Final = {".json", ".jsonl", ".ndjson", ".parquet", ".pb", ".binpb", ".bin", ".otlp", ".gz"}


class Form(IntEnum):
    """What a record is."""

    JSON = 0
    PROTO = 1
    PARQUET = 2

    @property
    def unit(self) -> str:
        """What the records of a file are counted in."""
        return ("line", "message", "row")[self]


class Record(NamedTuple):
    """A part of a file that can be read by itself.

    Attributes:
        form: What it is.
        offset: Where it begins, in bytes after decompression; of Parquet the row group.
        size: How long it is; of Parquet the batch in the row group.
        number: Which line, message or row of the file it begins with, from 1.
        data: Its bytes; of Parquet its rows.
    """

    form: Form
    offset: int
    size: int
    number: int
    data: Any


def paths(given: list[str | os.PathLike[str]]) -> list[Path]:
    """The files that are meant, those of a directory in the order of their names.

    Raises:
        DataError: There is no such file, or nothing of a known suffix in a directory.
    """
    found: list[Path] = []
    for item in given:
        path = Path(item)
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
            if not inside:
                raise DataError(f"{path} holds no file of spans; known are {', '.join(sorted(_SUFFIXES))}.")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"There is no file {path} to read spans from.")
    return found


def records(path: Path, limits: Limits, problems: Problems) -> Iterator[Record]:
    """The records of a file, one after the other; what cannot be read is said."""
    name = str(path)
    try:
        with _opened(path) as stream:
            head = stream.read(_HEAD)
            stream.seek(0)
            if head.startswith(_PARQUET):
                yield from _rows(path)
            elif _is_json(head):
                yield from _json(stream, name, limits, problems)
            elif head:
                yield from _messages(stream, head, name, limits, problems)
            else:
                problems.add(f"{name}: the file is empty")
    except (EOFError, OSError, zlib.error) as error:
        problems.add(f"{name}: the file cannot be read any further ({type(error).__name__}: {error})")
    except (wire.Damaged, parquet.Unreadable) as error:
        problems.add(f"{name}: {error}; the rest was not read")
    problems.end_file(name)


def again(path: Path, form: Form, offset: int, size: int) -> Any:
    """The data of a record that was read before."""
    if form is Form.PARQUET:
        found: list[Any] = []
        return next((rows for _, batch, rows in parquet.batches(path, group=offset) if batch == size), found)
    with _opened(path) as stream:
        stream.seek(offset)
        return stream.read(size)


def place(  # noqa: PLR0917  the parts of a record
    path: Path, form: Form, number: int, limits: Limits, problems: Problems, only: Container[str] | None = None
) -> Place:
    """Where a record stands, for messages; `only` names the traces of it that are wanted."""
    return Place(f"{path}, {form.unit} {number}", limits, problems, only)


def _opened(path: Path) -> _Stream:
    # A large buffer, because a long line is looked through for its end a buffer at a time.
    plain = io.BufferedReader(io.FileIO(path), _PIECE)
    if plain.read(2) == _GZIP:
        plain.close()
        return gzip.open(path, "rb")
    plain.seek(0)
    return plain


def _is_json(head: bytes) -> bool:
    text = head.removeprefix(_BOM).lstrip()
    # A message may well begin with what reads as a line break and a brace: in text, there are no control characters.
    return text[:1] in {b"{", b"["} and not any(byte < 0x20 and byte not in b"\t\n\r" for byte in head)  # noqa: PLR2004


def _json(stream: _Stream, name: str, limits: Limits, problems: Problems) -> Iterator[Record]:
    document = _document(stream, limits)
    if document is not None:
        yield Record(Form.JSON, 0, len(document), 1, document)
        return
    stream.seek(0)
    offset = number = 0
    while line := stream.readline(limits.record_bytes + 1):
        number += 1
        size = len(line)
        whole = size <= limits.record_bytes
        if not whole and not line.endswith(b"\n"):
            size += _skip_line(stream, limits.file_bytes - offset - size)
        if offset + size > limits.file_bytes:
            problems.add(
                f"{name}, line {number}: the file has more than {limits.file_bytes} bytes; the rest was not read"
            )
            return
        if not whole:
            problems.add(
                f"{name}, line {number}: left out, it has {size} bytes (Limits.record_bytes is {limits.record_bytes})"
            )
        elif not line.isspace():
            yield Record(Form.JSON, offset, size, number, line)
        offset += size


def _skip_line(stream: _Stream, most: int) -> int:
    """Go to the end of a line, but not much further than `most` bytes; how many bytes that was."""
    size = 0
    while size <= most and (piece := stream.peek(_PIECE)):
        end = piece.find(b"\n") + 1
        size += len(stream.read(end or len(piece)))
        if end:
            break
    return size


def _document(stream: _Stream, limits: Limits) -> bytes | None:
    """The whole file if it is one JSON document on several lines; None if it is lines, each a document."""
    with needed("reading JSON"):
        import orjson

    first = stream.readline(min(limits.record_bytes, _PIECE))
    try:
        orjson.loads(first.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        pass
    else:
        return None
    if len(first) == _PIECE and not first.endswith(b"\n"):
        return None
    data = first + stream.read(limits.record_bytes + 1 - len(first))
    if len(data) > limits.record_bytes:
        return None
    try:
        orjson.loads(data.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        return None
    return data


def _messages(stream: _Stream, head: bytes, name: str, limits: Limits, problems: Problems) -> Iterator[Record]:
    for number, (offset, size) in enumerate(framing.frames(stream, head, limits.file_bytes), 1):
        if size > limits.record_bytes:
            problems.add(
                f"{name}, message {number}: left out, it has {size} bytes (Limits.record_bytes is {limits.record_bytes})"
            )
            continue
        data = stream.read(size)
        if len(data) < size:
            raise wire.Damaged(f"message {number} is cut off")
        yield Record(Form.PROTO, offset, size, number, data)


def _rows(path: Path) -> Iterator[Record]:
    number = 1
    for group, batch, rows in parquet.batches(path):
        yield Record(Form.PARQUET, group, batch, number, rows)
        number += len(rows)
