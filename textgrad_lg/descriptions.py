"""Descriptions: the texts that a model call carries beside its messages, of tools, their arguments and output schemas.

Providers take tools and schemas in forms of their own. This is the one place that knows where in each form a description
stands, so that what is recorded, what is found and what is replaced are the same texts under the same Sites.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import new_class
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from typing_extensions import TypeIs

from textgrad_lg.site import SCHEMAS, TOOLS, Site

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

Change = Callable[[Site, str], str]
"""Given the Site of a description, with index 0, and its text: the text to send, which may be the same."""

_PARAMETERS = ("parameters", "input_schema", "parameters_json_schema")
_DEFINITIONS = ("$defs", "definitions")
_NESTED = frozenset(
    {"items", "prefixItems", "additionalProperties", "anyOf", "any_of", "oneOf", "allOf", "not", "if", "then", "else"}
)
_UNNAMED = "response_format"
# What LangChain's agents call a schema without a title: four digits that are drawn anew in each process.
_DRAWN = re.compile(rf"{_UNNAMED}_[0-9a-f]{{4}}")


def is_description(site: Site) -> bool:
    """Whether a Site is that of a description. Such Parameters are changed only where the user asks for it."""
    return bool(site.path) and site.path[0].startswith((TOOLS, SCHEMAS))


def title(site: Site) -> str:
    """What a description is of, in words a model can use: "description of the tool `search`"."""
    kind, _, name = site.path[0].partition(":")
    of, part = ("tool", "argument") if f"{kind}:" == TOOLS else ("schema", "field")
    if site.role == "description":
        return f"description of the {of} `{name}`"
    return f"{part} `{site.role.removeprefix('args/')}` of the {of} `{name}`"


def purpose(site: Site) -> str:
    """What a model decides by a description, in words: "when to call the tool"."""
    if site.path[0].startswith(TOOLS):
        return "when to call the tool" if site.role == "description" else "what to put into the argument"
    return "what its reply must be" if site.role == "description" else "what to put into the field"


def mapped(options: Mapping[str, Any], change: Change, *, of: Container[str] | None = None) -> Mapping[str, Any]:
    """The keyword arguments of a model call, with each of their descriptions put through `change`.

    Known are the forms in which LangChain's integrations bind tools (OpenAI's for both of its APIs, Anthropic's, Google's,
    plain JSON schemas, `BaseTool` objects, pydantic classes) and output schemas. A tool that is a bare function is left
    alone: it has no form of its own before the integration makes one. A definition that a schema refers to from several
    places is one text, and is named by the first of them.

    Args:
        options: The keyword arguments; neither the mapping nor anything in it is changed.
        change: Called with each description that has words, in order; a tool's own before those of its arguments.
        of: The tools and schemas to look at, as in "tools:search"; all if None.

    Returns:
        `options` itself where no description was changed; else a copy that shares with it what is the same.
    """
    found: dict[str, Any] = {}
    for key, form in _FORMS.items():
        value = options.get(key)
        if value is not None and (new := form(value, _Change(change, of))) is not value:
            found[key] = new
    return {**options, **found} if found else options


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of a model call's keyword arguments, those that hold descriptions, with classes and `BaseTool` objects as JSON."""
    found: dict[str, Any] = {}
    for key, form in _FORMS.items():
        if key == _SHOWN or not options.get(key):
            continue
        value = _plain_items(options[key]) if form is _tools else _plain_schema(options[key])
        if key in _ALWAYS or _any(form, value):
            found[key] = value
    return found


# Schemas


@dataclass(frozen=True, slots=True)
class _Change:
    """What descriptions are put through, and of which tools and schemas."""

    text: Change
    of: Container[str] | None = None

    def wants(self, path: str) -> bool:
        return self.of is None or path in self.of


