"""Texts and tools that a compiled graph holds, found without running it.

The walk starts at the nodes' runnables and follows functions: their closures, the globals their code names, and their
source. It goes into the user's modules and not into libraries, of which it reads closures only. Nothing of the user's
is executed: no function is called and no property is read, attributes are taken from instances' dictionaries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase
from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]  a package without py.typed

from textgrad_lg.prompt import Template
from textgrad_lg.record.blind import blind_spots
from textgrad_lg.record.held import Blind, Findings, Place, StaticText, Tool
from textgrad_lg.record.literals import Reading, parse_format, read
from textgrad_lg.record.peek import (
    attributes,
    cells_of,
    class_defaults,
    defaults_of,
    entries,
    in_library,
    is_prose,
    is_record,
    members_of,
    names_in,
    part_held,
    source_held,
    title_of,
)
from textgrad_lg.record.prompts import message_texts, pulled_from, texts_of
from textgrad_lg.record.routes import options_of
from textgrad_lg.record.uses import Handle, handle_name
from textgrad_lg.site import Site

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.tools import BaseTool

DEPTH = 16
"""How many references the walk follows from a node."""
OBJECTS = 20_000
"""How many objects the walk looks at in a graph."""
# The methods by which a runnable, or an object that a node calls, is run.
_ENTRIES = ("invoke", "ainvoke", "stream", "astream", "transform", "atransform", "__call__")
# LangChain's own middleware writes instructions into the state.
_SHIPPED = "langchain.agents.middleware."
# Variables in which LangChain's and LangGraph's agents hold their system prompt.
_AGENT_CELLS = {"system_message", "_system_message", "system_prompt", "prompt"}


def static_texts(graph: Pregel[Any, Any, Any, Any]) -> tuple[StaticText, ...]:
    """The texts that a graph holds, in the order of its nodes.

    Args:
        graph: A compiled graph; its subgraphs and agents are walked too.
    """
    return tuple(text for text in walked(graph).found() if not text.shipped)


def static_tools(graph: Pregel[Any, Any, Any, Any]) -> tuple[Tool, ...]:
    """The tools that a graph holds, in the order of its nodes; a tool that stands in several nodes is named in each."""
    return tuple(walked(graph).tools)


def static_models(graph: Pregel[Any, Any, Any, Any]) -> tuple[tuple[tuple[str, ...], BaseChatModel], ...]:
    """The chat models that a graph holds, each with the path of its node, in the order of its nodes."""
    return tuple(walked(graph).models)


class _Source(NamedTuple):
    """A function's code as it was read: what its source says, and the names it refers to. It holds on to the code."""

    code: CodeType
    reading: Reading | None
    names: tuple[str, ...]


class _Code(NamedTuple):
    """What is known of the code that refers to a name: what its source says, and all the names it refers to."""

    reading: Reading | None
    names: tuple[str, ...] = ()


def walked(graph: Pregel[Any, Any, Any, Any]) -> Findings:
    """All that the walk through a graph's code finds."""
    walk = _Walk()
    walk.visit(graph, Place())
    return walk.findings


