"""From a record to its spans."""

from __future__ import annotations

import gc
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from textgrad_lg_tracing.readers import otlp_proto, recognise, values, wire
from textgrad_lg_tracing.readers.files import Form
from textgrad_lg_tracing.readers.place import Place
from textgrad_lg_tracing.readers.span import SourceSpan

_BOM: Final = b"\xef\xbb\xbf"
_RESOURCE_SPANS: Final = 1
# In the text of a value the quotation marks would be escaped, so this finds keys alone.
_TRACE_ID: Final = re.compile(rb'"trace_?[iI][dD]"\s*:\s*"([^"\\]{1,160})"')


def spans(form: Form, data: Any, place: Place) -> list[SourceSpan]:
    """The spans of a record; what is wrong with it is said."""
    with uncollected():
        try:
            if form is Form.JSON:
                return list(recognise.spans(values.loads(data.removeprefix(_BOM), place), place))
            if form is Form.PARQUET:
                return list(recognise.spans(data, place))
            resources = [field.payload for field in wire.fields(data) if field.number == _RESOURCE_SPANS]
            return [span for payload in resources for span in otlp_proto.spans(payload, place)]
        except (values.Malformed, wire.Damaged) as error:
            place.problem(f"left out: {error}")
            return []


def trace_ids(form: Form, data: Any) -> set[str]:
    """The traces that a record has spans of, found without making spans of it; possibly some more."""
    if form is Form.JSON:
        return {_canonical(found.decode(errors="replace")) for found in set(_TRACE_ID.findall(data))}
    if form is Form.PARQUET:
        return {str(row.get("trace_id")) for row in data}
    return otlp_proto.trace_ids(data)


@contextmanager
def uncollected() -> Generator[None]:
    """Keep the garbage collector off while many objects are made of which none is garbage.

    It is half the cost of making them. It is on again afterwards if it was on before.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _canonical(given: str) -> str:
    """The id as spans will have it: hexadecimal digits in lower case, where it is 16 bytes; else as it is."""
    try:
        return values.trace_id(given.rjust(32, "0") if len(given) < 24 else given)  # noqa: PLR2004  24 is base64's length
    except values.Malformed:
        return given
