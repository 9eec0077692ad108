"""Loading examples: from Python values, from a file, from LangSmith."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from textgrad_lg.errors import DataError
from textgrad_lg.evals.interop import OUTPUT, DatasetClient, DatasetExample, dataset
from textgrad_lg.evals.splits import SPLITS, Splits, split
from textgrad_lg.example import Example
from textgrad_lg.types import JSON

__all__ = ["Data", "Splits", "load", "split"]

Data = str | Path | Iterable[Example | Mapping[str, Any] | Sequence[Any] | DatasetExample]
"""Where examples come from; see `load`."""

_REFERENCES = ("reference_outputs", "outputs", "expected")
_KEYS = ("inputs", *_REFERENCES, "id", "metadata", "split")
_SUFFIXES = (".jsonl", ".json")
_PAIR = 2
_SHOWN = 5


def load(
    data: Data, *, client: DatasetClient | None = None, as_of: datetime | str | None = None
) -> tuple[Example, ...]:
    """The examples of a data set.

    One example is an `Example`; a dict with `inputs` and, where they are known, `reference_outputs` (or `outputs`, or
    `expected`), `id`, `metadata`, `split`; a pair `(inputs, expected)`; or LangSmith's own Example. What was expected is put under `output` where
    it is no dict. Examples without an id are numbered from 1.

    Args:
        data: The examples; or the path of a `.jsonl` file (one example a line) or a `.json` file (a list); or the name
            of a LangSmith data set: any other text. In the latter, a LangSmith split named train, validation, val or
            test is honoured.
        client: Reads the LangSmith data set; by default a `langsmith.Client()`.
        as_of: The LangSmith data set's version: a tag or a time. By default the newest.

    Raises:
        DataError: There is no example, two have the same id, or one is not of these forms or not JSON.
    """
    numbered = list(_rows(data, client, as_of))
    width = len(str(len(numbered)))
    examples = tuple(_example(row, where, f"{at:0{width}}") for at, (where, row) in enumerate(numbered, start=1))
    if not examples:
        raise DataError("there are no examples; an optimisation needs at least one for each of train, validation, test")
    twice = [name for name, count in Counter(example.id for example in examples).items() if count > 1]
    if twice:
        more = f" and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
        raise DataError(
            f"two examples have the same id: {', '.join(map(repr, twice[:_SHOWN]))}{more}. Give each its own, or none an id"
        )
    return examples


def _rows(data: Data, client: DatasetClient | None, as_of: datetime | str | None) -> Iterator[tuple[str, Any]]:
    """Every row, and where it stands in words."""
    if isinstance(data, Path) or (isinstance(data, str) and data.endswith(_SUFFIXES)):
        yield from _file(Path(data))
    elif isinstance(data, str):
        if not data.strip() or os.path.isfile(data):  # noqa: PTH113  a Path raises where the name is too long for a file
            raise DataError(f"{data!r} is neither a .jsonl nor a .json file, nor the name of a LangSmith data set")
        for at, row in enumerate(dataset(data, client, as_of), start=1):
            yield f"LangSmith data set {data!r}, example {at}", row
    elif _is_many(data):
        for at, row in enumerate(data, start=1):
            yield f"example {at}", row
    else:
        raise DataError(
            f"the data are a {type(data).__name__}; wanted is a list of examples, a .jsonl or .json path, or the name of "
            "a LangSmith data set"
        )


def _is_many(data: object) -> bool:
    # A dict or bytes can be gone through, and is no list of examples.
    return isinstance(data, Iterable) and not isinstance(data, Mapping | bytes)


def _file(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix not in _SUFFIXES:
        raise DataError(f"{path} is no .jsonl or .json file; other forms are not read, so that nothing is guessed")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {path} in {Path.cwd()}" if not path.is_absolute() else f"no file {path}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error
    if path.suffix == ".json":
        rows = _parsed(text, str(path), 1)
        if not isinstance(rows, list):
            raise DataError(f"{path} holds a {type(rows).__name__}; wanted is a list of examples")
        for at, row in enumerate(cast("list[object]", rows), start=1):
            yield f"{path}, example {at}", row
    else:
        for line, row in enumerate(text.split("\n"), start=1):
            if row.strip():
                yield f"{path}, line {line}", _parsed(row, str(path), line)


def _parsed(text: str, path: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {line + error.lineno - 1}, column {error.colno}: not JSON: {error.msg}"
        ) from error


def _example(row: Any, where: str, number: str) -> Example:
    if isinstance(row, Example):
        found = row
    elif isinstance(row, Mapping):
        found = _from_mapping(cast("Mapping[str, object]", row), where, number)
    elif _is_pair(row):
        inputs, expected = row
        found = Example(number, inputs, expected)
    elif hasattr(row, "inputs") and hasattr(row, "outputs") and hasattr(row, "id"):  # LangSmith's Example
        found = _from_mapping(_from_langsmith(row, where), where, number)
    else:
        raise DataError(f"{where}: a {type(row).__name__} is no example. {_form()}")
    if found.inputs is None:
        raise DataError(f"{where}: the inputs are missing; they are what the graph is invoked with. {_form()}")
    return replace(
        found,
        inputs=_json(found.inputs, f"{where}: inputs"),
        reference_outputs=_reference(found.reference_outputs, f"{where}: reference_outputs"),
        metadata=cast("dict[str, JSON]", _json(found.metadata, f"{where}: metadata")),
    )


def _is_pair(row: object) -> bool:
    return isinstance(row, tuple | list) and len(cast("list[object]", row)) == _PAIR


def _from_mapping(row: Mapping[str, object], where: str, number: str) -> Example:
    if "inputs" not in row:
        raise DataError(f"{where}: there is no 'inputs', and nothing is guessed. {_form(tuple(map(str, row)))}")
    unknown = [str(key) for key in row if key not in _KEYS]
    if unknown:
        raise DataError(
            f"{where}: {', '.join(map(repr, unknown))} is not known; known are {', '.join(_KEYS)}. What was wanted goes "
            "under 'reference_outputs', anything else under 'metadata'"
        )
    references = [key for key in _REFERENCES if row.get(key) is not None]
    if len(references) > 1:
        raise DataError(f"{where}: {' and '.join(map(repr, references))} say the same thing; give one of them")
    name = row.get("id")
    if name is not None and (isinstance(name, bool) or not isinstance(name, str | int) or name == ""):
        raise DataError(f"{where}: the id is {name!r}; an id is a text or a whole number")
    given = row.get("metadata")
    if given is not None and not isinstance(given, Mapping):
        raise DataError(f"{where}: the metadata are a {type(given).__name__}; wanted is a dict")
    metadata = dict(cast("Mapping[str, Any]", given or {}))
    declared = row.get("split")
    if declared is not None and metadata.setdefault("split", declared) != declared:
        raise DataError(
            f"{where}: 'split' is {declared!r}, and in the metadata {metadata['split']!r}; give one of them"
        )
    reference = cast("Any", row[references[0]] if references else None)
    return Example(number if name is None else str(name), cast("JSON", row["inputs"]), reference, metadata)


def _from_langsmith(given: DatasetExample, where: str) -> dict[str, Any]:
    """A LangSmith example as a row, its split as ours; `base` and other names of LangSmith splits say nothing to us."""
    metadata = dict(given.metadata or {})
    names: str | list[str] = metadata.get("dataset_split") or []
    known = [name for name in ([names] if isinstance(names, str) else names) if name in SPLITS]
    if len({SPLITS[name] for name in known}) > 1:
        raise DataError(f"{where}: it is in the LangSmith splits {', '.join(known)}; only one of them is possible")
    if known:
        metadata.setdefault("split", known[0])
    return {"inputs": given.inputs, "outputs": given.outputs, "id": str(given.id), "metadata": metadata}


def _reference(value: object, where: str) -> dict[str, JSON] | None:
    if value is None or value == {}:
        return None
    found = _json(value, where)
    return found if isinstance(found, dict) else {OUTPUT: found}


def _json(value: object, where: str) -> JSON:
    """`value` with its tuples as lists.

    Raises:
        DataError: It holds something that JSON cannot hold: it could not be kept in a journal, nor compared.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value)
        for key in items:
            if not isinstance(key, str):
                raise DataError(f"{where}: the key {key!r} is a {type(key).__name__}; the keys of JSON are texts")
        return {str(key): _json(item, f"{where}[{key!r}]") for key, item in items.items()}
    if isinstance(value, list | tuple):
        return [_json(item, f"{where}[{at}]") for at, item in enumerate(cast("list[object]", value))]
    cure = (
        'a chat message is written {"role": "user", "content": "..."}'
        if hasattr(value, "content")
        else "a missing value is None"
        if isinstance(value, float)
        else "write it as text, numbers, lists and dicts"
    )
    shown = repr(value) if isinstance(value, float) else f"a {type(value).__name__}"
    raise DataError(f"{where} is {shown}, which JSON cannot hold; {cure}")


def _form(keys: tuple[str, ...] = ()) -> str:
    """A worked example of the right form, with the row's own keys where it has some."""
    first, *rest = keys or ("question", "answer")
    wanted = rest.pop() if rest else "answer"
    inputs = dict.fromkeys((first, *rest), "...")
    shown = json.dumps({"inputs": inputs, "reference_outputs": {wanted: "..."}}, ensure_ascii=False)
    has = f"It has {', '.join(map(repr, keys))}; say which of it" if keys else "Say what"
    return f"{has} the graph is invoked with, and what was wanted, as in {shown}"
