"""TraceIndex: what is needed to choose among many traces, and where to find each; what is in them is read when asked for."""

from __future__ import annotations

import logging
import math
import os
from array import array
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from textgrad_lg_tracing.readers import decode, files
from textgrad_lg_tracing.readers.files import Form
from textgrad_lg_tracing.readers.gather import trace
from textgrad_lg_tracing.readers.limits import Limits
from textgrad_lg_tracing.readers.place import Problems
from textgrad_lg_tracing.readers.scores import score
from textgrad_lg_tracing.readers.span import SourceSpan, SourceTrace

_log = logging.getLogger("textgrad_lg_tracing")
_SHOWN: Final = 200
_NEVER: Final = (1 << 63) - 1
_RECORDS_IN_MIND: Final = 8


class Entry(NamedTuple):
    """One trace of an index.

    Attributes:
        id: The trace's id.
        name: Its root's name, at most 200 characters; empty where no root was found.
        start: Unix time in nanoseconds of its first span.
        end: Unix time in nanoseconds of its last span's end.
        spans: How many spans it has, those that were written twice counted twice.
        error: The root's error, at most 200 characters; where there is no root, that of the first span that failed, else None.
        score: The lowest score that it carries, None without one.
    """

    id: str
    name: str
    start: int
    end: int
    spans: int
    error: str | None
    score: float | None


class TraceIndex:
    """Traces by number, in the order in which they begin in the files; made by `index`.

    A trace costs about 250 bytes, whatever is in it: columns, and no object of its own.

    Attributes:
        paths: The files.
    """

    def __init__(self, paths: list[Path], limits: Limits) -> None:
        self.paths = paths
        self._limits = limits
        self._numbers: dict[bytes | str, int] = {}
        self._texts: dict[str, int] = {"": 0}
        self._start = array("q")
        self._end = array("q")
        self._spans = array("I")
        self._name = array("I")
        self._error = array("I")
        self._rooted = bytearray()
        self._score = array("d")
        self._record_file = array("I")
        self._record_form = bytearray()
        self._record_number = array("Q")
        self._record_offset = array("Q")
        self._record_size = array("Q")
        # Which trace has spans in which record: pairs as they are met, then in the order of traces.
        self._pair_trace = array("I")
        self._pair_record = array("I")
        self._first = array("Q")

    def __len__(self) -> int:
        return len(self._start)

    def __contains__(self, trace_id: str) -> bool:
        return _key(trace_id) in self._numbers

    def __iter__(self) -> Iterator[Entry]:
        texts = list(self._texts)
        for key, number in self._numbers.items():
            yield self._entry(key, number, texts)

    def load(self, trace_ids: str | Iterable[str]) -> Iterator[SourceTrace]:
        """Read traces. Each record of a file is read once for those that stand in it side by side.

        Args:
            trace_ids: One id or several.

        Yields:
            The traces, in the order in which they stand in the files.

        Raises:
            KeyError: An id is not in the index.
        """
        wanted = dict.fromkeys([trace_ids] if isinstance(trace_ids, str) else trace_ids)
        numbers = {self._numbers[_key(trace_id)]: trace_id for trace_id in wanted}
        read: dict[int, dict[str, list[SourceSpan]]] = {}
        said: list[str] = []
        problems = Problems(self._limits, said.append)
        for number in sorted(numbers, key=lambda number: (self._pair_record[self._first[number]], number)):
            trace_id = numbers[number]
            spans: list[SourceSpan] = []
            for at in range(self._first[number], self._first[number + 1]):
                record = self._pair_record[at]
                if record not in read:
                    while len(read) >= _RECORDS_IN_MIND:
                        del read[next(iter(read))]
                    read[record] = _by_trace(self._read(record, problems, wanted))
                spans += read[record].get(trace_id, ())
            over = len(spans) - self._limits.trace_spans
            if over > 0:
                del spans[self._limits.trace_spans :]
                said.append(
                    f"trace {trace_id} has {over} spans more than the limit of {self._limits.trace_spans}; left out"
                )
            yield trace(trace_id, spans, [*problems.take(trace_id), *said])
            said.clear()

    def _entry(self, key: bytes | str, number: int, texts: list[str]) -> Entry:
        error, found = self._error[number], self._score[number]
        return Entry(
            key.hex() if isinstance(key, bytes) else key,
            texts[self._name[number]],
            self._start[number],
            self._end[number],
            self._spans[number],
            texts[error] if error else None,
            None if math.isnan(found) else found,
        )

    def _read(self, record: int, problems: Problems, only: Container[str]) -> list[SourceSpan]:
        path = self.paths[self._record_file[record]]
        form = Form(self._record_form[record])
        data: Any = files.again(path, form, self._record_offset[record], self._record_size[record])
        place = files.place(path, form, self._record_number[record], self._limits, problems, only)
        return decode.spans(form, data, place)

    def add(self, file: int, record: files.Record, spans: Iterable[SourceSpan]) -> None:
        """Note a record and the spans in it."""
        here = len(self._record_file)
        self._record_file.append(file)
        self._record_form.append(record.form)
        self._record_number.append(record.number)
        self._record_offset.append(record.offset)
        self._record_size.append(record.size)
        met: set[int] = set()
        for span in spans:
            number = self._number(span.trace_id)
            if number not in met:
                met.add(number)
                self._pair_trace.append(number)
                self._pair_record.append(here)
            self._note(number, span)

    def finish(self) -> None:
        """Put the places of each trace side by side."""
        first = array("Q", bytes(8 * (len(self) + 1)))
        for number in self._pair_trace:
            first[number + 1] += 1
        for number in range(len(self)):
            first[number + 1] += first[number]
        free = first[:-1]
        ordered = array("I", bytes(self._pair_record.itemsize * len(self._pair_record)))
        for number, record in zip(self._pair_trace, self._pair_record, strict=True):
            ordered[free[number]] = record
            free[number] += 1
        self._first, self._pair_record, self._pair_trace = first, ordered, array("I")

    def _number(self, trace_id: str) -> int:
        key = _key(trace_id)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._start)
            self._start.append(_NEVER)
            self._end.append(0)
            self._spans.append(0)
            self._name.append(0)
            self._error.append(0)
            self._rooted.append(False)
            self._score.append(math.nan)
        return number

    def _note(self, number: int, span: SourceSpan) -> None:
        self._spans[number] += 1
        self._start[number] = min(self._start[number], span.start)
        self._end[number] = max(self._end[number], span.end)
        if span.parent_id is None and not self._rooted[number]:
            # What a part of the trace says of failing does not count where its root says it did not.
            self._rooted[number] = True
            self._name[number] = self._text(span.name)
            self._error[number] = self._text(span.error) if span.error else 0
        elif span.error and not self._rooted[number] and not self._error[number]:
            self._error[number] = self._text(span.error)
        found = score(span)
        if found is not None and not found >= self._score[number]:
            self._score[number] = found

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text[:_SHOWN], len(self._texts))


