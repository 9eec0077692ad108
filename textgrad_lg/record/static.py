"""Texts and tools that a compiled graph holds, found without running it.

The walk starts at the nodes' runnables and follows functions: their closures, the globals their code names, and their
source. It goes into the user's modules and not into libraries, of which it reads closures only. Nothing of the user's
is executed: no function is called and no property is read, attributes are taken from instances' dictionaries.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase
from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]  a package without py.typed

from textgrad_lg.prompt import Template
from textgrad_lg.record.held import Findings, Place, StaticText, Tool
from textgrad_lg.record.literals import Reading, parse_format, read
from textgrad_lg.record.peek import (
    attributes,
    cells_of,
    defaults_of,
    entries,
    in_library,
    is_prose,
    is_record,
    line_of,
    names_in,
    template_from,
    title_of,
)

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

DEPTH = 16
"""How many references the walk follows from a node."""
OBJECTS = 20_000
"""How many objects the walk looks at in a graph."""
# Variables in which LangChain's and LangGraph's agents hold their system prompt.
_AGENT_CELLS = {"system_message", "_system_message", "system_prompt", "prompt"}
_ROLES = ("system", "human")


def static_texts(graph: Pregel[Any, Any, Any, Any]) -> tuple[StaticText, ...]:
    """The texts that a graph holds, in the order of its nodes.

    Args:
        graph: A compiled graph; its subgraphs and agents are walked too.
    """
    return _walked(graph).found()


def static_tools(graph: Pregel[Any, Any, Any, Any]) -> tuple[Tool, ...]:
    """The tools that a graph holds, in the order of its nodes; a tool that stands in several nodes is named in each."""
    return tuple(_walked(graph).tools)


class _Code(NamedTuple):
    """What is known of the code that refers to a name: what its source says, and all the names it refers to."""

    reading: Reading | None
    names: tuple[str, ...] = ()


def _walked(graph: Pregel[Any, Any, Any, Any]) -> Findings:
    walk = _Walk()
    walk.visit(graph, Place())
    return walk.findings


@dataclass(slots=True)
class _Walk:
    findings: Findings = field(default_factory=Findings)
    # Identity to object: held, so that an id is not given to another object while the walk lasts.
    seen: dict[tuple[int, tuple[str, ...]], Any] = field(default_factory=dict[tuple[int, tuple[str, ...]], Any])

    def visit(self, value: Any, place: Place) -> None:
        """Look at one object and at what it holds."""
        place = replace(place, depth=place.depth + 1)
        key = (id(value), place.path)
        if place.depth > DEPTH or len(self.seen) >= OBJECTS or key in self.seen:
            return
        self.seen[key] = value
        # By its type and not by isinstance, which asks the object's own `__class__`.
        kind = cast("type[Any]", type(value))
        for base, look in (
            (Pregel, self._graph),
            (BaseMessage, self._message),
            (FunctionType, self._function),
            (MethodType, self._method),
            (partial, self._partial),
            ((list, tuple, dict), self._collection),
            (Runnable, self._runnable),
        ):
            if issubclass(kind, base):
                look(value, place)
                return
        call = kind.__dict__.get("__call__")
        if kind.__module__ == "langgraph.func" and "func" in attributes(value):
            self._task(attributes(value)["func"], place)
        elif isinstance(call, FunctionType) and not in_library(kind.__module__):
            self._function(call, place, value)

    # What holds texts

    def _collection(self, items: Any, place: Place) -> None:
        for _, item in entries(items):
            self.visit(item, place)

    def _task(self, function: Any, place: Place) -> None:
        """A task of the functional API: LangGraph runs it under its own name, inside the node that calls it."""
        name = str(attributes(function).get("__name__") or getattr(function, "__name__", "task"))
        self.visit(function, replace(place, path=(*place.path, name)))

    def _graph(self, graph: Any, place: Place) -> None:
        own = attributes(graph)
        config = cast("Mapping[str, Any]", own.get("config") or {})
        metadata = cast("Mapping[str, Any]", config.get("metadata") or {})
        agent = metadata.get("lc_agent_name") or place.agent
        branches = getattr(own.get("builder"), "branches", {})
        for name, node in own.get("nodes", {}).items():
            if name != "__start__":
                inner = replace(place, path=(*place.path, name), agent=agent, held=f"node `{name}`", source="")
                self.visit(attributes(node).get("bound"), inner)
                for branch in branches.get(name, {}).values():
                    self.visit(branch.path, inner.at(f"the router of node `{name}`"))

    def _runnable(self, value: Any, place: Place) -> None:
        from langchain_core.language_models import BaseLanguageModel
        from langchain_core.prompts import BasePromptTemplate
        from langchain_core.tools import BaseTool

        if isinstance(value, BasePromptTemplate):
            self._prompt(value, place)
        elif isinstance(value, BaseTool):
            self._tool(value, place)
        elif not isinstance(value, BaseLanguageModel):
            if isinstance(value, RunnableBindingBase):
                self._bound_tools(attributes(value).get("kwargs", {}), place)
            for item in attributes(value).values():
                # A runnable's own texts are its name and tags.
                if not isinstance(item, str):
                    self.visit(item, place)

    def _tool(self, tool: BaseTool, place: Place) -> None:
        own = attributes(tool)
        self.findings.add_tool(place, own.get("name"), own.get("description"))
        if place.library:
            # An agent's model node knows the tools too, but they run in a node of their own.
            return
        place = replace(place, tool=True)
        for name in ("func", "coroutine"):
            if own.get(name) is not None:
                self.visit(own[name], place)
        run = type(tool).__dict__.get("_run")
        if isinstance(run, FunctionType) and not in_library(type(tool).__module__):
            self._function(run, place, tool)

    def _bound_tools(self, options: Mapping[str, Any], place: Place) -> None:
        for tool in options.get("tools") or ():
            if isinstance(tool, dict):
                told = cast("dict[str, Any]", tool)
                told = told.get("function") or told
                if "name" in told:
                    self.findings.add_tool(place, told["name"], told.get("description"))

    def _prompt(self, prompt: Any, place: Place) -> None:
        """A prompt template of LangChain: its messages, in order."""
        held = place.held if place.held.startswith("ChatPromptTemplate") else f"ChatPromptTemplate in {place.held}"
        for item in attributes(prompt).get("messages") or [prompt]:
            if isinstance(item, BaseMessage):
                self._message(item, place.at(held, place.source))
                continue
            own = attributes(item)
            role = next((role for role in _ROLES if type(item).__name__.lower().startswith(role)), None)
            inner = own.get("prompt", item)
            for part in cast("list[Any]", inner) if isinstance(inner, list) else [inner]:
                text, form = attributes(part).get("template"), attributes(part).get("template_format", "f-string")
                if isinstance(text, str) and (role or item is prompt):
                    template, fragment = template_from(text, form)
                    self.findings.add(place.at(held, place.source), template, role, fragment=fragment)

    def _message(self, message: BaseMessage, place: Place) -> None:
        role = message.type if message.type in _ROLES else None
        content = message.content
        for block in [content] if isinstance(content, str) else content:
            text = block if isinstance(block, str) else block.get("text")
            if role and isinstance(text, str):
                self.findings.add(place, Template(text), role)

    # Functions

    def _method(self, method: MethodType, place: Place) -> None:
        function = method.__func__
        if isinstance(function, FunctionType):
            self._function(function, place, method.__self__)

    def _partial(self, value: partial[Any], place: Place) -> None:
        function: Any = value.func
        code = getattr(function, "__code__", None) if isinstance(function, FunctionType) else None
        names = code.co_varnames if code is not None else ()
        given = {**dict(zip(names, value.args, strict=False)), **value.keywords}
        reading = read(code) if code is not None and not in_library(function.__module__) else None
        for name, item in given.items():
            self._named(name, item, place.at(f"argument `{name}` given to {title_of(function)}"), _Code(reading))
        self.visit(function, place)

    def _function(self, function: FunctionType, place: Place, owner: Any = None) -> None:
        code = function.__code__
        cells = dict(cells_of(function))
        if in_library(function.__globals__.get("__name__", "")):
            self._library_function(cells, place)
            return
        place = replace(place, library=False)
        title = title_of(function)
        reading = read(code)
        names = tuple(name for name in dict.fromkeys(names_in(code)) if not name.startswith("__"))
        variables = {name: function.__globals__[name] for name in names if name in function.__globals__}
        known = {**variables, **cells}
        if reading is None:
            inner = place.at(f"constant in {title}", f"{code.co_filename}:{code.co_firstlineno}")
            self._constants(code, inner, function.__doc__)
        else:
            self._literals(reading, known, title, code.co_filename, place)
        module = str(function.__globals__.get("__name__", ""))
        code_names = _Code(reading, names)
        for name, value in variables.items():
            self._named(name, value, place.at(f"module constant `{module}.{name}`"), code_names)
        for name, value in cells.items():
            self._named(name, value, place.at(f"variable `{name}` in the closure of {title}"), code_names)
        for name, value in defaults_of(function):
            self._named(name, value, place.at(f"default of `{name}` in {title}"), code_names)
        if owner is not None:
            owned = type(owner).__name__
            for name, value in {**type(owner).__dict__, **attributes(owner)}.items():
                if name in names:
                    self._named(name, value, place.at(f"attribute `{name}` of `{owned}`"), code_names)

    def _library_function(self, cells: Mapping[str, Any], place: Place) -> None:
        """Of a library's function, the closure: agents keep their prompt, tools and middleware there."""
        for name, value in cells.items():
            if name in _AGENT_CELLS and isinstance(value, (str, BaseMessage)):
                agent = f" `{place.agent}`" if place.agent else ""
                inner = place.at(f"system_prompt of the agent{agent}")
                self.visit(value, inner) if isinstance(value, BaseMessage) else self.findings.add(
                    inner, Template(value), "system"
                )
            elif not isinstance(value, str):
                self.visit(value, replace(place, library=True))

    def _literals(self, reading: Reading, known: Mapping[str, Any], title: str, file: str, place: Place) -> None:
        for literal in reading.literals:
            template = Template(literal.text, literal.slots)
            # f"{RULES}\n\n{review}": the constant is the author's text, not a slot.
            inline = {slot: known[name] for slot, name in literal.names.items() if isinstance(known.get(name), str)}
            if inline:
                text = template.render({slot: inline.get(slot, f"{{{slot}}}") for slot in template.slots})
                template = Template(text, tuple(slot for slot in template.slots if slot not in inline))
            if literal.role is not None or is_prose(literal.text):
                role = literal.role or place.role
                if role is None and place.tool:
                    continue
                inner = place.at(f"{literal.kind} in {title}", f"{file}:{literal.line}")
                self.findings.add(inner, template, role, fragment=role is None)

    def _constants(self, code: CodeType, place: Place, docstring: str | None = None) -> None:
        """Without source: the strings in the compiled code, of which an f-string leaves only pieces."""
        for value in code.co_consts:
            if isinstance(value, str) and value != docstring and is_prose(value):
                self.findings.add(place, Template(value), None, fragment=True)
            elif isinstance(value, CodeType):
                self._constants(value, place)

    def _named(self, name: str, value: Any, place: Place, code: _Code) -> None:
        """Something that a function's code refers to by name."""
        kind = cast("type[Any]", type(value))
        if issubclass(kind, str):
            self._constant(name, value, place, code)
        elif issubclass(kind, ModuleType):
            self._module(value, place, code)
        elif issubclass(kind, (dict, list, tuple)):
            self._entries(name, value, place, code)
        elif is_record(value):
            self._members(value.__dict__ if isinstance(value, type) else attributes(value), place, code)
        elif kind.__module__.startswith("langchain_core.prompts"):
            self.visit(value, place.at(f"ChatPromptTemplate {place.held.removeprefix('module constant ')}"))
        else:
            role = code.reading.roles.get(name) if code.reading else None
            self.visit(value, replace(place, role=role))

    def _module(self, module: ModuleType, place: Place, code: _Code) -> None:
        if in_library(module.__name__):
            return
        for name, item in list(module.__dict__.items()):
            if name in code.names and not isinstance(item, ModuleType):
                self._named(name, item, place.at(f"module constant `{module.__name__}.{name}`"), code)

    def _entries(self, name: str, value: Any, place: Place, code: _Code) -> None:
        """The entries of a constant that is a dict, list or tuple."""
        for key, item in entries(value):
            inner = place.at(_part(place.held, f"[{key!r}]"))
            if isinstance(item, str):
                self._constant(name, item, inner, code)
            else:
                self.visit(item, inner)

    def _members(self, members: Mapping[str, Any], place: Place, code: _Code) -> None:
        """The texts of a class or record that the code names."""
        for name, item in list(members.items()):
            if name in code.names and isinstance(item, str):
                self._constant(name, item, place.at(_part(place.held, f".{name}")), code)

    def _constant(self, name: str, text: str, place: Place, code: _Code) -> None:
        role = code.reading.roles.get(name) if code.reading else None
        formatted = code.reading is not None and name in code.reading.formatted
        if role is None and not formatted and not is_prose(text):
            return
        if place.held.startswith("module constant `"):
            module, _, constant = place.held.split("`")[1].partition("[")[0].rpartition(".")
            place = place.at(place.held, line_of(sys.modules.get(module), constant))
        self.findings.add(place, (parse_format(text) if formatted else None) or Template(text), role)


def _part(held: str, suffix: str) -> str:
    """What holds a part of what `held` names: the suffix goes to the first name in it."""
    before, name, after = held.split("`", 2)
    return f"{before}`{name}{suffix}`{after}"
