"""The rules that all registries share, as functions of plain values: what is refused, and how a label's history reads."""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.errors import RegistryError, UnknownVersion, VersionConflict
from textgrad_lg.prompt import Demo, Template

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from textgrad_lg.registry.base import Move, NewVersion
    from textgrad_lg.types import JSON


def positions(moves: Iterable[Move]) -> list[int]:
    """Where a label has been and would come back to, its place now last: a rollback takes one off."""
    places: list[int] = []
    for move in moves:
        if move.rollback:
            places.pop()
        elif move.version is not None:
            places.append(move.version)
    return places


def check_name(what: str, text: str) -> None:
    """Refuse a name or label that no store could keep.

    Raises:
        RegistryError: It is empty, or holds half of a surrogate pair.
    """
    if not text:
        raise RegistryError(f"a {what} must not be empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RegistryError(f"the {what} {text!r} is not valid Unicode: {error.reason}") from error


def check_written(names: Sequence[str], label: str, expect: Mapping[str, int | None]) -> None:
    """Refuse a write that does not say, for each prompt it names once, where the label is expected.

    Raises:
        RegistryError: A prompt is named twice or is not in `expect`.
    """
    check_name("label", label)
    for name in names:
        check_name("prompt name", name)
    twice = [name for at, name in enumerate(names) if name in names[:at]]
    if twice:
        raise RegistryError(f"the prompt {twice[0]!r} is named twice in one write; write one version of each prompt")
    left_out = [name for name in names if name not in expect]
    if left_out:
        raise RegistryError(
            f"expect does not say where {label!r} points on {', '.join(map(repr, left_out))}; "
            "give the version you read, or None where the label was not set"
        )


def check_expected(label: str, expect: Mapping[str, int | None], now: Mapping[str, int | None]) -> None:
    """Refuse a write whose author has not seen the present state.

    Raises:
        VersionConflict: The label points elsewhere.
    """
    wrong = [
        f"on {name!r} it points to {_version(now[name])}, expected was {_version(wanted)}"
        for name, wanted in expect.items()
        if now[name] != wanted
    ]
    if wrong:
        raise VersionConflict(
            f"the label {label!r} has moved: {'; '.join(wrong)}. Nothing was changed; read it again and decide anew"
        )


def check_parent(new: NewVersion, newest: int) -> None:
    """Refuse a parent that does not exist.

    Raises:
        UnknownVersion: It is not among the versions from 1 to `newest`.
    """
    if new.parent is not None and not 1 <= new.parent <= newest:
        raise UnknownVersion(f"the parent of the new version of {new.name!r}: {_versions(new.name, newest)}")


def unknown_name(name: str, names: Collection[str]) -> UnknownVersion:
    """The error for a prompt that is not there; it names those that are spelt alike."""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return UnknownVersion(f"there is no prompt {name!r}; near it: {', '.join(map(repr, near))}")
    if names:
        return UnknownVersion(f"there is no prompt {name!r}; the registry holds {len(names)} others, see names()")
    return UnknownVersion(f"there is no prompt {name!r}; the registry is empty")


def unknown_version(name: str, version: int, newest: int) -> UnknownVersion:
    """The error for a version number that is not there."""
    return UnknownVersion(f"there is no version {version} of {name!r}: {_versions(name, newest)}")


def unknown_label(name: str, label: str, labels: Collection[str]) -> UnknownVersion:
    """The error for a label that is not set; it names those that are."""
    has = f"its labels are {', '.join(map(repr, labels))}" if labels else "it has no labels"
    return UnknownVersion(f"the label {label!r} is not set on {name!r}; {has}")


def dump_template(template: Template) -> str:
    """The Template as JSON in ASCII, so that any text at all comes back as it was."""
    return json.dumps(asdict(template))


def load_template(text: str) -> Template:
    """Read a Template back from `dump_template`.

    Raises:
        RegistryError: `text` is something else.
    """
    try:
        data: dict[str, Any] = json.loads(text)
        demos = (Demo(tuple((key, value) for key, value in demo["inputs"]), demo["output"]) for demo in data["demos"])
        return Template(data["text"], tuple(data["slots"]), tuple(demos))
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"a stored template is damaged ({error}); restore the registry from a backup") from error


def dump_provenance(new: NewVersion) -> str:
    """The provenance as JSON; also checks the score, the other value that comes from outside.

    Raises:
        RegistryError: A value is not JSON, or the score is not a finite number.
    """
    if new.score is not None and not math.isfinite(new.score):
        raise RegistryError(f"the score of {new.name!r} is {new.score}; give a finite number, or None for no score")
    try:
        return json.dumps(dict(new.provenance), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RegistryError(f"the provenance of {new.name!r} is not JSON: {error}") from error


def load_provenance(text: str) -> dict[str, JSON]:
    """Read a provenance back.

    Raises:
        RegistryError: `text` is something else.
    """
    try:
        return cast("dict[str, JSON]", json.loads(text))
    except ValueError as error:
        raise RegistryError(f"a stored provenance is damaged ({error}); restore the registry from a backup") from error


def _version(version: int | None) -> str:
    return "nothing" if version is None else f"version {version}"


def _versions(name: str, newest: int) -> str:
    return f"{name!r} has the versions 1 to {newest}" if newest else f"{name!r} has no versions yet"
