"""The journal: what was kept is there after any death, and nothing else gets in."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from textgrad_lg.errors import JournalError, TraceError
from textgrad_lg.run.journal import FILE, Journal

SETTINGS = {"seed": 0, "steps": 3, "weights": [0.5, None], "nested": {"b": 1, "a": "é"}}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "r1"


@pytest.fixture(params=["file", "memory"])
def journal(request, folder):
    with Journal(folder if request.param == "file" else None) as journal:
        yield journal


def test_what_is_put_is_got(journal):
    assert journal.get("rollout", "k") is None
    assert journal.items("rollout") == ()
    assert journal.count("rollout") == 0
    journal.put("rollout", "k", {"a": [1, 2.5, None, True, "é\ud83d"]})
    journal.put("other", "k", False)
    assert journal.get("rollout", "k") == {"a": [1, 2.5, None, True, "é\ud83d"]}
    assert journal.get("other", "k") is False
    assert journal.count("rollout") == 1


def test_notes_are_kept_all_or_none(journal):
    journal.note(("calls", "a", 1), ("calls", "b", [2]), ("run", "spend", {"calls": 2}))
    journal.note(("run", "spend", {"calls": 3}))
    assert journal.items("calls") == (("a", 1), ("b", [2]))
    assert journal.get("run", "spend") == {"calls": 3}
    for wrong in (None, float("nan")):
        with pytest.raises(JournalError, match="cannot keep"):
            journal.note(("calls", "c", 1), ("calls", "d", wrong))
    assert journal.count("calls") == 2


def test_only_what_is_put_waits_for_the_disk(folder):
    with Journal(folder) as journal:

        def waits():
            return journal._execute("PRAGMA synchronous")[0][0] == 2  # FULL

        journal.put("step", "a", 1)
        assert waits()
        journal.note(("step", "b", 1))
        assert not waits()
        journal.put("step", "c", 1)
        assert waits()


def test_items_come_in_the_order_of_their_first_put(journal):
    for key in ("z", "a", "m"):
        journal.put("step", key, key)
    journal.put("step", "z", "again")
    assert journal.items("step") == (("z", "again"), ("a", "a"), ("m", "m"))
    assert journal.count("step") == 3


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), float("nan"), {"a": float("inf")}, b"bytes"],
    ids=["set", "object", "nan", "inf", "bytes"],
)
def test_what_is_not_json_is_refused(journal, value):
    with pytest.raises(JournalError, match="cannot keep step 'k': it is not JSON"):
        journal.put("step", "k", value)
    assert journal.count("step") == 0


def test_null_is_refused(journal):
    with pytest.raises(JournalError, match="as if nothing was kept"):
        journal.put("step", "k", None)


def test_a_key_must_be_text_that_can_be_written(journal):
    for use in (lambda: journal.put("step", "\ud83d", 1), lambda: journal.get("\ud83d", "k")):
        with pytest.raises(JournalError, match="not valid Unicode"):
            use()


JSONS = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSONS, st.text(max_size=20))
def test_any_json_comes_back(value, key):
    with Journal(None) as journal:
        journal.put(key, key, value)
        assert journal.get(key, key) == value
        assert journal.items(key) == ((key, value),)


def test_it_is_there_when_it_is_opened_again(folder):
    with Journal(str(folder), settings=SETTINGS) as journal:
        journal.put("rollout", "k", 1)
    with Journal(folder, settings=SETTINGS) as journal:
        assert journal.get("rollout", "k") == 1
        assert journal.settings == SETTINGS
        journal.put("rollout", "l", 2)
    with Journal(folder) as journal:
        assert journal.items("rollout") == (("k", 1), ("l", 2))
    assert [file.name for file in folder.iterdir()] == [FILE]


def test_memory_is_lost_and_touches_no_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Journal(None, settings=SETTINGS) as journal:
        journal.put("rollout", "k", 1)
        assert journal.settings == SETTINGS
    with Journal(None) as journal:
        assert journal.count("rollout") == 0
    assert list(tmp_path.iterdir()) == []


def test_other_settings_are_refused_and_named(folder):
    with Journal(folder, settings=SETTINGS) as journal:
        journal.put("rollout", "k", 1)
    before = (folder / FILE).read_bytes()
    with pytest.raises(JournalError) as error:
        Journal(
            folder, settings={"seed": 0, "steps": 4, "weights": [0.5, None], "nested": {"a": "é", "b": 2}, "new": "x"}
        )
    assert str(error.value).replace(str(folder), "RUN") == snapshot(
        'RUN/journal.sqlite3 is of a run with other settings: steps was 3 and is 4; nested was {"a": "é", "b": 1} and is {"a": "é", "b": 2}; new was not set and is "x". Use the same settings to go on with it, or another run_dir to begin anew'
    )
    with pytest.raises(JournalError, match="seed was 0 and is not set"):
        Journal(folder, settings={name: value for name, value in SETTINGS.items() if name != "seed"})
    assert (folder / FILE).read_bytes() == before
    # The refused openers have let go.
    with Journal(folder, settings=dict(reversed(SETTINGS.items()))) as journal:
        assert journal.get("rollout", "k") == 1


def test_who_only_looks_stores_no_settings(folder):
    Journal(folder).close()
    with Journal(folder, settings={"seed": 1}) as journal:
        assert journal.settings == {"seed": 1}


def test_settings_must_be_json(folder):
    with pytest.raises(JournalError, match="cannot keep setting model"):
        Journal(folder, settings={"model": object()})  # pyright: ignore[reportArgumentType]
    Journal(folder, settings={"seed": 1}).close()


def test_one_at_a_time_in_this_process(folder):
    with Journal(folder) as first:
        with pytest.raises(JournalError, match="is in use"):
            Journal(folder)
        first.put("a", "k", 1)
    Journal(folder).close()


OTHER = """
import os, sys
from textgrad_lg.errors import JournalError
from textgrad_lg.run.journal import Journal
try:
    journal = Journal(sys.argv[1], settings={"seed": 1})
