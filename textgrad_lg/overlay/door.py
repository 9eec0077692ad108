"""Settings that a graph takes by a door of its own: a field of the context it is run with, or of its "configurable"."""

# LangGraph ships no stubs.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from textgrad_lg.overlay.rewrite import replaced
from textgrad_lg.overlay.settings import plain
from textgrad_lg.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textgrad_lg.overlay.rewrite import Texts

_MISSING: Any = object()


class Given(NamedTuple):
    """What a run of a graph is given beside its input.

    Attributes:
        context: Its context; None where it has none.
        configurable: The "configurable" of its config.
    """

    context: Any
    configurable: Mapping[str, Any]


def through_doors(
    schema: type[Any] | None, given: Given, texts: Texts, sites: Iterable[Site]
) -> tuple[Given, dict[Site, str]]:
    """What to give a run, with the settings in force.

    A field is changed where it has the value that the change was made for. A field that the caller leaves to its schema's
    default has that. A run that is given neither context nor such a key in its "configurable" has no door.

    Args:
        schema: The graph's context schema.
        given: What the caller gives.
        texts: The texts in force.
        sites: The settings that somebody wants to know of.

    Returns:
        What to give, and the text of each of `sites` that has a door.
    """
    watched = set(sites)
    told: dict[Site, str] = {}
    for site in sorted(site for site in {*texts, *watched} if site.context_field):
        name = site.context_field
        inside = _inside(schema, given.context, name)
        own = given.configurable.get(name, _MISSING) if inside is _MISSING else inside
        if not plain(own):
            continue
        text = json.dumps(own, ensure_ascii=False)
        new = replaced(texts[site], text) if site in texts else None
        value = _value(new)
        if value is not _MISSING and new is not None:
            text = new
            given = (
                given._replace(configurable={**given.configurable, name: value})
                if inside is _MISSING
                else given._replace(context=_with(given.context, name, value))
            )
        if site in watched:
            told[site] = text
    return given, told


def _inside(schema: type[Any] | None, context: Any, name: str) -> Any:
    """A field of the context; what the schema says where the context is a mapping without it."""
    if context is None:
        return _MISSING
    if not isinstance(context, Mapping):
        return getattr(context, name, _MISSING)
    values = cast("Mapping[str, Any]", context)
    return values[name] if name in values else _default(schema, name)


def _default(schema: type[Any] | None, name: str) -> Any:
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        field = schema.model_fields.get(name)
        return _MISSING if field is None or field.default is PydanticUndefined else field.default
    if dataclasses.is_dataclass(schema):
        found = {field.name: field.default for field in dataclasses.fields(schema)}
        default = found.get(name, dataclasses.MISSING)
        return _MISSING if default is dataclasses.MISSING else default
    return _MISSING


def _with(context: Any, name: str, value: Any) -> Any:
    if isinstance(context, Mapping):
        return {**cast("Mapping[str, Any]", context), name: value}
    if isinstance(context, BaseModel):
        return context.model_copy(update={name: value})
    return dataclasses.replace(context, **{name: value})


def _value(text: str | None) -> Any:
    """A setting's value; nothing where the text is none, as a prompt's that an assistant holds in such a field."""
    try:
        value: Any = None if text is None else json.loads(text)
    except ValueError:
        return _MISSING
    return _MISSING if value is None else value
