"""Textual gradients for LangGraph graphs that already exist.

`optimize(graph, evals)` is the whole of it for most users. Its parts are public too, each in its own package: `record`,
`overlay`, `evals`, `autograd`, `optim`, `registry`, `run`.
"""

from textgrad_lg.autograd import backward, seed
from textgrad_lg.errors import TextgradError
from textgrad_lg.evals import Evals, TextLoss, exact, numeric, regex
from textgrad_lg.example import Example, Score
from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.optim import TGD
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.registry import MemoryRegistry, PromptRegistry, SQLiteRegistry
from textgrad_lg.run import (
    Budget,
    OptimizeResult,
    Plan,
    Price,
    Settings,
    aoptimize,
    from_registry,
    optimize,
)
from textgrad_lg.site import Site
from textgrad_lg.trace import Span, Trace
from textgrad_lg.types import Phase, SpanKind, Strategy
from textgrad_lg.update import Update
from textgrad_lg.variable import Variable

__all__ = [
    "TGD",
    "Budget",
    "Demo",
    "Evals",
    "Example",
    "Gradient",
    "Gradients",
    "MemoryRegistry",
    "OptimizeResult",
    "Phase",
    "Plan",
    "Price",
    "PromptRegistry",
    "SQLiteRegistry",
    "Score",
    "Settings",
    "Site",
    "Span",
    "SpanKind",
    "Strategy",
    "Template",
    "TextLoss",
    "TextgradError",
    "Trace",
    "Update",
    "Variable",
    "aoptimize",
    "backward",
    "exact",
    "from_registry",
    "numeric",
    "optimize",
    "regex",
    "seed",
]
