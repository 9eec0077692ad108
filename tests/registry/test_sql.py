"""SQLiteRegistry keeps the rules, in one file that processes share."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from textgrad_lg.errors import RegistryError, UnknownVersion, VersionConflict
from textgrad_lg.prompt import Template
from textgrad_lg.registry import NewVersion, SQLiteRegistry
from textgrad_lg.testing.registry_conformance import RegistryConformance


class TestSQLiteRegistry(RegistryConformance):
    @pytest.fixture
    def registry(self, tmp_path):
        return SQLiteRegistry(tmp_path / "sub folder" / "100 % #1?.sqlite3")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "registry.sqlite3"


def commit(registry, text="one", *, expect=None, name="p"):
    (version,) = registry.commit([NewVersion(name, Template(text))], label="l", expect={name: expect})
    return version


def test_reading_makes_no_file_and_no_folder(path):
    registry = SQLiteRegistry(path)
    assert registry.names() == ()
    with pytest.raises(UnknownVersion):
        registry.get("p")
    assert not path.parent.exists()


@pytest.mark.parametrize("content", ["nothing", "a header"])
def test_a_file_whose_making_was_cut_off_is_an_empty_registry(path, content):
    path.parent.mkdir()
    path.touch()
    if content == "a header":
        db = sqlite3.connect(path)
        db.execute("VACUUM")
        db.close()
        assert path.stat().st_size
    registry = SQLiteRegistry(str(path))
    assert registry.names() == ()
    commit(registry)
    assert registry.get("p").template.text == "one"


def test_another_object_sees_what_was_written(path):
    written = commit(SQLiteRegistry(path, clock=lambda: 12.5))
    other = SQLiteRegistry(path)
    assert other.get("p") == written
    assert written.created == 12.5
    with pytest.raises(VersionConflict):
        commit(other, "two")
    assert repr(other) == f"SQLiteRegistry({str(path)!r})"


def test_a_relative_path_means_the_folder_at_the_time_of_each_call(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    registry = SQLiteRegistry("state/registry.sqlite3")
    commit(registry)
    assert path.exists()


def test_no_file_stays_beside_it(path):
    registry = SQLiteRegistry(path)
    commit(registry)
    registry.history("p")
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_registry_in_a_folder_that_cannot_be_written_can_be_read(path):
    commit(SQLiteRegistry(path))
    before = path.read_bytes()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        assert SQLiteRegistry(path).get("p").template.text == "one"
        assert path.read_bytes() == before
        assert [item.name for item in path.parent.iterdir()] == [path.name]
    finally:
        path.parent.chmod(0o755)


def test_a_newer_format_is_refused_and_left_alone(path):
    registry = SQLiteRegistry(path)
    commit(registry)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()
    for use in (registry.names, lambda: commit(registry, "two", expect=1)):
        with pytest.raises(RegistryError, match="format 2; this release of textgrad_lg reads format 1"):
            use()


def test_another_programs_database_is_refused_and_left_alone(path):
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (x)")
    db.close()
    before = path.read_bytes()
    registry = SQLiteRegistry(path)
    for use in (registry.names, lambda: commit(registry)):
        with pytest.raises(RegistryError, match="not a prompt registry"):
            use()
    assert path.read_bytes() == before


@pytest.mark.parametrize("repeat", [1, 100])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path, repeat):
    path.parent.mkdir()
    path.write_text("prompt: not a database at all\n" * repeat)
    registry = SQLiteRegistry(path)
    for use in (registry.names, lambda: commit(registry)):
        with pytest.raises(RegistryError, match="not a database"):
            use()
    assert path.read_text() == "prompt: not a database at all\n" * repeat


def test_a_file_with_only_the_start_of_a_database_is_refused(path):
    commit(SQLiteRegistry(path))
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096)
    with pytest.raises(RegistryError, match="cannot be used"):
        SQLiteRegistry(path).history("p")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match="cannot make the folder"):
        commit(SQLiteRegistry(tmp_path / "file" / "registry.sqlite3"))


@pytest.mark.parametrize(("column", "damage"), [("template", "{"), ("template", "[]"), ("provenance", "{")])
def test_a_damaged_row_is_reported(path, column, damage):
    registry = SQLiteRegistry(path)
    commit(registry)
    db = sqlite3.connect(path)
    db.execute(f"UPDATE versions SET {column} = ?", (damage,))
    db.commit()
    db.close()
    with pytest.raises(RegistryError, match=f"stored {column} is damaged"):
        registry.get("p")


def test_a_writer_that_dies_in_its_transaction_leaves_nothing(path):
    commit(SQLiteRegistry(path))
    code = """
import os, sys
from textgrad_lg.prompt import Template
from textgrad_lg.registry import NewVersion, SQLiteRegistry, rules
dump = rules.dump_template
rules.dump_template = lambda template: os._exit(9) if template.text == "q" else dump(template)
new = [NewVersion("p", Template("two")), NewVersion("q", Template("q"))]
SQLiteRegistry(sys.argv[1]).commit(new, label="l", expect={"p": 1, "q": None})
"""
    process = run(code, path)
    process.communicate()
    assert process.returncode == 9
    registry = SQLiteRegistry(path)
    assert registry.names() == ("p",)
    assert commit(registry, "two", expect=1).version == 2


def test_of_racing_processes_one_wins_each_round(path):
    code = """
import sys
from textgrad_lg.errors import VersionConflict
from textgrad_lg.prompt import Template
from textgrad_lg.registry import NewVersion, SQLiteRegistry
registry, wins = SQLiteRegistry(sys.argv[1]), []
while (now := registry.labels("p").get("l") if "p" in registry.names() else None) is None or now < 30:
    try:
        registry.commit([NewVersion("p", Template(sys.argv[2]))], label="l", expect={"p": now})
        wins.append((now or 0) + 1)
    except VersionConflict:
        pass
print(*wins)
"""
    processes = [run(code, path, str(number)) for number in range(3)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    registry = SQLiteRegistry(path)
    history = registry.history("p")
    assert [version.version for version in history] == list(range(1, 31))
    for number, output in enumerate(outputs):
        won = [str(version.version) for version in history if version.template.text == str(number)]
        assert output.split() == won


def run(code, path, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, str(path), *arguments], stdout=subprocess.PIPE, text=True)
