"""Domains: which values a setting may take, and which of them are near one that is in force.

A setting's text is the JSON of its value, so that everything that handles texts handles settings too. `null` stands for a
setting that the graph leaves to the model or the retriever.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from textgrad_lg.errors import DomainError
from textgrad_lg.site import SETTINGS, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from textgrad_lg.types import JSON

Value = bool | int | float | str
"""A value of a setting."""
UNSET = "null"
"""The text of a setting that the graph does not set."""
_PARTS = 10
"""Into so many equal moves a range of numbers is divided where the user does not say."""
_SLACK = 1e-9
"""How far a number may be off, in moves, and still count as a whole number of them."""
_SHOWN = 60
TOLD = "textgrad_lg_settings"
"""In the metadata of a call: the JSON of its kind ("llm" or "retriever"), and of the Site and the text of each setting that
somebody watches."""


class Domain(Protocol):
    """Which values a setting may take."""

    @property
    def words(self) -> str:
        """What a value is, in words a model can use: "a number from 0 to 1"."""
        ...

    def parse(self, text: str) -> Value:
        """Read a value from its text.

        Raises:
            DomainError: It is none of this domain; a `ValueError`.
        """
        ...

    def text(self, value: Any) -> str:
        """The text of a value: its JSON, in one form for each value."""
        ...

    def neighbours(self, value: Value | None) -> tuple[Value, ...]:
        """Other values of the domain, in the order in which they are worth trying; of None, where no value is known."""
        ...


@dataclass(frozen=True, slots=True)
class Real:
    """The numbers of a range.

    Attributes:
        low: The least.
        high: The greatest.
        step: How far apart neighbours are; on a logarithmic scale, by which factor. Default: a tenth of the range. Any
            number of the range is a value: the step decides only which ones are tried.
        log: Whether the scale is logarithmic, as for what is told in orders of magnitude.

    Raises:
        DomainError: The range is empty, or the step leads nowhere.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self, self.low, self.high, float)
        if self.log and self.low <= 0:
            raise DomainError(f"{self}: a logarithmic scale begins above 0; raise low, or leave log out")
        least = 1 if self.log else 0
        if self.step is not None and (not _is_number(self.step) or self.step <= least):
            raise DomainError(f"{self}: the step has to be greater than {least}")

    @property
    def words(self) -> str:
        """What a value is, in words a model can use: "a number from 0 to 1"."""
        return f"a number from {self.low:g} to {self.high:g}"

    def parse(self, text: str) -> float:
        """Read a value from its text.

        Raises:
            DomainError: It is not a number of the range.
        """
        value = _read(text, self.words)
        if not _is_number(value) or not self.low <= value <= self.high:
            raise DomainError(f"{_short(text)} is not {self.words}")
        return float(value)

    def text(self, value: Any) -> str:
        """The JSON of a value."""
        return json.dumps(float(value))

    def neighbours(self, value: Any) -> tuple[float, ...]:
        """A move up and down, the two ends, and moves of 2, 4, 8, ... between; of None, the ends and the middle."""
        step = self.step or ((self.high / self.low) ** (1 / _PARTS) if self.log else (self.high - self.low) / _PARTS)

        def place(number: float) -> float:
            return math.log(number / self.low) / math.log(step) if self.log else (number - self.low) / step

        def number(place: float) -> float:
            found = self.low * step**place if self.log else self.low + step * place
            # 0.1 + 0.2 has 17 digits; the ends stay as they were given.
            return float(min(max(float(f"{found:.10g}"), self.low), self.high))

        return _spread(None if value is None else float(value), float(self.low), float(self.high), place, number)


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole numbers of a range.

    Attributes:
        low: The least.
        high: The greatest.

    Raises:
        DomainError: The range is empty, or an end of it is not a whole number.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        _check_range(self, self.low, self.high, int)

    @property
    def words(self) -> str:
        """What a value is, in words a model can use: "a whole number from 1 to 10"."""
        return f"a whole number from {self.low} to {self.high}"

    def parse(self, text: str) -> int:
        """Read a value from its text.

        Raises:
            DomainError: It is not a whole number of the range.
        """
        value = _read(text, self.words)
        if not _is_number(value) or value != int(value) or not self.low <= value <= self.high:
            raise DomainError(f"{_short(text)} is not {self.words}")
        return int(value)

    def text(self, value: Any) -> str:
        """The JSON of a value."""
        return json.dumps(int(value))

    def neighbours(self, value: Any) -> tuple[int, ...]:
        """One more and one less, the two ends, and moves of 2, 4, 8, ... between; of None, the ends and the middle."""
        return _spread(value, self.low, self.high, float, round)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values.

    Attributes:
        values: Texts, numbers or booleans, in the order in which they are worth trying.

    Raises:
        DomainError: There are none, one stands there twice, or one is no plain value.
    """

    values: Sequence[Value]

    def __post_init__(self) -> None:
        if isinstance(self.values, str):
            raise DomainError(
                f"Choice({self.values!r}): the values have to be in a list, as in Choice(['small', 'large'])"
            )
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise DomainError("Choice([]): there is nothing to choose from; name two values or more")
        plain = all(
            isinstance(cast("Any", value), str) or type(value) is bool or _is_number(value) for value in self.values
        )
        if not plain:
            raise DomainError(f"{self}: the values have to be texts, numbers or booleans")
        texts = [json.dumps(value) for value in self.values]
        if twice := next((text for at, text in enumerate(texts) if text in texts[:at]), None):
            raise DomainError(f"{self}: {twice} stands there twice")

    @property
    def words(self) -> str:
        """What a value is, in words a model can use: 'one of "small", "large"'."""
        return f"one of {', '.join(map(self.text, self.values))}"

    def parse(self, text: str) -> Value:
        """Read a value from its text; of a text among the values, without quotes as well.

        Raises:
            DomainError: It is none of the values.
        """
        told = text.strip()
        found = next((value for value in self.values if told in (self.text(value), value)), None)
        if found is None:
            raise DomainError(f"{_short(text)} is not {self.words}")
        return found

    def text(self, value: Any) -> str:
        """The JSON of a value."""
        return json.dumps(value, ensure_ascii=False)

    def neighbours(self, value: Any) -> tuple[Value, ...]:
        """All the other values, in their order."""
        return tuple(other for other in self.values if self.text(other) != self.text(value))


_KINDS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in (Real, Whole, Choice)}


def to_json(domain: Domain) -> JSON:
    """A domain as plain values; of one that is none of this module's, its words alone."""
    kind = type(domain).__name__
    if _KINDS.get(kind) is not type(domain):
        return {"kind": kind, "words": domain.words}
    fields: dict[str, Any] = asdict(cast("Any", domain))
    return {"kind": kind, **fields, **({"values": [*fields["values"]]} if "values" in fields else {})}