def index(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    limits: Limits | None = None,
    report: Callable[[str], None] | None = None,
) -> TraceIndex:
    """Go through files once, and keep of each trace its id, root's name, times, error, score, and where it stands.

    Args:
        paths: A file or directory, or several, of any of the forms that `read` knows.
        limits: How much is taken in; `Limits()` unless given.
        report: Told what is wrong, as by `read`; what is wrong with a trace is told when that is loaded.

    Raises:
        DataError: A file is not there.
    """
    limits = limits or Limits()
    problems = Problems(limits, report or _log.warning)
    found = TraceIndex(files.paths([paths] if isinstance(paths, str | os.PathLike) else list(paths)), limits)
    for file, path in enumerate(found.paths):
        for record in files.records(path, limits, problems):
            place = files.place(path, record.form, record.number, limits, problems)
            found.add(file, record, decode.spans(record.form, record.data, place))
            for trace_id, texts in problems.orphans():
                if trace_id not in found:
                    for text in texts:
                        problems.add(text)
    found.finish()
    return found


def _by_trace(spans: Iterable[SourceSpan]) -> dict[str, list[SourceSpan]]:
    found: dict[str, list[SourceSpan]] = {}
    for span in spans:
        found.setdefault(span.trace_id, []).append(span)
    return found


def _key(trace_id: str) -> bytes | str:
    """A shorter form of the id, where it is one of 16 bytes."""
    if len(trace_id) == 32:  # noqa: PLR2004  hexadecimal digits of 16 bytes
        try:
            key = bytes.fromhex(trace_id)
        except ValueError:
            return trace_id
        return key if key.hex() == trace_id else trace_id
    return trace_id
