"""The eager graph in the DOT language, for looking at."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from textgrad_lg.eager.graph import ordered_uses
from textgrad_lg.eager.images import shown

if TYPE_CHECKING:
    from textgrad_lg.eager.operation import Use
    from textgrad_lg.eager.variable import Variable

_SHOWN = 400
"""Characters of each text that are drawn."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A graph as text.

    Attributes:
        source: The text, in the DOT language.
    """

    source: str

    def __str__(self) -> str:
        return self.source


def draw(root: Variable, *, print_gradients: bool = False) -> Any:
    """See `Variable.generate_graph`."""
    source = dot(root, print_gradients=print_gradients)
    try:
        graphviz: Any = import_module("graphviz")  # not a dependency
    except ImportError:
        return Dot(source)
    return graphviz.Source(source)


def dot(root: Variable, *, print_gradients: bool = False) -> str:
    """The graph that led to `root`, in the DOT language: one box a Variable, sources first."""
    boxes: list[str] = []
    arrows: list[str] = []
    numbers: dict[tuple[int, int], int] = {}
    for use in ordered_uses([root.use()]):
        number = numbers[use.key] = len(numbers)
        boxes.append(f'  v{number} [label="{_label(use, print_gradients)}"];')
        arrows += [f"  v{numbers[source.key]} -> v{number};" for source in use.inputs]
    return "\n".join(["digraph {", '  rankdir="TB";', '  node [shape="box"];', *boxes, *dict.fromkeys(arrows), "}"])


def _label(use: Use, gradients: bool) -> str:
    variable = use.variable
    parts = [("Role", variable.role_description), ("Value", shown(use.value))]
    if use.operation is not None:
        parts.append(("Made by", use.operation.name))
    if gradients and variable.gradients:
        parts.append(("Feedback", variable.get_gradient_text()))
    return "".join(_line(f"{name}: {text}") for name, text in parts)


def _line(text: str) -> str:
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} (...)"
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for part in short.splitlines() for line in wrap(part, 60))
    return "".join(f"{line}\\l" for line in escaped)
