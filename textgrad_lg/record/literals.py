"""Texts in a function's source: literals, f-strings and format strings, and which message they are put into.

The source is parsed, never run.
"""

from __future__ import annotations

import ast
import inspect
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType

from textgrad_lg.prompt import Template
from textgrad_lg.record.mask import Slot, braced, identifier, template_of, unique

_CALLS = {"SystemMessage": "system", "HumanMessage": "human"}
_ROLES = {"system": "system", "developer": "system", "human": "human", "user": "human"}
_SEND = {"invoke", "ainvoke", "stream", "astream"}
_KEYWORDS = {"system_prompt": "system", "prompt": "system"}
_IGNORED = (ast.Raise, ast.Assert)


@dataclass(frozen=True, slots=True)
class Literal:
    """A text that stands in the source.

    Attributes:
        text: The text, with a slot for each expression in it.
        slots: The names of the slots.
        kind: "text", "f-string" or "format string".
        role: The role of the message that it is put into, where the source shows it; else None.
        line: Its line in the file.
        names: Slot to variable name, for the slots that are filled from a plain variable.
    """

    text: str
    slots: tuple[str, ...]
    kind: str
    role: str | None
    line: int
    names: Mapping[str, str]


@dataclass(slots=True)
class Reading:
    """What a function's source says about texts.

    Attributes:
        literals: The texts in it, in order.
        roles: Name of a variable, attribute or function to the role of the message that its value is put into.
        formatted: Names of variables and attributes that `format` is called on.
    """

    literals: list[Literal] = field(default_factory=list[Literal])
    roles: dict[str, str] = field(default_factory=dict[str, str])
    formatted: set[str] = field(default_factory=set[str])


def read(code: CodeType) -> Reading | None:
    """Read a function's source; None where there is none or it cannot be parsed on its own."""
    try:
        source = inspect.getsource(code)
        # Not dedented: the lines of a text may stand further to the left, and are part of it wherever they stand.
        inner = source[:1].isspace()
        tree = ast.parse(f"if True:\n{source}" if inner else source)
    except (OSError, TypeError, SyntaxError):
        return None
    roots: list[ast.AST] = [tree]
    if code.co_name == "<lambda>":
        # The lines of a lambda hold the whole statement around it.
        roots = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    reader = _Reader(code.co_firstlineno - 1 - inner)
    for root in roots:
        reader.roles_in(root)
        reader.texts_in(root)
    return reader.reading


def parse_format(text: str) -> Template | None:
    """A `str.format` string as a Template; None if it is not one, or has no field."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError:
        return None
    # An escaped brace ends a piece: what stands in braces in the end is seen only in the pieces together.
    avoid = braced("".join(literal if name is None else f"{literal}\0" for literal, name, _, _ in parsed))
    names: dict[str, str] = {}
    pieces: list[str | Slot] = []
    for literal, name, _, _ in parsed:
        pieces.append(literal)
        if name is not None:
            # Fields without a name are different values each time.
            key = name or f" {len(pieces)}"
            if key not in names:
                names[key] = unique(identifier(name), {*avoid, *names.values()})
            pieces.append(Slot(names[key]))
    return template_of(pieces) if names else None


class _Reader:
    def __init__(self, above: int) -> None:
        self.reading = Reading()
        self._above = above
        # By node, because a literal's role is seen before the literal itself is read.
        self._role: dict[ast.AST, str] = {}
        self._formatted: set[ast.AST] = set()

    def roles_in(self, root: ast.AST) -> None:
        """Find out which expressions are put into messages."""
        for node in ast.walk(root):
            match node:
                case ast.Call():
                    self._call(node)
                case ast.Tuple(elts=[ast.Constant(value=str(role)), content]) if role in _ROLES:
                    self._mark(content, _ROLES[role])
                case ast.List(elts=[ast.Constant(value=str(role)), content]) if role in _ROLES:
                    self._mark(content, _ROLES[role])
                case ast.Dict():
                    self._message(node)
                case _:
                    pass
        # `prompt = "..."` and, later, `model.invoke(prompt)`.
        for node in ast.walk(root):
            if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for name, value in (pair for target in targets for pair in _assigned(target, node.value)):
                    if name in self.reading.roles:
                        self._mark(value, self.reading.roles[name])

    def texts_in(self, root: ast.AST) -> None:
        """Collect the texts, outermost first and without those inside of others."""
        todo = [root]
        while todo:
            node = todo.pop()
            pieces = list(self._pieces(node))
            if any(isinstance(piece, str) for piece in pieces):
                self._add(node, pieces)
            else:
                todo += reversed(list(_inside(node)))

    def _call(self, node: ast.Call) -> None:
        name = _last_name(node.func)
        first = node.args[0] if node.args else None
        if name in _CALLS:
            content = first or next((at.value for at in node.keywords if at.arg == "content"), None)
            if content is not None:
                self._mark(content, _CALLS[name])
        elif isinstance(node.func, ast.Attribute) and name in _SEND and first is not None:
            self._mark(first, "human")
        elif isinstance(node.func, ast.Attribute) and name in {"format", "format_map"}:
            self._formatted.add(node.func.value)
            # self.prompts["plan"].format(...): any entry may be a format string.
            owner = _last_name(_whole(node.func.value))
            if owner:
                self.reading.formatted.add(owner)
        for keyword in node.keywords:
            if keyword.arg in _KEYWORDS:
                self._mark(keyword.value, _KEYWORDS[keyword.arg])

    def _message(self, node: ast.Dict) -> None:
        items = {
            key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)
        }
        role = items.get("role")
        if isinstance(role, ast.Constant) and role.value in _ROLES and "content" in items:
            self._mark(items["content"], _ROLES[str(role.value)])

    def _mark(self, node: ast.expr, role: str) -> None:
        """Note that the text of this expression goes into a message of this role."""
        todo = [node]
        while todo:
            node = todo.pop()
            self._role.setdefault(node, role)
            # What a function returns goes into the message; a method is asked of the object whose text that is.
            function = node.func if isinstance(node, ast.Call) else node
            name = _last_name(function)
            if name and not (function is not node and isinstance(function, ast.Attribute)):
                self.reading.roles.setdefault(name, role)
            todo += reversed(_texts_called(node) if isinstance(node, ast.Call) else _texts_in(node))

    def _pieces(self, node: ast.AST) -> Iterator[str | ast.expr]:
        """The constants and expressions that this expression joins into one text; nothing for other expressions."""
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=values):
                for value in values:
                    if isinstance(value, ast.FormattedValue):
                        yield value.value
                    else:
                        yield from self._pieces(value)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                for side in (left, right):
                    pieces = list(self._pieces(side))
                    yield from pieces or [side]
            case _:
                pass

    def _add(self, node: ast.AST, pieces: list[str | ast.expr]) -> None:
        avoid = {name for piece in pieces if isinstance(piece, str) for name in braced(piece)}
        keys: dict[str, str] = {}
        names: dict[str, str] = {}
        parts: list[str | Slot] = []
        for piece in pieces:
            if isinstance(piece, str):
                parts.append(piece)
                continue
            key = ast.dump(piece)
            if key not in keys:
                keys[key] = unique(identifier(_value_name(piece)), {*avoid, *keys.values()})
                if isinstance(piece, (ast.Name, ast.Attribute)):
                    names[keys[key]] = _last_name(piece)
            parts.append(Slot(keys[key]))
        template = template_of(parts)
        kind = "f-string" if template.slots else "text"
        if node in self._formatted and not template.slots:
            formatted = parse_format(template.text)
            template, kind = (formatted, "format string") if formatted else (template, kind)
        line = self._above + getattr(node, "lineno", 1)
        role = self._role.get(node)
        self.reading.literals.append(Literal(template.text, template.slots, kind, role, line, names))


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """The children that may hold texts for a model: not docstrings, decorators, annotations and error messages."""
    if isinstance(node, _IGNORED) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield from (*node.args.defaults, *(at for at in node.args.kw_defaults if at is not None), *node.body)
        return
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.AnnAssign) and child is node.annotation):
            yield child


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The variables that an assignment sets, each with its value."""
    match target, value:
        case ast.Name(id=name), _:
            yield name, value
        case (ast.Tuple(elts=targets), ast.Tuple(elts=values)) if len(targets) == len(values):
            for pair in zip(targets, values, strict=True):
                yield from _assigned(*pair)
        case _:
            pass


