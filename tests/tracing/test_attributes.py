"""All attribute keys are in one module, and identity comes last."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import textgrad_lg_tracing
from textgrad_lg_tracing import attributes as at

FOLDER = Path(textgrad_lg_tracing.__file__).parent
KEYS = {name: value for name, value in vars(at).items() if name.isupper() and isinstance(value, str)}
KEYS.pop("SCHEMA_VERSION")
NAMESPACES = ("textgrad.", "gen_ai.", "llm.", "openinference.", "langsmith.", "langfuse.", "langgraph_", "session.")


@pytest.mark.parametrize("module", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_no_other_module_spells_a_key(module):
    if module.name == "attributes.py":
        return
    tree = ast.parse(module.read_text())
    docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs
    }
    dotted = {value for value in KEYS.values() if "." in value}
    assert not [text for text in texts if text in dotted or (text.startswith(NAMESPACES) and " " not in text)]


def test_no_key_is_there_twice():
    assert len(set(KEYS.values())) == len(KEYS)


def test_every_key_is_used():
    text = "".join(path.read_text() for path in FOLDER.glob("*.py") if path.name != "attributes.py")
    inside = (FOLDER / "attributes.py").read_text()
    assert [name for name in KEYS if f"at.{name}" not in text and inside.count(name) < 2] == []


def test_content_comes_first_and_identity_last():
    given = {at.RUN: "r", at.STEP: 1, at.INPUT: "content", at.PARAMETERS: ("a", "b")}
    assert list(at.complete(given, at.Kind.LLM).items()) == [
        ("input.value", "content"),
        ("langsmith.metadata.textgrad.run.id", "r"),
        ("langsmith.metadata.textgrad.step", 1),
        ("langsmith.metadata.textgrad.param.names", '["a", "b"]'),
        ("metadata", '{"textgrad.param.names": ["a", "b"], "textgrad.run.id": "r", "textgrad.step": 1}'),
        ("textgrad.run.id", "r"),
        ("textgrad.step", 1),
        ("textgrad.param.names", ("a", "b")),
        ("langsmith.metadata.session_id", "r"),
        ("openinference.span.kind", "LLM"),
        ("langsmith.span.kind", "llm"),
        ("langfuse.observation.type", "generation"),
        ("textgrad.schema.version", "1"),
        ("session.id", "r"),
    ]
