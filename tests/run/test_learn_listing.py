"""What `python -m textgrad_lg_tracing.readers` says of files of traces."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.run.imported import files
from tests.run.test_learn_feedback import langsmith
from textgrad_lg_tracing.readers.__main__ import main

GRAPH = """
from tests.tracing.readers import desk

graph = desk.build()
"""


def listed(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    return status, told.out, told.err


def rows(text, title):
    """The lines under a title, as pairs of a count and a name."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(title):
            break
    found = {}
    for line in lines:
        if not line.startswith("  "):
            break
        count, _, name = line.strip().partition("  ")
        if name:
            found[name] = int(count)
    return found


def test_what_was_run_what_failed_and_which_prompts(tmp_path, capsys, monkeypatch):
    (tmp_path / "my_desk.py").write_text(GRAPH)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / "runs.json"
    file.write_text(json.dumps(list(langsmith(tmp_path, 6))))
    status, text, _ = listed(capsys, file, "--graph", "my_desk:graph")
    assert status == 0
    assert text.startswith("6 traces, 108 steps of their graphs\n")
    assert rows(text, "written by") == {"langsmith, from langsmith": 6}
    assert rows(text, "of the run they hold") == {"full": 6}
    assert rows(text, "known to have failed") == {"by feedback": 3}
    assert rows(text, "feedback") == {"user": 6}
    assert rows(text, "texts that were sent") == {
        "critic/system, by text": 6,
        "join/system, by text": 6,
        "plan/system, by template": 6,
        "research/model/system, by text": 6,
        "no prompt: from the state, or unknown": 6,
    }
    assert "could not be read" not in text


def test_why_traces_hold_no_more_is_said(tmp_path, capsys):
    files("gen_ai", 2, tmp_path, content=False)
    status, text, _ = listed(capsys, tmp_path)
    assert status == 0
    assert rows(text, "of the run they hold") == {"structure only": 2}
    assert rows(text, "and not more, because") == {
        "no message of any model call is in the spans: content was not captured": 2
    }
    assert "known to have failed: none: give `learn` an evaluator" in text
    assert "texts that were sent: none: there is no prompt to learn" in text


def test_errors_and_what_is_damaged_are_counted(tmp_path, capsys):
    (path,) = files("langsmith", 1, tmp_path)
    runs = json.loads(path.read_text())
    path.write_text(json.dumps([run if run.get("parent_run_id") else {**run, "error": "ValueError()"} for run in runs]))
    # A terminal obeys what stands in a name.
    (tmp_path / "bad\x1b[2J.jsonl").write_text("".join(f'{{"kind": {at}}}\n' for at in range(12)))
    _, text, _ = listed(capsys, tmp_path)
    assert rows(text, "known to have failed") == {"by its error": 1}
    assert len(rows(text, "could not be read")) == 10
    assert "and 2 more kinds" in text
    assert "\x1b" not in text


def test_numbers_of_feedback_have_a_scale_here_too(tmp_path, capsys):
    def rated(number, stars):
        (path,) = files("langsmith", 1, tmp_path)
        text = path.read_text().replace("00000000-", f"{number:08x}-").replace('"00000000', f'"{number:08x}')
        found = json.loads(text)
        return [
            run if run.get("parent_run_id") else {**run, "feedback_stats": {"stars": {"avg": stars}}} for run in found
        ]

    file = tmp_path / "rated.json"
    file.write_text(json.dumps([run for number, stars in enumerate((1, 3, 4, 5)) for run in rated(number, stars)]))
    status, _, said = listed(capsys, file)
    assert status == 1
    assert "scales={'stars': (worst, best)}" in said
    for arguments, failing in (
        (("--scale", "stars=1,5"), 3),
        (("--scale", "stars=1,5", "--pass-at", "0.7"), 2),
        (("--scale", "stars="), 0),
    ):
        status, text, _ = listed(capsys, file, *arguments)
        assert status == 0
        assert sum(rows(text, "known to have failed").values()) == failing


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scale", "stars"], "write KEY=WORST,BEST"),
        (["--scale", "stars=1"], "is not two numbers"),
        (["--graph", "nowhere:graph"], "there is no module 'nowhere'"),
        (["--graph", "json:dumps"], "json:dumps is a function, and not a compiled graph"),
    ],
)
def test_arguments_that_are_not_right_are_refused(arguments, words, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        listed(capsys, tmp_path, *arguments)
    assert words in capsys.readouterr().err


def test_as_a_command(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "textgrad_lg_tracing.readers", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    missing = run(tmp_path / "nothing.json")
    assert missing.returncode == 1
    assert "nothing.json" in missing.stderr
    files("openinference", 2, tmp_path)
    assert run(tmp_path).stdout.startswith("2 traces, 36 steps")
