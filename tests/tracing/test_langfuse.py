"""Langfuse finds what it shows under keys that it knows; where those were read is said in `shapes/langfuse.json`."""

from __future__ import annotations

import json

from inline_snapshot import snapshot

from .recorder import SHAPES
from .support import RUN, a_run, by_name, written

KNOWN = json.loads((SHAPES / "langfuse.json").read_text())


def read(span):
    """A span as Langfuse reads it: each field by the first of its keys that is set."""
    found = {
        field: next((key for key in keys if key in span.attributes), None) for field, keys in KNOWN["fields"].items()
    }
    return {field: span.attributes[key] for field, key in found.items() if key is not None}


def test_each_span_has_a_type_that_langfuse_knows_and_the_run_as_its_session():
    for span in written(a_run()):
        shown = read(span)
        assert shown["type"] in KNOWN["types"]
        assert shown["sessionId"] == RUN
        assert {"model", "usage.input", "usage.output"}.isdisjoint(shown) or shown["type"] == "generation"
        # It makes a type of its own of what it does not know.
        assert span.attributes["openinference.span.kind"] != "PROMPT"


def test_what_langfuse_shows_of_a_model_call_a_gradient_and_an_update():
    spans = written(a_run("the"), content=True)
    names = ("chat gpt-small", "backward answer", "loss right", "update answer/system")
    assert {name: sorted(read(by_name(spans, name))) for name in names} == snapshot(
        {
            "chat gpt-small": [
                "input",
                "model",
                "output",
                "sessionId",
                "type",
                "usage.input",
                "usage.output",
            ],
            "backward answer": ["input", "output", "sessionId", "type"],
            "loss right": ["output", "sessionId", "type"],
            "update answer/system": ["input", "output", "sessionId", "type"],
        }
    )
    assert read(by_name(spans, "loss right"))["type"] == "evaluator"
    call = read(by_name(spans, "chat gpt-small"))
    assert (call["type"], call["model"], call["usage.input"], call["usage.output"]) == (
        "generation",
        "gpt-small",
        100,
        10,
    )
    assert "the answer it" in call["input"]
