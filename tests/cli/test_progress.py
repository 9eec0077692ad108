import io
from typing import Any

from inline_snapshot import snapshot

from textgrad_lg.cli.progress import Progress
from textgrad_lg.events import (
    BackwardFinished,
    Committed,
    Discovered,
    Event,
    ExampleScored,
    Forecast,
    Gated,
    RunFinished,
    StepFinished,
    Warned,
)
from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.types import Phase, Usage
from textgrad_lg.update import Update

SITE = Site(("label",), "system")
UPDATE = Update(SITE, Template("a"), Template("b"), "why", "insert")


def test_a_line_for_each_thing_worth_one():
    out = io.StringIO()
    progress = Progress(out, every=2)
    build = TraceBuilder(example="e1")
    trace = build.finish({"x": build.input("x", 1)})
    scored: dict[str, Any] = {"phase": Phase.TEST, "candidate": "c", "example": "e1", "trace": trace, "scores": ()}
    blame = Gradients((Gradient("v", "be brief", "s0", trace.id, site=SITE),))
    gated: dict[str, Any] = {"update": UPDATE, "gate": "minibatch", "reason": "minibatch 0.00 -> 0.50"}
    events: list[tuple[type[Event], dict[str, Any]]] = [
        (Discovered, {"parameters": {}, "trainable": (SITE,)}),
        (ExampleScored, scored),
        (ExampleScored, {**scored, "cached": True}),
        (ExampleScored, scored),
        (BackwardFinished, {"trace": trace, "gradients": blame, "started": 0.0, "ended": 0.0}),
        (BackwardFinished, {"trace": trace, "gradients": Gradients(), "started": 0.0, "ended": 0.0}),
        (Gated, {**gated, "accepted": True}),
        (Gated, {**gated, "accepted": False}),
        (Committed, {"update": UPDATE, "name": "g:label/system", "version": 2, "label": "candidate"}),
        (StepFinished, {"started": 0.0, "score": 0.25, "accepted": True, "step": 1}),
        (StepFinished, {"started": 0.0, "score": None, "accepted": False, "step": 2}),
        (Warned, {"message": "mind the gap"}),
        (Forecast, {"phases": {Phase.ROLLOUT: Usage(1200, 80_000, 4_000), Phase.TEST: Usage(300, 20_000, 1_000)}}),
        (RunFinished, {"summary": "", "started": 0.0}),
    ]
    for at, (kind, fields) in enumerate(events):
        progress(kind(run="r", time=100.0 + at, **fields))
    assert out.getvalue() == snapshot("""\
[    0 s] 1 prompts may change: label/system
[    3 s] 2 rollouts for test
[    4 s] example e1: gradients on label/system (1)
[    6 s] minibatch: insert on label/system passes: minibatch 0.00 -> 0.50
[    7 s] minibatch: insert on label/system rejected: minibatch 0.00 -> 0.50
[    8 s] committed g:label/system version 2
[    9 s] step 1 ended, minibatch score 0.25 before it
[   10 s] step 2 ended, no score
[   11 s] warning: mind the gap
[   12 s] the whole run: at most about 1,500 calls and 105,000 tokens
""")


def test_it_prints_to_standard_error_by_default(capsys):
    Progress()(Warned(run="r", time=0.0, message="mind the gap"))
    assert capsys.readouterr().err == "[    0 s] warning: mind the gap\n"
