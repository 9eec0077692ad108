"""What `import textgrad_lg` may and may not do."""

import os
import subprocess
import sys

import pytest


def python(code, **env):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env}, check=True
    )
    return done.stdout.split()


def third_party(statement):
    names = python(f"{statement}; import sys; print(*sys.modules)")
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)


def test_it_brings_in_nothing_that_langgraph_does_not():
    assert third_party("import textgrad_lg") - third_party("import langgraph.graph") == {"textgrad_lg"}


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
import textgrad_lg
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


def test_the_demo_graph_knows_nothing_of_this_library():
    names = python("import examples.review_desk.graph, sys; print(*sys.modules)")
    assert [name for name in names if name.startswith("textgrad_lg")] == []
