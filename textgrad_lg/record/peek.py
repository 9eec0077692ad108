"""Looking at objects without running anything of the user's: no call, no property, no `__getattr__`."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

from langchain_core.runnables import Runnable

from textgrad_lg.prompt import Template
from textgrad_lg.record.literals import parse_format
from textgrad_lg.record.mask import identifier

_LIBRARIES = re.compile(
    r"^(langchain|langgraph|langsmith|textgrad_lg|pydantic|openai|anthropic|google|httpx|requests|numpy|pandas|_?pytest)(\.|_|$)"
)
_PROSE_WORDS = 4
_PROSE_LENGTH = 16


def is_record(value: Any) -> bool:
    """Whether a value is a user's class, or an instance without code to follow, as settings are."""
    kind = cast("type[Any]", value if isinstance(value, type) else type(value))
    code = isinstance(value, (FunctionType, MethodType)) or "__call__" in kind.__dict__ or issubclass(kind, Runnable)
    return not in_library(kind.__module__) and (isinstance(value, type) or not code)


def entries(value: Any) -> list[tuple[Any, Any]]:
    """The entries of a dict, list or tuple, past any method that a subclass overrides."""
    if isinstance(value, dict):
        return list(cast("Any", dict).items(value))
    return list(enumerate(cast("list[Any]", value)))


def attributes(value: Any) -> Mapping[str, Any]:
    """An instance's own attributes, past any property or `__getattr__`."""
    try:
        return cast("Mapping[str, Any]", object.__getattribute__(value, "__dict__"))
    except AttributeError:
        return {}


def in_library(module: str) -> bool:
    """Whether a module is a library's: what is in it is not the user's to change."""
    return bool(_LIBRARIES.match(module)) or module.partition(".")[0] in sys.stdlib_module_names - {"__main__"}


def title_of(function: Any) -> str:
    """A function's name with its module, in backticks."""
    return f"`{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', 'function')}`".replace(
        ".<locals>", ""
    )


def names_in(code: CodeType) -> Iterator[str]:
    """The global and attribute names that code refers to, those of functions inside it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def cells_of(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The variables of a function's closure."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a variable that was never set
            continue


def defaults_of(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The arguments of a function that have a default."""
    code = function.__code__
    defaults = function.__defaults__ or ()
    yield from zip(code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()


def template_from(text: str, form: str) -> tuple[Template, bool]:
    """A LangChain template's text as a Template, and whether it is only known in part."""
    if form == "f-string":
        return parse_format(text) or Template(text.replace("{{", "{").replace("}}", "}")), False
    names = [name for name in re.findall(r"\{\{\s*(\w+)\s*\}\}", text) if name == identifier(name)]
    plain = re.sub(r"\{\{\s*(\w+)\s*\}\}", r"{\1}", text)
    # Sections, loops and filters: what they make is not known.
    return Template(plain, tuple(dict.fromkeys(names))), "{{" in plain or "{%" in plain


def is_prose(text: str) -> bool:
    """Whether a text without any other sign could be an instruction."""
    return len(text) >= _PROSE_LENGTH and len(re.findall(r"[^\W\d_]{2,}", text)) >= _PROSE_WORDS


def line_of(module: ModuleType | None, name: str) -> str:
    """The file and line at which a module sets a name, as in "/app/prompts.py:12"; "" where there is no file."""
    file = module.__dict__.get("__file__") if module is not None else None
    if not isinstance(file, str):
        return ""
    setting = re.compile(rf"^{re.escape(name)}\s*(:[^=]+)?=")
    line = next((at for at, text in enumerate(linecache.getlines(file), 1) if setting.match(text)), None)
    return f"{file}:{line}" if line else file
