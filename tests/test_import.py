"""What `import textgrad_lg` may and may not do."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import textgrad_lg

EVERYTHING = (
    "from textgrad_lg import *"  # names are imported when they are used: an import of the package alone shows little
)
LAZY = ["textgrad_lg", "textgrad_lg.run"]


def python(code, **env):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env}, check=True
    )
    return done.stdout.split()


def third_party(statement):
    names = python(f"{statement}; import sys; print(*sys.modules)")
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)


def test_it_brings_in_nothing_that_langgraph_does_not():
    assert third_party(EVERYTHING) - third_party("import langgraph.graph") == {"textgrad_lg"}


def test_it_opens_no_connection_and_writes_no_file(tmp_path):
    code = """
import sys
bad = []
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        bad.append(event)
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        bad.append(str(args[0]))
    if event in ("os.mkdir", "os.rename", "sqlite3.connect"):
        bad.append(event)
sys.dont_write_bytecode = True
sys.addaudithook(watch)
from textgrad_lg import *
print(*bad)
"""
    assert python(code, TEXTGRAD_LG_HOME=str(tmp_path / "home")) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["textgrad_lg", "textgrad_lg_tracing", "textgrad_lg_integrations"])
def test_the_public_names_exist_and_are_sorted(package):
    module = __import__(package)
    assert module.__doc__
    names = getattr(module, "__all__", [])
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(set(names)) == len(names)


def test_what_is_not_used_is_not_imported():
    loaded = python("from textgrad_lg import Evals, optimize; import sys; print(*sys.modules)")
    assert "textgrad_lg.evals.base" in loaded
    parts = ("autograd", "eager", "optim", "overlay", "record", "registry", "replay", "run.session", "run.diagnosing")
    assert [name for name in loaded if name.startswith(tuple(f"textgrad_lg.{part}" for part in parts))] == []


@pytest.mark.parametrize("package", LAZY)
def test_a_lazy_package_shows_its_names_before_they_are_used(package):
    shown = python(f"import {package} as package; print(*dir(package))")
    assert set(shown) >= set(importlib.import_module(package).__all__)
    assert shown == sorted(set(shown))


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_are_told_the_same_names_as_are_imported(package):
    module = importlib.import_module(package)
    told = {
        (alias.name, str(node.module))
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("textgrad_lg")
        for alias in node.names
        if alias.name != "lazy"
    }
    assert {name for name, _ in told} == set(module.__all__)
    assert set(dir(module)) >= set(module.__all__)
    for name, home in told:
        assert getattr(module, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("package", LAZY)
def test_a_name_is_itself_whatever_was_imported_before(package):
    code = f"""
import importlib, pkgutil, {package} as package
for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
    importlib.import_module(found.name)
print(*[name for name in package.__all__ if type(getattr(package, name)).__name__ == "module"])
"""
    assert python(code) == []


def test_parts_are_attributes_without_an_import_of_their_own():
    assert python("import textgrad_lg; print(textgrad_lg.optim.Joint.__name__)") == ["Joint"]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'textgrad_lg' has no attribute 'optimise'"):
        _ = getattr(textgrad_lg, "optimise")  # noqa: B009  a type checker sees the fault as well
    with pytest.raises(ImportError, match="optimise"):
        from textgrad_lg import optimise  # noqa: F401  # pyright: ignore[reportAttributeAccessIssue]


def test_the_demo_graph_knows_nothing_of_this_library():
    names = python("import examples.review_desk.graph, sys; print(*sys.modules)")
    assert [name for name in names if name.startswith("textgrad_lg")] == []