@dataclass(slots=True)
class _Walk:
    findings: Findings = field(default_factory=Findings)
    # Identity to object: held, so that an id is not given to another object while the walk lasts.
    seen: dict[tuple[Any, ...], Any] = field(default_factory=dict[tuple[Any, ...], Any])
    # The same function may belong to many nodes; reading its source takes most of the time.
    sources: dict[int, _Source] = field(default_factory=dict[int, "_Source"])

    def visit(self, value: Any, place: Place) -> None:
        """Look at one object and at what it holds."""
        place = replace(place, depth=place.depth + 1)
        # A method is another object each time it is looked up.
        bound = type(value) is MethodType
        key = (*((id(value.__func__), id(value.__self__)) if bound else (id(value),)), place.path)
        if place.depth > DEPTH or len(self.seen) >= OBJECTS or key in self.seen:
            return
        self.seen[key] = value
        # By its type and not by isinstance, which asks the object's own `__class__`.
        kind = cast("type[Any]", type(value))
        for base, look in (
            (Handle, self._handle),
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

    def _handle(self, value: Any, place: Place) -> None:
        own = attributes(value)
        if isinstance(own.get("own"), Template) and isinstance(own.get("site"), Site):
            if place.held.startswith("module constant `"):
                place = place.at(place.held, source_held(place.held))
            self.findings.add_handle(place, handle_name(own["site"]), own["own"])

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
        builder = own.get("builder")
        branches = getattr(builder, "branches", {})
        self.findings.routes |= options_of(builder, place.path)
        place = replace(place, context=own.get("context_schema") or place.context)
        for name, node in own.get("nodes", {}).items():
            if name != "__start__":
                inner = replace(place, path=(*place.path, name), agent=agent, held=f"node `{name}`", source="")
                self.visit(attributes(node).get("bound"), inner)
                for branch in branches.get(name, {}).values():
                    self.visit(branch.path, inner.at(f"the router of node `{name}`"))

    def _runnable(self, value: Any, place: Place) -> None:
        from langchain_core import language_models
        from langchain_core.prompts import BasePromptTemplate
        from langchain_core.tools import BaseTool

        if isinstance(value, BasePromptTemplate):
            # Text alone that is piped into a model becomes a human message.
            prompt = cast("Any", value)
            named = place.held.startswith(type(prompt).__name__)
            self._prompt(prompt, place if named else replace(place, role=place.role or "human"))
        elif isinstance(value, BaseTool):
            self._tool(value, place)
        elif isinstance(value, language_models.BaseLanguageModel):
            if isinstance(value, language_models.BaseChatModel):
                self.findings.models.append((place.path, value))
            if not place.library:
                self.findings.blind[Blind(place.path, "model", "", place.held)] = None
        else:
            if isinstance(value, RunnableBindingBase):
                self._bound_tools(attributes(value).get("kwargs", {}), place)
            for item in attributes(value).values():
                # A runnable's own texts are its name and tags.
                if not isinstance(item, str):
                    self.visit(item, place)
            self._methods(value, _ENTRIES, place)

    def _methods(self, value: Any, names: Collection[str], place: Place) -> None:
        """Those methods of an object that have one of these names and are not a library's."""
        for name, item in members_of(value).items():
            if name in names and type(item) is MethodType:
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
        kind = type(prompt).__name__
        held = place.held if place.held.startswith(kind) else f"{kind} in {place.held}"
        pulled = pulled_from(attributes(prompt).get("metadata"))
        place = place.at(f"{held}, pulled from {pulled}" if pulled else held, place.source)
        for role, template, fragment in texts_of(prompt):
            self.findings.add(place, template, role or place.role, fragment=fragment)

    def _message(self, message: BaseMessage, place: Place) -> None:
        for role, template, _ in message_texts(message):
            self.findings.add(place, template, role)

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
        module = str(function.__globals__.get("__name__", ""))
        if in_library(module):
            if owner is not None and module.startswith(_SHIPPED):
                self._shipped(function, place, owner)
            # What `dynamic_prompt` wraps returns the system prompt.
            made = "dynamic_prompt" in function.__qualname__
            self._library_function(cells, replace(place, role="system") if made else place)
            return
        place = replace(place, library=False)
        title = title_of(function)
        _, reading, names = self._read(code)
        variables = {name: function.__globals__[name] for name in names if name in function.__globals__}
        known = {**variables, **cells}
        if reading is None:
            inner = place.at(f"constant in {title}", f"{code.co_filename}:{code.co_firstlineno}")
            self._constants(code, inner, function.__doc__)
        else:
            self._literals(reading, known, title, code.co_filename, place)
        owned = members_of(owner) if owner is not None else {}
        owned = {name: value for name, value in owned.items() if name in names}
        self.findings.blind |= dict.fromkeys(
            blind_spots(function, place.path, [*variables.values(), *cells.values(), *owned.values()])
        )
        code_names = _Code(reading, names)
        for name, value in variables.items():
            self._named(name, value, place.at(f"module constant `{module}.{name}`"), code_names)
        for name, value in cells.items():
            self._named(name, value, place.at(f"variable `{name}` in the closure of {title}"), code_names)
        for name, value in defaults_of(function):
            self._named(name, value, place.at(f"default of `{name}` in {title}"), code_names)
        if place.context is not None:
            inner = place.at(f"default of `{place.context.__name__}` in the graph's context_schema")
            self._members(class_defaults(place.context), inner, code_names)
        for name, value in owned.items():
            self._named(name, value, place.at(f"attribute `{name}` of `{type(owner).__name__}`"), code_names)

    def _read(self, code: CodeType) -> _Source:
        found = self.sources.get(id(code))
        if found is None:
            names = tuple(name for name in dict.fromkeys(names_in(code)) if not name.startswith("__"))
            found = self.sources[id(code)] = _Source(code, read(code), names)
        return found

    def _shipped(self, function: FunctionType, place: Place, owner: Any) -> None:
        """A method of LangChain's own middleware: its texts, and those of the methods that it calls on itself."""
        place = replace(place, shipped=True, library=True)
        code, reading, names = self._read(function.__code__)
        if reading is not None:
            self._literals(reading, function.__globals__, title_of(function), code.co_filename, place)
        for name, value in attributes(owner).items():
            if name in names and isinstance(value, str):
                inner = place.at(f"attribute `{name}` of `{type(owner).__name__}`")
                self._constant(name, value, inner, _Code(reading, names))
        self._methods(owner, names, place)

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
            if not isinstance(value, type):
                self._methods(value, code.names, place)
        elif kind.__module__.startswith("langchain_core.prompts"):
            formatted = code.reading is not None and name in code.reading.formatted
            role = (code.reading.roles.get(name) if code.reading else None) or (None if formatted else "human")
            held = f"{kind.__name__} {place.held.removeprefix('module constant ')}"
            self.visit(value, replace(place.at(held), role=role))
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
            inner = place.at(part_held(place.held, f"[{key!r}]"))
            if isinstance(item, str):
                self._constant(name, item, inner, code)
            else:
                self.visit(item, inner)

    def _members(self, members: Mapping[str, Any], place: Place, code: _Code) -> None:
        """The texts of a class or record that the code names."""
        for name, item in list(members.items()):
            inner = place.at(part_held(place.held, f".{name}"))
            if name in code.names and isinstance(item, str):
                self._constant(name, item, inner, code)
            elif name in code.names and issubclass(cast("type[Any]", type(item)), Handle):
                self.visit(item, inner)

    def _constant(self, name: str, text: str, place: Place, code: _Code) -> None:
        role = code.reading.roles.get(name) if code.reading else None
        formatted = code.reading is not None and name in code.reading.formatted
        if role is None and not formatted and not is_prose(text):
            return
        if place.held.startswith("module constant `"):
            place = place.at(place.held, source_held(place.held))
        self.findings.add(place, (parse_format(text) if formatted else None) or Template(text), role)
