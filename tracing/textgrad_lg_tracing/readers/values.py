"""Values: ids, times and JSON of strangers, made what a SourceSpan promises or refused."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from textgrad_lg.types import JSON
from textgrad_lg_tracing.readers.extra import needed
from textgrad_lg_tracing.readers.place import Place

TRACE_BYTES: Final = 16
SPAN_BYTES: Final = 8
LATEST: Final = (1 << 63) - 1
FAILED: Final = "error"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN: Final = 80


class Malformed(ValueError):  # noqa: N818  reads as the condition it names
    """A value is not what its place asks for; the message says which and how."""


def loads(data: bytes | str, place: Place, *, mend: bool = True) -> Any:
    """The value of a JSON text.

    What strict JSON does not allow but Python writes (NaN, lone surrogates), and bytes that are not UTF-8, are replaced
    where `mend` is on, and said.

    Raises:
        Malformed: It is no JSON.
    """
    with needed("reading JSON"):
        import orjson

    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    if mend:
        text = data.decode(errors="replace") if isinstance(data, bytes) else data
        try:
            # Once more through orjson, because only it refuses lone surrogates, with which nothing could be written later.
            loose = json.dumps(json.loads(text, parse_constant=str), ensure_ascii=False)
            found = orjson.loads(loose.encode(errors="replace"))
        except (ValueError, RecursionError):
            pass
        else:
            place.problem(f"not strictly JSON, read after replacing what is not allowed ({reason})")
            return found
    raise Malformed(f"not JSON ({reason})")


def trace_id(given: object) -> str:
    """A trace id, given in hexadecimal or base64 digits, as 32 hexadecimal digits in lower case.

    Raises:
        Malformed: It is none.
    """
    return _identifier(given, TRACE_BYTES, "trace id")


def span_id(given: object) -> str:
    """A span id, given in hexadecimal or base64 digits, as 16 hexadecimal digits in lower case.

    Raises:
        Malformed: It is none.
    """
    return _identifier(given, SPAN_BYTES, "span id")


def parent_id(given: object) -> str | None:
    """The same of a parent: None where it is not given, empty or all zeros."""
    if not given or given == "0000000000000000":
        return None
    return _identifier(given, SPAN_BYTES, "parent's span id")


def _identifier(given: object, size: int, what: str) -> str:
    if type(given) is str:
        try:
            if len(given) == 2 * size:
                raw = bytes.fromhex(given)
            elif given.startswith("0x"):
                raw = int(given, 16).to_bytes(size, "big")
            else:
                raw = base64.b64decode(given, validate=True)
        except (ValueError, OverflowError, binascii.Error):
            raw = b""
        if len(raw) == size and any(raw):
            return raw.hex()
    raise Malformed(f"no {what}: {shown(given)}")


def text_id(given: object, what: str = "id") -> str:
    """An id that a backend writes in a way of its own.

    Raises:
        Malformed: It is no text, empty, or longer than any id.
    """
    text = given if isinstance(given, str) else str(given) if given is not None else ""
    if not text or len(text) > 2 * _SHOWN:
        raise Malformed(f"no {what}: {shown(given)}")
    return text


def nanoseconds(given: object) -> int:
    """Unix nanoseconds of a number or of digits.

    Raises:
        Malformed: It is neither.
    """
    if type(given) is int:
        return given
    if isinstance(given, str | float):
        try:
            return int(given)
        except (ValueError, OverflowError):
            pass
    raise Malformed(f"no time: {shown(given)}")


def moment(given: object) -> int:
    """Unix nanoseconds of a date and time, as text of ISO 8601 or as a datetime; UTC where it does not say.

    Raises:
        Malformed: It is neither.
    """
    try:
        when = given if isinstance(given, datetime) else datetime.fromisoformat(cast("str", given))
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
        return (when - _EPOCH) // timedelta(microseconds=1) * 1000
    except (TypeError, ValueError, OverflowError):
        raise Malformed(f"no date and time: {shown(given)}") from None


def period(start: int, end: int, place: Place, trace: str) -> tuple[int, int]:
    """Start and end as they can be: not negative, and the end not before the start. What was changed is said.

    An end of 0 is that of a span which was not ended, and is not worth a word.
    """
    if 0 <= start <= end <= LATEST:
        return start, end
    if start < 0 or end < 0 or max(start, end) > LATEST:
        place.problem(f"a span's time is negative or beyond all dates ({start} to {end})", trace)
        inside = [time for time in (start, end) if 0 <= time <= LATEST]
        start, end = (inside[0], inside[0]) if inside else (0, 0)
    elif end:
        place.problem(f"a span ends before it starts ({start} to {end})", trace)
    return start, max(start, end)


def clean(value: object, depth: int) -> JSON:  # noqa: PLR0911  one for each type
    """A value that JSON can hold, of what was parsed or is an object of an SDK.

    Dates become ISO 8601, numbers that are none become their name ("NaN"), anything else becomes its text.

    Raises:
        Malformed: Lists and mappings lie deeper within each other than `depth`.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping | list | tuple):
        if depth <= 0:
            raise Malformed("lists and mappings lie too deep within each other")
        if isinstance(value, Mapping):
            items = cast("Mapping[object, object]", value).items()
            return {str(key): clean(item, depth - 1) for key, item in items}
        return [clean(item, depth - 1) for item in cast("Sequence[object]", value)]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return clean(dump(), depth)
    return str(value)


def attributes(given: object, place: Place, trace: str = "") -> dict[str, JSON]:
    """A mapping of attributes, cleaned, without those that are over the limit or too deep; what is left out is said.

    Raises:
        Malformed: It is no mapping.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise Malformed(f"attributes are no mapping: {shown(given)}")
    found: dict[str, JSON] = {}
    for key, value in cast("Mapping[object, object]", given).items():
        if len(found) >= place.limits.attributes:
            place.problem(f"a span has more than {place.limits.attributes} attributes; the others were left out", trace)
            break
        try:
            found[str(key)] = clean(value, place.limits.depth)
        except Malformed as error:
            place.problem(f"the attribute {shown(key)} was left out: {error}", trace)
    return found


def mapping(given: object) -> Mapping[str, Any]:
    """The mapping given, or an empty one."""
    return cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}


def several(given: object) -> Sequence[Any]:
    """The list given, or an empty one."""
    return cast("Sequence[Any]", given) if isinstance(given, list | tuple) else ()


def shown(given: object) -> str:
    """The beginning of a value, for a message."""
    if isinstance(given, str | bytes):
        return repr(given[:_SHOWN])
    return "nothing" if given is None else type(given).__name__


def failure(message: object, events: Sequence[tuple[str, int, Mapping[str, JSON]]]) -> str:
    """What a failed span says of its failure: its status's message, else its exception event, else only that it failed."""
    if isinstance(message, str) and message:
        return message
    for name, _, found in reversed(events):
        if name == "exception":
            said = [str(found[key]) for key in ("exception.type", "exception.message") if found.get(key)]
            return ": ".join(said) or FAILED
    return FAILED