@dataclass(slots=True)
class _Walk:
    """A walk through one tool or schema.

    Attributes:
        path: The path of its Sites.
        change: What each description is put through.
        definitions: What the schema's references name.
        followed: The definitions met so far, changed; each stands under the names of the first place that led to it.
    """

    path: str
    change: _Change
    definitions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    followed: dict[str, Any] = field(default_factory=dict[str, Any])

    def text(self, text: Any, names: tuple[str, ...] = ()) -> Any:
        if not isinstance(text, str) or not text.strip():
            return text
        site = Site((self.path,), f"args/{'.'.join(names)}" if names else "description")
        # A name that a printed Site cannot hold could not be read back from a registry.
        return self.change.text(site, text) if _reads_back(site) else text

    def root(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        key = next((key for key in _DEFINITIONS if isinstance(schema.get(key), Mapping)), _DEFINITIONS[0])
        self.definitions = cast("Mapping[str, Any]", schema.get(key) or {})
        new = self.schema(schema, ())
        changed = {name: made for name, made in self.followed.items() if made is not self.definitions[name]}
        return {**new, key: {**self.definitions, **changed}} if changed else new

    def schema(self, schema: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
        # First, because providers write the keywords of one schema in different orders.
        keys = sorted(schema, key=lambda key: key != "description")
        return _copied(schema, ((key, self._keyword(key, schema[key], names)) for key in keys))

    def _keyword(self, key: str, value: Any, names: tuple[str, ...]) -> Any:
        if key == "description":
            return self.text(value, names)
        if key == "properties" and isinstance(value, Mapping):
            items = cast("Mapping[str, Any]", value).items()
            new = ((name, self._subschema(item, (*names, name))) for name, item in items)
            return _copied(cast("Mapping[str, Any]", value), new)
        if key == "$ref" and isinstance(value, str):
            self._follow(value.rpartition("/")[2], names)
        elif key in _NESTED:
            return _listed(value, lambda item: self._subschema(item, names))
        return value

    def _subschema(self, value: Any, names: tuple[str, ...]) -> Any:
        return self.schema(cast("Mapping[str, Any]", value), names) if isinstance(value, Mapping) else value

    def _follow(self, name: str, names: tuple[str, ...]) -> None:
        definition = self.definitions.get(name)
        if isinstance(definition, Mapping) and name not in self.followed:
            self.followed[name] = definition  # before it is walked: it may refer to itself
            self.followed[name] = self.schema(cast("Mapping[str, Any]", definition), names)


# Tools


def _tools(tools: Any, change: _Change) -> Any:
    return _listed(tools, lambda tool: _tool(tool, change)) if isinstance(tools, (list, tuple)) else tools


def _tool(tool: Any, change: _Change) -> Any:
    if isinstance(tool, Mapping):
        told = cast("Mapping[str, Any]", tool)
        if isinstance(told.get("function"), Mapping):
            return _copied(told, [("function", _told(told["function"], TOOLS, _PARAMETERS, change))])
        if "function_declarations" in told:
            return _copied(told, [("function_declarations", _tools(told["function_declarations"], change))])
        return _told(told, TOOLS, _PARAMETERS, change)
    if _is_model(tool):
        return _model(tool, TOOLS, change)
    return _base_tool(tool, change) if _is_tool(tool) else tool


def _told(told: Mapping[str, Any], kind: str, schemas: Iterable[str], change: _Change) -> Mapping[str, Any]:
    """A tool or schema in the form of a name, a description and a JSON schema, under whichever key that is."""
    inner = next((key for key in schemas if isinstance(told.get(key), Mapping)), None)
    name = told.get("name") or (told[inner].get("title") if inner else None) or _UNNAMED
    if not isinstance(name, str) or (kind == TOOLS and not told.get("name")):
        return told
    path = kind + (_UNNAMED if _DRAWN.fullmatch(name) else name)
    if not change.wants(path):
        return told
    walk = _Walk(path, change)
    changed = [("description", walk.text(told.get("description")))]
    return _copied(told, [*changed, *([(inner, walk.root(told[inner]))] if inner else [])])


def _base_tool(tool: BaseTool, change: _Change) -> BaseTool:
    form = _plain_tool(tool)
    new = _tool(form, change)
    if new is form:
        return tool
    told = new["function"]
    return tool.model_copy(update={"description": told["description"], "args_schema": told["parameters"]})


# Output schemas


def _format(value: Any, change: _Change) -> Any:
    if _is_model(value):
        return _model(value, SCHEMAS, change)
    if not isinstance(value, Mapping):
        return value
    told = cast("Mapping[str, Any]", value)
    if isinstance(told.get("json_schema"), Mapping):
        return _copied(told, [("json_schema", _told(told["json_schema"], SCHEMAS, ("schema",), change))])
    if isinstance(told.get("schema"), Mapping):
        return _told(told, SCHEMAS, ("schema",), change)
    return _bare(told, SCHEMAS, change) if "properties" in told else told


def _config(value: Any, change: _Change) -> Any:
    """A mapping that has the output schema among other settings."""
    if not isinstance(value, Mapping):
        return value
    told = cast("Mapping[str, Any]", value)
    return _copied(told, [("format", _format(told.get("format"), change))]) if "format" in told else told


def _shown(value: Any, change: _Change) -> Any:
    """What LangChain tells tracers of a structured output, by tool or by schema; no model is sent it."""
    if not isinstance(value, Mapping):
        return value
    told = cast("Mapping[str, Any]", value)
    how = cast("Mapping[str, Any]", told.get("kwargs") or {}).get("method")
    kind = TOOLS if how == "function_calling" else SCHEMAS
    schema = told.get("schema")
    if _is_model(schema):
        return _copied(told, [("schema", _model(schema, kind, change))])
    if not isinstance(schema, Mapping):
        return told
    form = cast("Mapping[str, Any]", schema)
    if isinstance(form.get("function"), Mapping):
        new = _copied(form, [("function", _told(form["function"], kind, _PARAMETERS, change))])
    elif "name" in form:
        new = _told(form, kind, _PARAMETERS, change)
    else:
        new = _bare(form, kind, change)
    return _copied(told, [("schema", new)])


def _bare(schema: Mapping[str, Any], kind: str, change: _Change) -> Mapping[str, Any]:
    path = kind + str(schema.get("title") or _UNNAMED)
    return _Walk(path, change).root(schema) if change.wants(path) else schema


_SHOWN = "ls_structured_output_format"
_ALWAYS = ("tools", "response_format")
_FORMS: Mapping[str, Callable[[Any, _Change], Any]] = {
    "tools": _tools,
    "functions": _tools,
    "response_format": _format,
    "output_config": _config,
    "output_format": _format,
    "text": _config,
    "response_json_schema": _format,
    "response_schema": _format,
    "format": _format,
    _SHOWN: _shown,
}
"""Where a model call's keyword arguments hold descriptions. A call has the first two with tools, one of the others with a schema."""


# Classes and objects


def _model(model: type[BaseModel], kind: str, change: _Change) -> type[BaseModel]:
    """A pydantic class whose JSON schema has the new descriptions; what it validates are instances of `model`."""
    changed: dict[tuple[Site, str], str] = {}

    def noted(site: Site, text: str) -> str:
        new = change.text(site, text)
        if new != text:
            changed[site, text] = new
        return text

    _bare(model.model_json_schema(), kind, _Change(noted, change.of))
    return _described(model, kind, tuple(changed.items())) if changed else model


@lru_cache(maxsize=256)
def _described(model: type[BaseModel], kind: str, changed: tuple[tuple[tuple[Site, str], str], ...]) -> type[BaseModel]:
    new = dict(changed)
    again = _Change(lambda site, text: new.get((site, text), text))

    def json_schema(_: type[BaseModel], *args: Any, **kwargs: Any) -> Any:
        return _bare(model.model_json_schema(*args, **kwargs), kind, again)

    def core_schema(_: type[BaseModel], __: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(model)

    members = {
        "__module__": model.__module__,
        "__qualname__": model.__qualname__,
        "__doc__": model.__doc__,
        "model_json_schema": classmethod(json_schema),
        "__get_pydantic_core_schema__": classmethod(core_schema),
    }
    # As a class statement would make it: in the model's own metaclass.
    return new_class(model.__name__, (model,), exec_body=lambda namespace: namespace.update(members))


def _is_model(value: Any) -> TypeIs[type[BaseModel]]:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _is_tool(value: Any) -> TypeIs[BaseTool]:
    if not isinstance(value, BaseModel):
        return False
    # Imported where it is needed, because LangGraph's own import does not bring it in.
    from langchain_core.tools import BaseTool

    return isinstance(value, BaseTool)


def _plain_tool(tool: Any) -> dict[str, Any]:
    from langchain_core.utils.function_calling import convert_to_openai_tool

    return convert_to_openai_tool(tool)


def _plain_items(tools: Any) -> Any:
    if not isinstance(tools, (list, tuple)):
        return tools
    items = cast("list[Any]", tools)
    return [_attempted(_plain_tool, item) if _is_model(item) or _is_tool(item) else item for item in items]


def _plain_schema(value: Any) -> Any:
    if not _is_model(value):
        return value

    def form(model: type[BaseModel]) -> dict[str, Any]:
        return {"type": "json_schema", "json_schema": {"name": model.__name__, "schema": model.model_json_schema()}}

    return _attempted(form, value)


def _attempted(form: Callable[[Any], Any], value: Any) -> Any:
    """A class that has no JSON schema stays as it is: what is recorded must never make a run fail."""
    try:
        return form(value)
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        return value


# Copying on write


def _copied(value: Mapping[str, Any], items: Iterable[tuple[str, Any]]) -> Any:
    """`value` with these items, or itself where each of them is there already."""
    new = {key: item for key, item in items if item is not value.get(key)}
    return {**value, **new} if new else value


def _listed(value: Any, change: Callable[[Any], Any]) -> Any:
    """A list with each item changed, or one value; itself where nothing is."""
    if not isinstance(value, (list, tuple)):
        return change(value)
    items = cast("list[Any]", value)
    new = [change(item) for item in items]
    return items if all(one is other for one, other in zip(new, items, strict=True)) else new


def _any(form: Callable[[Any, _Change], Any], value: Any) -> bool:
    met: list[str] = []

    def note(_: Site, text: str) -> str:
        met.append(text)
        return text

    form(value, _Change(note))
    return bool(met)


@lru_cache(maxsize=4096)
def _reads_back(site: Site) -> bool:
    try:
        return Site.parse(str(site)) == site
    except ValueError:
        return False
