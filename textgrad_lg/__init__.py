"""Textual gradients for LangGraph graphs that already exist.

`optimize(graph, evals)` is the whole of it for most users. Its parts are public too, each in its own package: `record`,
`overlay`, `evals`, `autograd`, `optim`, `registry`, `run`. A name is imported when it is first used: a process that only
serves a graph does not load what optimises it.
"""

from typing import TYPE_CHECKING

from textgrad_lg.lazy import lazy

if TYPE_CHECKING:
    from textgrad_lg.autograd import backward, seed
    from textgrad_lg.domain import Choice, Real, Whole
    from textgrad_lg.errors import TextgradError
    from textgrad_lg.evals import Evals, TextLoss, exact, numeric, regex
    from textgrad_lg.example import Example, Score
    from textgrad_lg.gradient import Gradient, Gradients
    from textgrad_lg.handle import Prompt, Setting
    from textgrad_lg.optim import TGD, EditLimits, Joint, JustRewrite, Momentum, Paraphrase, Pareto
    from textgrad_lg.prompt import Demo, Template
    from textgrad_lg.redact import Redactor
    from textgrad_lg.registry import MemoryRegistry, PromptRegistry, SQLiteRegistry
    from textgrad_lg.run import (
        Budget,
        Diagnosis,
        DiagnosisPlan,
        Follower,
        OptimizeResult,
        Plan,
        Price,
        Settings,
        adiagnose,
        aoptimize,
        attach,
        diagnose,
        from_registry,
        optimize,
    )
    from textgrad_lg.run.dataset import to_examples
    from textgrad_lg.run.from_traces import LearnResult, alearn, learn
    from textgrad_lg.run.production import ProductionTrace
    from textgrad_lg.site import Site
    from textgrad_lg.threads import carry_context
    from textgrad_lg.trace import Span, Trace
    from textgrad_lg.types import Phase, SpanKind, Strategy, Tools
    from textgrad_lg.update import Update
    from textgrad_lg.variable import Variable
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "autograd": "backward seed",
            "domain": "Choice Real Whole",
            "errors": "TextgradError",
            "evals": "Evals TextLoss exact numeric regex",
            "example": "Example Score",
            "gradient": "Gradient Gradients",
            "handle": "Prompt Setting",
            "optim": "TGD EditLimits Joint JustRewrite Momentum Paraphrase Pareto",
            "overlay": "",
            "prompt": "Demo Template",
            "record": "",
            "redact": "Redactor",
            "registry": "MemoryRegistry PromptRegistry SQLiteRegistry",
            "replay": "",
            "run": "Budget Diagnosis DiagnosisPlan Follower OptimizeResult Plan Price Settings adiagnose aoptimize attach"
            " diagnose from_registry optimize",
            # `learn` is not among the names of `run`, which has a module of that name.
            "run.dataset": "to_examples",
            "run.from_traces": "LearnResult alearn learn",
            "run.production": "ProductionTrace",
            "site": "Site",
            "threads": "carry_context",
            "trace": "Span Trace",
            "types": "Phase SpanKind Strategy Tools",
            "update": "Update",
            "variable": "Variable",
        },
    )

__all__ = [
    "TGD",
    "Budget",
    "Choice",
    "Demo",
    "Diagnosis",
    "DiagnosisPlan",
    "EditLimits",
    "Evals",
    "Example",
    "Follower",
    "Gradient",
    "Gradients",
    "Joint",
    "JustRewrite",
    "LearnResult",
    "MemoryRegistry",
    "Momentum",
    "OptimizeResult",
    "Paraphrase",
    "Pareto",
    "Phase",
    "Plan",
    "Price",
    "ProductionTrace",
    "Prompt",
    "PromptRegistry",
    "Real",
    "Redactor",
    "SQLiteRegistry",
    "Score",
    "Setting",
    "Settings",
    "Site",
    "Span",
    "SpanKind",
    "Strategy",
    "Template",
    "TextLoss",
    "TextgradError",
    "Tools",
    "Trace",
    "Update",
    "Variable",
    "Whole",
    "adiagnose",
    "alearn",
    "aoptimize",
    "attach",
    "backward",
    "carry_context",
    "diagnose",
    "exact",
    "from_registry",
    "learn",
    "numeric",
    "optimize",
    "regex",
    "seed",
    "to_examples",
]
