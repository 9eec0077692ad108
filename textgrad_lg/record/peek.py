"""Looking at objects without running anything of the user's: no call, no property, no `__getattr__`."""

from __future__ import annotations

import dis
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

SDKS = (
    *("openai", "anthropic", "mistralai", "cohere", "groq", "litellm", "ollama"),
    *("google.genai", "google.generativeai"),
)
"""Packages that call models past langchain-core."""
_LIBRARIES = re.compile(
    r"^(langchain|langgraph|langsmith|textgrad_lg|pydantic|google|httpx|requests|numpy|pandas|_?pytest"
    rf"|{'|'.join(SDKS[:-2])})(\.|_|$)"
)


def is_record(value: Any) -> bool:
    """Whether a value is a user's class, or an instance without code to follow, as settings are."""
    kind = cast("type[Any]", value if isinstance(value, type) else type(value))
    code = isinstance(value, (FunctionType, MethodType)) or "__call__" in kind.__dict__ or issubclass(kind, Runnable)
    return not in_library(kind.__module__) and (isinstance(value, type) or not code)


def origin(value: Any) -> str:
    """The module that a module, class, function or instance belongs to."""
    if isinstance(value, ModuleType):
        return value.__name__
    own = value if isinstance(value, (type, FunctionType, MethodType)) else type(value)
    return str(getattr(own, "__module__", None) or "")


def imports_in(code: CodeType) -> Iterator[str]:
    """What code imports when it runs, functions inside it too: `threading`, and `threading.Thread` by name."""
    module = ""
    for step in _steps(code):
        if step.opname == "IMPORT_NAME":
            module = str(step.argval)
            yield module
        elif step.opname == "IMPORT_FROM":
            yield f"{module}.{step.argval}"


def attributes_in(code: CodeType) -> set[str]:
    """The names that code looks up on objects, functions inside it too."""
    return {str(step.argval) for step in _steps(code) if step.opname in {"LOAD_ATTR", "LOAD_METHOD"}}


def _steps(code: CodeType) -> Iterator[dis.Instruction]:
    yield from dis.get_instructions(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _steps(constant)


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


def members_of(value: Any) -> dict[str, Any]:
    """An instance's attributes and what its class gives it, every function bound to it: to be looked at, not to be called.

    Of a user's class nothing that it has from a library is given; of a library's class, what its own package gives it.
    """
    kind = cast("type[Any]", type(value))
    home = kind.__module__.partition(".")[0]
    found: dict[str, Any] = {}
    for base in reversed(type.mro(kind)):
        if not in_library(base.__module__) or base.__module__.partition(".")[0] == home:
            for name, item in base.__dict__.items():
                plain: Any = cast("Any", item).__func__ if isinstance(item, (staticmethod, classmethod)) else item
                found[name] = MethodType(plain, value) if isinstance(plain, FunctionType) else plain
    return {**found, **attributes(value)}


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


def class_defaults(kind: type[object]) -> dict[str, Any]:
    """The values that the fields of a user's class have where none is given: a plain class, a dataclass or a pydantic model."""
    found: dict[str, Any] = {}
    for base in reversed(type.mro(kind)):
        if not in_library(base.__module__):
            own = base.__dict__
            found |= {name: own[name] for name in own if not name.startswith("__")}
            fields = cast("Mapping[str, Any]", own.get("__pydantic_fields__") or {})
            found |= {name: getattr(at, "default", None) for name, at in fields.items()}
    return found


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
    return Template(text).telling


def line_of(module: ModuleType | None, name: str) -> str:
    """The file and line at which a module sets a name, as in "/app/prompts.py:12"; "" where there is no file."""
    file = module.__dict__.get("__file__") if module is not None else None
    if not isinstance(file, str):
        return ""
    setting = re.compile(rf"^{re.escape(name)}\s*(:[^=]+)?=")
    line = next((at for at, text in enumerate(linecache.getlines(file), 1) if setting.match(text)), None)
    return f"{file}:{line}" if line else file


def source_held(held: str) -> str:
    """The file and line of a module constant, from what says that it holds a text."""
    module, _, constant = held.split("`")[1].partition("[")[0].rpartition(".")
    return line_of(sys.modules.get(module), constant)


def part_held(held: str, suffix: str) -> str:
    """What holds a part of what `held` names: the suffix goes to the first name in it."""
    before, name, after = held.split("`", 2)
    return f"{before}`{name}{suffix}`{after}"
