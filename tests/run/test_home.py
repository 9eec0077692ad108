"""Where state is kept."""

from __future__ import annotations

from pathlib import Path

from textgrad_lg.run.home import home as state_folder


def test_the_environment_moves_it(home):
    assert state_folder() == home
    assert not home.exists()


def test_without_it_is_in_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for value in (None, ""):
        monkeypatch.delenv("TEXTGRAD_LG_HOME", raising=False)
        if value is not None:
            monkeypatch.setenv("TEXTGRAD_LG_HOME", value)
        assert state_folder() == Path(".textgrad-lg")
        assert not state_folder().exists()
