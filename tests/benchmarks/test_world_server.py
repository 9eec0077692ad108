"""The world's server: what it counts, and programs that really run on it."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.gates import Decision, Flips, decisions, summary, three_examples
from benchmarks.optimizers import Judge, Row, examples, measure, models, run, table, texts_of
from benchmarks.world.log import CRITIC, WORKER, Call, Log, longest, rounds
from benchmarks.world.program import build
from benchmarks.world.server import Served, base_of, listen, running
from benchmarks.world.task import Kind, Task
from textgrad_lg import Joint, Strategy


@pytest.fixture(scope="module")
def world():
    with running() as client:
        yield client


def call(start: float, end: float, **given) -> Call:
    return Call(
        **{"model": WORKER, "kind": "read", "sent": 1, "forms": 0, "received": 1, **given}, start=start, end=end
    )


# What is counted


def test_rounds_are_the_longest_chain_of_calls_that_wait_for_each_other():
    chain = [call(at, at + 1) for at in range(4)]
    beside = [call(0, 3.5), call(0.5, 1.5)]
    assert rounds(chain) == 4
    assert rounds([*chain, *beside]) == 4
    assert rounds([call(0, 1)] * 9) == 1
    assert rounds([]) == 0
    assert longest([*chain, *beside]) == pytest.approx(4)
    assert longest([call(0, 3), call(0, 1), call(1, 2)]) == pytest.approx(3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4)), max_size=7))
def test_rounds_are_right_for_any_calls(spans):
    calls = [call(start, start + length) for start, length in spans]

    def chains(last: float) -> int:
        return max((1 + chains(one.end) for one in calls if one.start >= last), default=0)

    assert rounds(calls) == chains(0)


def test_calls_on_the_test_set_are_told_apart():
    log = Log()
    for one in (
        call(0, 1, split="train", sent=5),
        call(1, 2, kind="gradient", model=CRITIC, sent=7, forms=2),
        call(2, 9, split="test"),
    ):
        log.begin(one.start)
        log.end(one)
    found = log.report(1.0)
    assert found["calls"] == {
        "total": 2,
        "worker": 1,
        "critic": 1,
        "by_kind": {"gradient": 1, "read": 1},
        "by_split": {"train": 1},
    }
    assert found["tokens"]["critic"] == {"sent": 7, "forms": 2, "received": 1}
    assert (found["rounds"], found["wall"], found["critical"]) == (2, 2, 2.0)
    assert found["test"]["calls"] == 1
    assert found["solved"] == {"calls": None, "seconds": None}


def test_the_first_time_that_it_is_solved_counts():
    log = Log()
    for now in 1.0, 3.0, 5.0:
        log.begin(now)
        if now > 1:
            log.solve(now)
    assert log.report(0.2)["solved"] == {"calls": 2, "seconds": 2.0}


@pytest.mark.loopback
async def test_calls_side_by_side_are_counted_and_take_one_round():
    served = Served()
    served.reset({"latency": 0.1, "kind": "plain", "seed": 2})
    server = await listen(served, 0)
    try:
        described = served.world.described()
        node, questions = described["nodes"][0], [row["question"] for row in described["train"][:5]]
        body = [json.dumps(_ask(node, question)).encode() for question in questions]
        replies = await asyncio.gather(*(_post(base_of(server), one) for one in body))
    finally:
        server.close()
    texts = [reply["choices"][0]["message"]["content"] for reply in replies]
    assert all(text.startswith("Lines of ") for text in texts)
    found = served.log.report(served.latency)
    assert (found["calls"]["total"], found["rounds"], found["peak"]) == (5, 1, 5)
    said = [f"{node['prompt']}\n\n{node['marker']}\n{question}" for question in questions]
    assert found["tokens"]["worker"]["sent"] == sum(-(-len(text) // 4) for text in said)
    assert [reply["usage"]["prompt_tokens"] for reply in replies] == [-(-len(text) // 4) for text in said]


@pytest.mark.loopback
async def test_a_request_that_comes_in_pieces_is_put_together():
    served = Served()
    served.reset({"latency": 0})
    server = await listen(served, 0)
    try:
        host, port = server.sockets[0].getsockname()
        reader, writer = await _open(host, port)
        for piece in (b"GET /control/rep", b"ort HTTP/1.1\r\nHost: x\r", b"\n\r\nGET /nowhere HTTP/1.1\r\n\r\n"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        first = await reader.readuntil(b"\r\n\r\n")
        length = int(first.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        second = await reader.readline()
        writer.close()
    finally:
        server.close()
    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 404")


@pytest.mark.loopback
def test_the_control_api_says_what_a_user_would_know_and_no_more(world):
    world.reset(kind="plain", seed=4, latency=0)
    found = world.task()
    assert [node["name"] for node in found["nodes"]] == ["read", "price", "reply"]
    assert set(found["train"][0]) == {"id", "question", "answer"}
    assert not any(node.instruction in json.dumps(found) for node in Task(Kind.PLAIN, 4).nodes.values())
    assert world.report()["calls"]["total"] == 0
    assert world.score({})["score"] == pytest.approx(2 / 18)
    texts = {name: f"{node.prompt} {node.instruction}" for name, node in Task(Kind.PLAIN, 4).nodes.items()}
    assert world.score(texts) == {"score": 1.0, "held": ["read", "price", "reply"]}


@pytest.mark.loopback
def test_what_is_not_known_is_refused(world):
    for given_ in {"sead": 1}, {"kind": "other"}:
        with pytest.raises(urllib.error.HTTPError, match="400"):
            world.reset(**given_)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{world.base}/nowhere", timeout=5)


# Programs


@pytest.mark.loopback
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in {Kind.NULL, Kind.NOISY}])
async def test_the_program_of_each_world_scores_what_its_texts_are_worth(world, kind):
    world.reset(kind=kind, seed=1, latency=0)
    described, task = world.task(), Task(kind, 1)
    for names in ([], list(task.nodes)[:2], list(task.nodes)):
        nodes = [
            {**node, "prompt": node["prompt"] + (task.nodes[node["name"]].instruction if node["name"] in names else "")}
            for node in described["nodes"]
        ]
        async with models(world) as (worker, _):
            graph = build({**described, "nodes": nodes}, worker)
            found = await asyncio.gather(*(graph.ainvoke({"question": row["question"]}) for row in described["test"]))
        score = sum(one["answer"] == row["answer"] for one, row in zip(found, described["test"], strict=True)) / 18
        assert score == pytest.approx(world.score({node["name"]: node["prompt"] for node in nodes})["score"])
        assert (world.report()["solved"]["calls"] is not None) == (names == list(task.nodes))


@pytest.mark.loopback
def test_optimize_solves_the_world_and_every_call_is_counted(world):
    row = Row("ours", Joint, Strategy.FUSED)
    found = measure(world, row, 0, steps=2, kind="plain", latency=0)
    report = found["report"]
    assert found["score"] == found["accepted_score"] == 1.0
    assert found["improved"]
    assert report["calls"]["total"] + report["test"]["calls"] == sum(found["phases"].values())
    assert report["calls"]["worker"] == found["phases"]["rollout"] + found["phases"]["validation"]
    assert report["calls"]["by_kind"]["gradient"] == found["phases"]["gradient"]
    assert 0 < report["solved"]["calls"] <= report["calls"]["total"]
    shown = table([found, {**found, "score": 0.5}])
    assert "0.75 (0.50-1.00)" in shown
    assert "ours" in shown


@pytest.mark.loopback
def test_a_run_that_is_repeated_in_the_same_process_takes_the_same_calls(world):
    row = Row("ours", Joint, Strategy.FUSED)
    found = [measure(world, row, 2, steps=1, kind="plain", latency=0)["report"] for _ in range(2)]
    assert found[0]["calls"] == found[1]["calls"]
    assert found[0]["tokens"] == found[1]["tokens"]


@pytest.mark.loopback
async def test_the_decisions_of_a_run_are_told_with_their_true_worth(world):
    world.reset(kind="plain", seed=1, latency=0)
    result = await run(world, Row("ours", Joint, Strategy.FUSED), 1, steps=2)
    found = decisions(result, Task(Kind.PLAIN, 1))
    taken = [one for one in found if one.accepted]
    assert taken
    assert all(one.better for one in taken)
    assert found[0].before == pytest.approx(2 / 18)
    assert max(one.after for one in taken) == Task(Kind.PLAIN, 1).score(texts_of(result.prompts))


# Noise


def test_one_verdict_in_ten_is_turned_round_and_can_be_repeated():
    flips = Flips(0)
    turned = [flips("EUR 1.00", "EUR 1.00") for _ in range(2000)]
    assert 0.08 < sum(turned) / 2000 < 0.12
    again = Flips(0)
    assert [again("EUR 1.00", "EUR 1.00") for _ in range(2000)] == turned


def test_a_verdict_that_is_turned_round_says_the_opposite():
    honest, liar = Judge(), Judge(lambda _output, _answer: True)
    for output, score in (("EUR 1.00", 1.0), ("EUR 2.00", 0.0)):
        assert honest({"answer": output}, {"answer": "EUR 1.00"})[0] == score
        assert liar({"answer": output}, {"answer": "EUR 1.00"})[0] == 1 - score
    assert honest({"answer": "EUR 2.00"}, {"answer": "EUR 1.00"})[1] == "expected EUR 1.00, got EUR 2.00"


def test_a_gate_of_three_examples_takes_what_does_not_help_nearly_every_second_time():
    task = Task(Kind.NOISY, 0)
    full = {name: f"{node.prompt} {node.instruction}" for name, node in task.nodes.items()}
    bare = {name: node.prompt for name, node in task.nodes.items()}
    assert 0.3 < three_examples(task, full, full) < 0.6
    assert three_examples(task, bare, full) > 0.75


def test_the_summary_counts_what_was_accepted_without_being_better():
    same = Decision("noisy", 0, 1, 0.5, 0.5, accepted=True, three=0.4)
    found = [same, Decision("noisy", 0, 1, 0.5, 0.4, accepted=False, three=0.2)]
    better = Decision("noisy", 1, 2, 0.5, 0.7, accepted=True, three=0.8)
    said = summary("noisy", [*found, better], [{"published": True, "better": False, "start": 0.5, "end": 0.5}])
    assert "not better: 2; accepted 1, 50.0%, in 1 of the runs" in said
    assert "by a gate of three examples: 0.30" in said
    assert "published without being better: 1 of 1 runs" in said


def test_examples_have_the_shape_that_evals_take():
    described = {name: [{"id": "1", "question": "q", "answer": "a"}] for name in ("train", "validation", "test")}
    assert examples(described)[1] == {
        "id": "1",
        "inputs": {"question": "q"},
        "reference_outputs": {"answer": "a"},
        "split": "validation",
    }


def _ask(node, question):
    return {
        "model": "worker",
        "messages": [
            {"role": "system", "content": node["prompt"]},
            {"role": "user", "content": f"{node['marker']}\n{question}"},
        ],
    }


async def _open(host: str, port: int):
    """A connection that does not go through the guard of tests without a network: the server is in this process."""
    return await asyncio.open_connection(host, port)


async def _post(base: str, body: bytes):
    host, port = base.removeprefix("http://").split(":")
    reader, writer = await _open(host, int(port))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    found = json.loads(await reader.readexactly(length))
    writer.close()
    return found