def _texts_called(call: ast.Call) -> list[ast.expr]:
    """The expressions that a call makes its text of."""
    match call:
        case (
            ast.Call(func=ast.Attribute(attr="dedent"), args=[value, *_])
            | ast.Call(func=ast.Name(id="dedent" | "str"), args=[value, *_])
        ):
            return [value]
        # config["configurable"].get("system", "You are ..."): the default is the author's.
        case ast.Call(func=ast.Attribute(attr="get", value=value), args=[_, default]):
            return [value, default]
        case ast.Call(func=ast.Name(id="getattr"), args=[_, _, default]):
            return [default]
        case ast.Call(func=ast.Attribute(value=value)):
            return [value]
        case _:
            return []


def _texts_in(node: ast.expr) -> list[ast.expr]:
    """The expressions of which one, or all together, are an expression's text."""
    match node:
        case ast.BinOp(left=left, right=right):
            return [left, right]
        case ast.IfExp(body=body, orelse=other):
            return [body, other]
        case ast.BoolOp(values=values):
            return values
        case ast.Subscript(value=value):
            return [value]
        case _:
            return list(_block_texts(node))


def _block_texts(node: ast.expr) -> Iterator[ast.expr]:
    """The content blocks of a message, and the text of a block."""
    if isinstance(node, ast.List) and all(map(_is_block, node.elts)):
        # A block by name may be a picture; the texts of a constant are found where it is.
        yield from (block for block in node.elts if not isinstance(block, ast.Name))
    elif isinstance(node, ast.Dict):
        yield from (value for key, value in zip(node.keys, node.values, strict=True) if _is_text_key(key))


def _is_block(node: ast.expr) -> bool:
    """Whether an expression could be a content block of a message."""
    if isinstance(node, ast.Dict):
        return any(isinstance(key, ast.Constant) and key.value == "type" for key in node.keys)
    return isinstance(node, (ast.Constant, ast.JoinedStr, ast.Name))


def _is_text_key(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value == "text"


def _whole(node: ast.expr) -> ast.expr:
    """What an expression takes an entry of; itself if it takes none."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node


def _last_name(node: ast.AST) -> str:
    """The name of a variable or attribute, "" for anything else."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _value_name(node: ast.expr) -> str:
    """What the value of an expression could be called: `review` for `state["review"].strip()`."""
    while True:
        match node:
            case ast.Subscript(slice=ast.Constant(value=str(name))):
                return name
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]):
                return name
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return name
            case ast.Call(args=[first, *_], func=ast.Name()):
                node = first
            case ast.Call(args=[first, *_], func=ast.Attribute(value=ast.Constant())):  # ", ".join(items)
                node = first
            case ast.Call(func=ast.Attribute(value=value)) | ast.Subscript(value=value):
                node = value
            case _:
                return "value"
