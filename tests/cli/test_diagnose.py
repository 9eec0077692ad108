"""`textgrad-lg diagnose` on an application in a folder of its own, as a user has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from textgrad_lg.cli.main import main

APP = """
import re
from typing import TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from textgrad_lg import Evals, exact
from textgrad_lg.testing import SimulatedChatModel

State = TypedDict("State", {"review": str, "label": str}, total=False)
calls = []


def answer(messages):
    calls.append(messages)
    return "positive" if "good" in messages[-1].text else "negative"


model = SimulatedChatModel(answer=answer)


def triage(state):
    return {"label": model.invoke([SystemMessage("You label reviews."), HumanMessage(state["review"])]).text}


graph = StateGraph(State).add_node("triage", triage).add_edge(START, "triage").compile(name="reviews")


def triage(state):
    told = "".join(["You label ", "reviews."])
    return {"label": model.invoke([SystemMessage(told), HumanMessage(state["review"])]).text}


dark = StateGraph(State).add_node("triage", triage).add_edge(START, "triage").compile(name="dark")
data = [
    {"id": f"r{n}", "inputs": {"review": f"a good film {n}"}, "outputs": {"label": "positive"}} for n in range(20)
]
evals = (iter(data), [exact("label")])


class held:
    evals = (data, [exact("label")])
"""


@pytest.fixture
def app(tmp_path, monkeypatch):
    """The name of an application's module in the current folder."""
    name = f"app_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TEXTGRAD_LG_HOME", str(tmp_path / "home"))
    yield name
    sys.modules.pop(name, None)


def test_a_dry_run_prints_the_costs_and_calls_no_model(app, capsys):
    assert main(["diagnose", f"{app}:graph", "--evals", f"{app}:evals", "--dry-run", "--examples", "4"]) == 0
    printed = capsys.readouterr()
    assert printed.out == snapshot("""\
4 examples, 1 Parameters: triage/system
at most about 23 model calls, no price known:
  baseline: 4
  repeats: 8
  ablate: 4
  perturb: 4
  paraphrase: 3
and 28 judgings, which cost as much as your evaluators call models
""")
    assert printed.err == ""
    assert sys.modules[app].calls == []
    assert not Path("home").exists()


def test_the_plan_is_printed_before_the_page_and_out_of_its_way(app, capsys):
    command = ["diagnose", f"{app}:graph", "--evals", f"{app}:evals", "--examples", "2", "--repeats", "1"]
    assert main([*command, "--budget", "100 calls", "--run-dir", "kept"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("2 examples, 1 Parameters: triage/system\nat most about")
    assert "1 prompts may change: triage/system" in printed.err
    assert printed.out.startswith("score now: 1.00")
    assert Path("kept").is_dir()
    seen = len(sys.modules[app].calls)
    assert 0 < seen <= 100
    # The journal has it all: printed again, and not a call.
    held = ["diagnose", f"{app}.py:graph", "--evals", f"{app}.py:held.evals", *command[4:], "--quiet"]
    assert main([*held, "--budget", "100 calls", "--run-dir", "kept"]) == 0
    again = capsys.readouterr()
    assert again.err == ""
    assert again.out == printed.out
    assert len(sys.modules[app].calls) == seen


def test_a_graph_whose_prompts_only_runs_show_is_diagnosed_without_a_plan(app, capsys):
    command = ["diagnose", f"{app}:dark", "--evals", f"{app}:evals", "--examples", "2", "--repeats", "1"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("no plan before the first run: no prompt was found")
    assert "triage/system" in printed.out


def test_a_graph_without_prompts_has_no_plan_to_print(app, capsys):
    assert main(["diagnose", f"{app}:dark", "--evals", f"{app}:held.evals", "--dry-run"]) == 1
    assert capsys.readouterr().err.startswith("textgrad-lg: no prompt was found")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"graph": "{app}"}, "write module:name"),
        ({"graph": "no_such_app:graph"}, "there is no module 'no_such_app'"),
        ({"graph": "{app}.deeper:graph"}, "there is no module '{app}.deeper'"),
        ({"graph": "nowhere/app.py:graph"}, "there is no file"),
        ({"graph": "{app}:grahp"}, "{app} has no 'grahp'"),
        ({"graph": "json.py:graph"}, "the module 'json' is another one than"),
        ({"evals": "{app}:nothing"}, "{app} has no 'nothing'"),
        ({"config": "{{"}, "this is not JSON"),
        ({"config": "[1]"}, "a config is a JSON object"),
        ({"examples": "some"}, "invalid int value: 'some'"),
        ({"tools": "perhaps"}, "argument --tools: invalid"),
    ],
)
def test_arguments_that_are_not_right_are_a_usage_error(app, capsys, changed, why):
    Path("json.py").touch()
    given = {"graph": f"{app}:graph", "evals": f"{app}:evals"} | {
        key: word.format(app=app) for key, word in changed.items()
    }
    graph = given.pop("graph")
    with pytest.raises(SystemExit) as raised:
        main(["diagnose", graph, *(part for name, word in given.items() for part in (f"--{name}", word)), "--dry-run"])
    assert raised.value.code == 2
    assert why.format(app=app) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--examples", "0"], "diagnose(examples=0): it has to be 1 or more"),
        (["--budget", "2 calls"], "2 calls"),
        (["--optimize-only", "nobody"], "nobody"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(app, capsys, more, why):
    assert main(["diagnose", f"{app}:graph", "--evals", f"{app}:evals", "--quiet", *more]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("textgrad-lg: ")
    assert why in printed.err


def test_what_the_applications_own_code_raises_is_raised(app):
    Path("broken.py").write_text("import no_such_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        main(["diagnose", "broken:graph", "--evals", f"{app}:evals"])


def test_ctrl_c_ends_it_with_the_status_that_shells_know(app, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("textgrad_lg.cli.diagnose.diagnose", interrupted)
    assert main(["diagnose", f"{app}:graph", "--evals", f"{app}:evals", "--quiet"]) == 130


def test_options_reach_the_function_by_their_names(app, monkeypatch, capsys):
    given = {}
    monkeypatch.setattr("textgrad_lg.cli.diagnose.diagnose", lambda *args, **options: given.update(options))
    options = "--model m --budget $2 --examples 5 --repeats 2 --optimize-only a --optimize-only b --run-dir f"
    more = ["--config", '{"context": {"user": 1}}', "--tools", "record", "--concurrency", "3", "--seed", "7", "--quiet"]
    assert main(["diagnose", f"{app}:graph", "--evals", f"{app}:evals", *options.split(), *more]) == 0
    settings = given.pop("settings")
    assert (settings.tools, settings.concurrency, settings.seed) == ("record", 3, 7)
    assert {name: str(value) if name == "run_dir" else value for name, value in given.items()} == {
        "model": "m",
        "budget": "$2",
        "examples": 5,
        "repeats": 2,
        "optimize_only": ["a", "b"],
        "config": {"context": {"user": 1}},
        "run_dir": "f",
    }


def test_it_is_a_program(app):
    code = "from textgrad_lg.cli.main import main; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "diagnose", "--help"], capture_output=True, text=True, check=True
    )
    assert "--evals" in done.stdout
    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
