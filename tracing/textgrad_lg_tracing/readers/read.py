"""read: whole traces, one after the other, from files or from what a backend's client has returned."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, cast

from textgrad_lg_tracing.readers import decode, files, recognise, values
from textgrad_lg_tracing.readers.gather import Gathering
from textgrad_lg_tracing.readers.index import TraceIndex
from textgrad_lg_tracing.readers.limits import Limits
from textgrad_lg_tracing.readers.place import Place, Problems
from textgrad_lg_tracing.readers.span import SourceTrace

Source = str | os.PathLike[str] | Mapping[str, Any] | Iterable[Any]
"""A file or directory, several of these; what a backend's client has returned: runs, spans, traces, as objects or as parsed
JSON; or what `TraceIndex.load` gives, or the whole index."""

_log = logging.getLogger("textgrad_lg_tracing")


def read(
    source: Source, *, limits: Limits | None = None, report: Callable[[str], None] | None = None
) -> Iterator[SourceTrace]:
    """Read traces, each once and whole, however its spans are spread over lines and files.

    Files are gone through twice: first for where each trace ends, then for the traces. What a client has returned is gone
    through once, and traces come when it is at its end.

    Args:
        source: An index, or what it loads; or OTLP as JSON lines or protobuf, Jaeger's, LangSmith's, Phoenix's, MLflow's or Langfuse's JSON, LangSmith's
            bulk export as Parquet; each of the files may be compressed with gzip. What it is, is seen from its content.
        limits: How much is taken in; `Limits()` unless given.
        report: Told what was wrong with no trace that could be named, such as a damaged line, in words that name file
            and line; otherwise it is logged as a warning.

    Yields:
        The traces, in the order in which they end.

    Raises:
        DataError: A file is not there.
    """
    limits = limits or Limits()
    problems = Problems(limits, report or _log.warning)
    gathering = Gathering(limits, problems)
    paths, items = _sorted_out(source)
    yield from _of_files(files.paths(paths), limits, problems, gathering)
    yield from _of_objects(items, limits, problems, gathering)
    yield from gathering.rest()
    for _, texts in problems.orphans():
        for text in texts:
            problems.add(text)


def _of_files(paths: list[Path], limits: Limits, problems: Problems, gathering: Gathering) -> Iterator[SourceTrace]:
    ending = _endings(paths, limits)
    number = 0
    for path in paths:
        for record in files.records(path, limits, problems):
            place = files.place(path, record.form, record.number, limits, problems)
            gathering.add(decode.spans(record.form, record.data, place))
            for trace_id in ending.pop(number, ()):
                yield from gathering.take(trace_id)
            yield from gathering.surplus()
            number += 1


def _endings(paths: list[Path], limits: Limits) -> dict[int, list[str]]:
    """Which traces end with which record; those of one record in the order in which they began."""
    last: dict[str, int] = {}
    number = 0
    silent = Problems(limits, lambda _: None)
    for path in paths:
        for record in files.records(path, limits, silent):
            for trace_id in sorted(decode.trace_ids(record.form, record.data)):
                last[trace_id] = number
            number += 1
    ending: dict[int, list[str]] = {}
    for trace_id, end in last.items():
        ending.setdefault(end, []).append(trace_id)
    return ending


def _of_objects(
    items: Iterable[Any], limits: Limits, problems: Problems, gathering: Gathering
) -> Iterator[SourceTrace]:
    for number, item in enumerate(items, 1):
        if isinstance(item, SourceTrace):
            # It is whole, and need not wait.
            yield item
            continue
        place = Place(f"item {number}", limits, problems)
        try:
            value = cast("object", item) if isinstance(item, dict) else values.clean(item, limits.depth)
        except (values.Malformed, TypeError, ValueError) as error:
            place.problem(f"left out: {error}")
            continue
        with decode.uncollected():
            found = list(recognise.spans(value, place))
        gathering.add(found)
        yield from gathering.surplus()


def _sorted_out(source: Source) -> tuple[list[str | os.PathLike[str]], Iterable[Any]]:
    """The paths to read, or the objects."""
    if isinstance(source, str | os.PathLike):
        return [source], ()
    if isinstance(source, TraceIndex):
        return [], source.load(entry.id for entry in source)
    if isinstance(source, Mapping | SourceTrace) or hasattr(source, "model_dump"):
        return [], (cast("object", source),)
    items = iter(source)
    first = next(items, None)
    if isinstance(first, str | os.PathLike):
        return [cast("str | os.PathLike[str]", first), *items], ()
    return [], () if first is None else chain((first,), items)
