"""Every Python example in the documents and docstrings runs, and prints what it says it prints."""

import doctest
import importlib
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import textgrad_lg
import textgrad_lg_integrations
import textgrad_lg_tracing

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "tracing" / "README.md"]
MODULES = sorted(
    info.name
    for package in (textgrad_lg, textgrad_lg_tracing, textgrad_lg_integrations)
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


def blocks(page):
    """The Python blocks of a page; those of one page share their names, as a reader would type them one after the other."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "app"))
    # Another page in this process may have used the application's model.
    for application in ("my_app", "my_engine", "my_runs"):
        monkeypatch.delitem(sys.modules, application, raising=False)
    if page in {ROOT / "README.md", ROOT / "docs" / "production.md"}:
        importlib.import_module("my_runs").write(tmp_path / "runs.json")
    names: dict[str, Any] = {"__name__": "example"}
    for number, source in enumerate(blocks(page), 1):
        code = compile(source, f"{page.name}, block {number}", "exec")
        exec(code, names)
    if page == ROOT / "README.md":
        assert names["result"].improved
        assert names["learnt"].improved
        assert names["graph"].invoke({"review": "a good film"})["label"] == "positive"


@pytest.mark.parametrize("name", MODULES)
def test_a_docstrings_examples_run(name):
    results = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert results.failed == 0


def test_the_readme_begins_with_two_commands_and_ten_lines():
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"^    make (\w+)", readme, re.MULTILINE)[:2] == ["demo", "test"]
    first = blocks(ROOT / "README.md")[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 10


def test_every_relative_link_leads_somewhere():
    for page in [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_architecture_names_files_that_exist_and_the_layers_that_are_checked():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for name in re.findall(r"`(\w+/(?:\w+\.py)?)`", text):
        assert any((ROOT / base / name).exists() for base in (".", "textgrad_lg")), name
    drawn = [set(line.split()) for line in re.search(r"checks it\.\n\n((?:    .*\n)+)", text)[1].splitlines()]
    config = (ROOT / "pyproject.toml").read_text()
    checked = re.search(r"^layers = \[\n(.*?)\n\]", config, re.DOTALL | re.MULTILINE)[1]
    assert drawn == [set(line.strip(' ",').split(" | ")) for line in reversed(checked.splitlines())]


def test_the_reverse_pass_fits_on_one_screen():
    assert len((ROOT / "textgrad_lg" / "autograd" / "backward.py").read_text().splitlines()) <= 150