def from_json(told: JSON) -> Domain | None:
    """Read a domain back; None where it is none of this module's."""
    if not isinstance(told, dict) or str(told.get("kind")) not in _KINDS:
        return None
    return _KINDS[str(told["kind"])](**{key: value for key, value in told.items() if key != "kind"})


def told_of(domains: Mapping[str, Domain]) -> dict[str, JSON]:
    """What the domains that a user named add to the identity of a run; nothing where there are none."""
    return {"domains": {name: to_json(domain) for name, domain in domains.items()}} if domains else {}


def telling(kind: str, settings: Mapping[Site, str]) -> dict[str, str]:
    """The metadata that tells of a call's settings; see `TOLD`. Nothing where there are none."""
    told = {str(site): text for site, text in settings.items()}
    return {TOLD: json.dumps([kind, told], ensure_ascii=False)} if told else {}


def told_in(metadata: Mapping[str, Any], kind: str) -> Iterator[tuple[Site, str]]:
    """The settings that a call was made with, and their texts, from its metadata.

    Runs inside a call inherit its metadata: what is told of another kind of call is not about this one.
    """
    found: Any = json.loads(metadata.get(TOLD) or "[null, {}]")
    if found[0] == kind:
        for site, text in found[1].items():
            yield Site.parse(site), text


def is_note(warning: str) -> bool:
    """Whether a Trace's warning is about a setting: it begins with its Site."""
    return warning.startswith(SETTINGS)


def _spread(
    value: Any, low: Any, high: Any, place: Callable[[Any], float], number: Callable[[float], Any]
) -> tuple[Any, ...]:
    """The numbers of a range that are tried next: `place` says how many moves one lies above the least, and `number` undoes it."""
    if value is None:
        middle = number((place(low) + place(high)) / 2)
        return tuple(dict.fromkeys((low, high, middle)))

    def moves() -> Iterator[Any]:
        at, reach = place(value), 1
        # What lies between two places of the grid has the nearest of them for its neighbours.
        up, down = math.floor(at + _SLACK), math.ceil(at - _SLACK)
        while up + reach < place(high) or down - reach > place(low):
            for to in (up + reach, down - reach):
                if place(low) <= to <= place(high):
                    yield number(to)
            if reach == 1:
                yield from (low, high)
            reach *= 2
        yield from (low, high)

    return tuple(other for other in dict.fromkeys(moves()) if other != value)


def _check_range(domain: Domain, low: Any, high: Any, kind: type) -> None:
    name = "whole number" if kind is int else "number"
    for end in (low, high):
        if not _is_number(end) or (kind is int and not isinstance(end, int)):
            raise DomainError(f"{domain}: each end has to be a {name}, and {end!r} is none")
    if low >= high:
        raise DomainError(f"{domain}: there is nothing between {low} and {high}; low has to be less than high")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _read(text: str, words: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DomainError(f"{_short(text)} is not {words}") from error


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...")
