"""What the peers share: the batches, the pipeline, the table; no peer is needed for it."""

import sys

import pytest

from benchmarks.peers import drive
from benchmarks.peers.setting import Node, Row, Setting, comment, each, right

ROWS = tuple(Row(str(at), f"question {at}", f"answer {at}") for at in range(36))
NODES = (Node("a", "Do a.", "[a]"), Node("b", "Do b.", "[b]"))


def setting(seed=0):
    return Setting("http://127.0.0.1:1", seed, NODES, ROWS, ROWS[:18])


def test_every_example_is_in_one_batch_and_the_seed_decides_which():
    batches = setting(1).batches()
    assert [len(it) for it in batches] == [3] * 12
    assert {row.id for batch in batches for row in batch} == {row.id for row in ROWS}
    assert batches == setting(1).batches() != setting(2).batches()


def test_each_node_gets_its_marker_and_the_reply_before():
    def call(system, message):
        return f"{system} <- {message}"

    visits = setting().pipeline(call, {"a": "A", "b": "B"}, "what?")
    assert [(it.node, it.message) for it in visits] == [("a", "[a]\nwhat?"), ("b", "[b]\nA <- [a]\nwhat?")]
    assert visits[-1].reply == "B <- [b]\nA <- [a]\nwhat?"


def test_outputs_are_judged_in_the_same_words_for_everybody():
    assert right(" EUR 1.00\n", "EUR 1.00")
    assert comment("EUR 1.00", "EUR 1.00") == "right"
    assert comment("USD 1.00", "EUR 1.00") == "expected EUR 1.00, got USD 1.00"


def test_results_come_in_the_order_of_the_items():
    assert each(lambda it: it * 2, range(20), threads=4) == [it * 2 for it in range(20)]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1.0, 1.0], "1.00"),
        ([0.5, 1.0], "0.75 (0.50-1.00)"),
        ([100, 300], "200 (100-300)"),
        ([12.0, None], "12.0, 1 of 2 never"),
        ([None, None], "never"),
    ],
)
def test_a_cell_has_the_mean_and_the_spread_and_who_never_came_there(values, shown):
    assert drive.cell(values) == shown


def test_a_peer_that_fails_says_how(monkeypatch, tmp_path):
    script = tmp_path / "peer.py"
    script.write_text("import sys\nsys.exit(f'it is broken: {sys.argv[3:]}')")
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setattr(drive, "ENVIRONMENTS", tmp_path)
    monkeypatch.setitem(drive.PEERS, "broken", drive.Peer("env", str(script), "some"))
    with pytest.raises(
        RuntimeError, match=r"broken ended with 1: it is broken: \['--seed', '0', '--variant', 'some'\]"
    ):
        drive.run("broken", drive.Client("http://127.0.0.1:1"), 0)


def test_the_table_has_a_line_for_each_peer_and_fewer_columns_for_salted_runs():
    report = {
        "calls": {"total": 10, "worker": 7, "critic": 3, "by_kind": {"a": 7, "gradient": 1, "proposal": 2}},
        "tokens": {"worker": {"sent": 1500, "forms": 0}, "critic": {"sent": 500, "forms": 100}},
        "solved": {"calls": 5, "seconds": 1.5},
        "rounds": 4,
        "wall": 1.0,
        "critical": 0.8,
    }
    run = {"peer": "gepa", "version": "1", "salt": False, "report": report, "test": {"score": 1.0}}
    never = {**run, "report": {**report, "solved": {"calls": None, "seconds": None}}, "test": {"score": 0.5}}
    other = {**run, "peer": "langmem"}
    lines = drive.table([run, other, never]).splitlines()
    assert lines[2] == (
        "| gepa 1 | 0.75 (0.50-1.00) | 10.0 | 7.00 / 1.00 / 2.00 | 2.00 | 0.10 | 5.00, 1 of 2 never | 1.50, 1 of 2 never "
        "| 4.00 | 1.00 | 1.25 |"
    )
    assert lines[3].startswith("| langmem 1 | 1.00 |")
    salted = drive.table([{**run, "salt": True}]).splitlines()
    assert salted[2] == "| gepa 1 | 1.00 | 10.0 | 2.00 | 5.00 | 4.00 | 1.00 |"