except JournalError as error:
    sys.exit("in use" if "is in use" in str(error) else str(error))
for at in range(journal.count("step"), 10**6):
    if at % 2:
        journal.put("step", str(at), "x" * at)
    else:
        journal.note(("step", str(at), "x" * at))
    print(at, flush=True)
"""


def other(folder):
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_another_process_is_refused(folder):
    with Journal(folder):
        process = other(folder)
        assert process.communicate()[1].strip() == "in use"


def test_killed_at_any_moment_it_has_all_that_was_put_and_lets_go(folder):
    put = 0
    for _ in range(3):
        with other(folder) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(20)]
            with pytest.raises(JournalError, match="is in use"):
                Journal(folder)
            process.kill()
            lines += process.stdout.readlines()
        last = int([line for line in lines if line.endswith("\n")][-1])
        assert last >= put + 19
        with Journal(folder, settings={"seed": 1}) as journal:
            put = journal.count("step")
            assert put >= last + 1
            assert journal.items("step") == tuple((str(at), "x" * at) for at in range(put))


@pytest.mark.parametrize("content", [b"not a database at all " * 50, b"x"])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(folder, content):
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(content)
    for _ in range(2):
        with pytest.raises(JournalError, match=r"damaged.*restore it from a backup"):
            Journal(folder)
    assert (folder / FILE).read_bytes() == content


def test_a_damaged_page_is_found_and_left_alone(folder):
    with Journal(folder) as journal:
        for at in range(50):
            journal.put("step", str(at), "x" * 500)
    data = bytearray((folder / FILE).read_bytes())
    data[4096 * 3 + 200 : 4096 * 5] = b"\xff" * (4096 * 2 - 200)
    (folder / FILE).write_bytes(data)
    with pytest.raises(JournalError, match="is damaged"):
        Journal(folder)
    assert (folder / FILE).read_bytes() == data


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_found_and_left_alone(folder, share):
    with Journal(folder) as journal:
        for at in range(50):
            journal.put("step", str(at), "x" * 500)
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[: int(len(data) * share)])
    # Where no more than the end of the last value is gone, it is found when that is read.
    with pytest.raises(JournalError, match="is damaged"), Journal(folder) as journal:
        journal.items("step")
    assert (folder / FILE).read_bytes()[: int(len(data) * share)] == data[: int(len(data) * share)]


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_with_random_bytes_anywhere_it_is_read_or_refused_and_never_deleted(tmp_path_factory, data):
    """A byte of a value that becomes another may go unseen; what a reader makes of it is then the reader's to refuse."""
    folder = tmp_path_factory.mktemp("run")
    with Journal(folder, settings=SETTINGS) as journal:
        journal.note(*(("step", str(at), "x" * 300) for at in range(20)))
    whole = bytearray((folder / FILE).read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    noise = data.draw(st.binary(min_size=1, max_size=2_000))
    whole[at : at + len(noise)] = noise
    (folder / FILE).write_bytes(whole)
    with suppress(JournalError), Journal(folder) as journal:
        assert all(isinstance(key, str) for key, _ in journal.items("step"))
    assert len((folder / FILE).read_bytes()) >= len(whole) - 1


def test_what_a_reader_cannot_make_sense_of_is_damage(folder):
    with Journal(folder) as journal:
        for error in (ValueError("no number"), KeyError("trace"), TypeError("a list"), TraceError("no span")):
            with (
                pytest.raises(
                    JournalError, match=r"'step' something cannot be read: \w+: .*It was not changed"
                ) as found,
                journal.reading("step"),
            ):
                raise error
            assert found.value.__cause__ is error
        with pytest.raises(JournalError, match=r"^in use$"), journal.reading("step"):
            raise JournalError("in use")


def test_a_damaged_value_is_reported(folder):
    with Journal(folder, settings={"seed": 1}) as journal:
        journal.put("step", "k", 1)
    change(folder, "UPDATE entries SET value = '{'")
    with Journal(folder) as journal, pytest.raises(JournalError, match="is damaged"):
        journal.get("step", "k")


@pytest.mark.parametrize("version", [1, 3])
def test_another_format_is_refused_and_left_alone(folder, version):
    with Journal(folder, settings={"seed": 1}) as journal:
        journal.put("step", "k", 1)
    change(folder, f"PRAGMA user_version = {version}")
    before = (folder / FILE).read_bytes()
    with pytest.raises(JournalError) as error:
        Journal(folder)
    assert str(error.value).replace(str(folder), "RUN") == (
        f"RUN/journal.sqlite3 is a run journal of format {version}; this release of textgrad_lg reads format 2. It was not "
        "changed; use the release that wrote it, or give another path"
    )
    assert (folder / FILE).read_bytes() == before


def test_a_missing_table_is_found_and_the_file_left_alone(folder):
    for table in ("entries", "settings"):
        with Journal(folder / table) as journal:
            journal.put("step", "k", 1)
        change(folder / table, f"DROP TABLE {table}")
        before = (folder / table / FILE).read_bytes()
        with pytest.raises(JournalError, match=f"is damaged .no such table: {table}.*It was not changed"):
            Journal(folder / table)
        assert (folder / table / FILE).read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(folder):
    folder.mkdir(parents=True)
    change(folder, "CREATE TABLE mine (x)")
    before = (folder / FILE).read_bytes()
    with pytest.raises(JournalError, match="not a run journal"):
        Journal(folder)
    assert (folder / FILE).read_bytes() == before


def test_a_journal_whose_making_was_cut_off_is_a_new_one(folder):
    folder.mkdir(parents=True)
    (folder / FILE).touch()
    with Journal(folder) as journal:
        journal.put("a", "k", 1)
    (folder / FILE).unlink()
    change(folder, "PRAGMA journal_mode = WAL")
    Journal(folder).close()


def test_a_full_disk_loses_only_what_was_not_put(folder):
    with Journal(folder) as journal:
        journal.put("a", "k", 1)
        journal._execute("PRAGMA max_page_count = 8")
        for write in (lambda: journal.put("a", "l", "x" * 100_000), lambda: journal.note(("a", "l", "x" * 100_000))):
            with pytest.raises(JournalError, match=r"cannot be written: .*full.*What it holds is safe"):
                write()
        assert journal.items("a") == (("k", 1),)
    with Journal(folder) as journal:
        journal.put("a", "l", "x" * 100_000)
        assert journal.count("a") == 2


def test_a_folder_that_cannot_be_made_or_opened_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot make the run directory"):
        Journal(tmp_path / "file" / "run")
    (tmp_path / "run" / FILE).mkdir(parents=True)
    with pytest.raises(JournalError, match="cannot be written"):
        Journal(tmp_path / "run")


def test_a_closed_journal_says_so(journal):
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.get("a", "k")


def test_threads_share_it(journal):
    def work(number):
        for at in range(20):
            journal.put(f"kind {number % 2}", f"{number}-{at}", [number, at])
            assert journal.get(f"kind {number % 2}", f"{number}-{at}") == [number, at]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert journal.count("kind 0") == journal.count("kind 1") == 80


def change(folder, statement):
    db = sqlite3.connect(folder / FILE)
    db.execute(statement)
    db.commit()
    db.close()
