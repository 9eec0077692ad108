"""What is spent is what a server counted, to the call and to the token, whatever way the calls were made."""

from __future__ import annotations

import json

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from tests.run import worlds
from tests.run.counting import counting
from textgrad_lg import TGD, Budget, Evals, MemoryRegistry, Price, Settings, Strategy, TextLoss, optimize
from textgrad_lg.types import Phase, Usage

pytestmark = pytest.mark.loopback

PRICES = {"worker": Price(1, 2), "critic": Price(3, 5), "judge": Price(7, 11)}
PLAIN = ""
"""The form of a reply that is plain text."""


@pytest.fixture
def server():
    with counting() as seen:
        yield seen


def messages(system, given):
    return [SystemMessage(system), HumanMessage(given)]


def pages(extract, judge, publish):
    graph = StateGraph(worlds.State)
    for node in (extract, judge, publish):
        graph.add_node(node.__name__, node)
    return (
        graph.add_edge(START, "extract").add_edge("extract", "judge").add_edge("judge", "publish").compile(name="pages")
    )


def sync_pages(model):
    def extract(state: worlds.State):
        return {"facts": model.invoke(messages("You extract the facts.", state["review"])).text}

    def judge(state: worlds.State):
        return {"label": "".join(chunk.text for chunk in model.stream(messages(worlds.JUDGE, state["facts"])))}

    def publish(state: worlds.State):
        page, _ = model.batch(
            [messages("You write the page.", state["label"]), messages("You file the page.", state["label"])]
        )
        return {"page": page.text}

    return pages(extract, judge, publish)


def async_pages(model):
    async def extract(state: worlds.State):
        return {"facts": (await model.ainvoke(messages("You extract the facts.", state["review"]))).text}

    async def judge(state: worlds.State):
        return {"label": "".join([chunk.text async for chunk in model.astream(messages(worlds.JUDGE, state["facts"]))])}

    async def publish(state: worlds.State):
        page, _ = await model.abatch(
            [messages("You write the page.", state["label"]), messages("You file the page.", state["label"])]
        )
        return {"page": page.text}

    return pages(extract, judge, publish)


def improve(graph, server, **options):
    judged = TextLoss("It is a page.", server.model("judge"))
    settings = Settings(steps=2, batch=4, concurrency=4, strategy=Strategy.CHAIN)
    options = {"settings": settings, "budget": "2000 calls", "optimizer": TGD(), "prices": PRICES} | options
    return optimize(
        graph,
        Evals(worlds.reviews(24), [worlds.right_page, judged]),
        model=server.model("critic"),
        registry=MemoryRegistry(),
        **options,
    )


def counted(server):
    """The server's count in US dollars, by its own tokens."""
    return sum(PRICES[body["model"]].cost(*usage) for body, usage in zip(server.bodies, server.usages, strict=True))


@pytest.mark.parametrize("build", [sync_pages, async_pages])
def test_a_run_spends_what_the_server_counted(server, build):
    result = improve(build(server.model()), server)
    assert result.improved
    total = result.spend.total
    assert (total.calls, total.input_tokens, total.output_tokens) == server.total
    assert total.usd == pytest.approx(counted(server), abs=1e-12)
    # Each phase by itself: what asked for a form was the critic or a judge.
    used = result.spend.phases
    worked = used[Phase.ROLLOUT].calls + used[Phase.VALIDATION].calls
    judged = used[Phase.JUDGE].calls
    in_test = [body["model"] for body in server.bodies].count("judge") - judged
    assert server.asked("Judgement") == judged + in_test
    assert worked + used[Phase.TEST].calls - in_test == server.asked(PLAIN)
    criticised = used[Phase.GRADIENT].calls + used[Phase.PROPOSAL].calls
    assert criticised == [body["model"] for body in server.bodies].count("critic") > 2
    assert any(body.get("stream") for body in server.bodies)


def test_a_stream_that_does_not_say_what_it_used_counts_at_its_worst(server):
    result = improve(sync_pages(server.model(stream_usage=False)), server)
    calls, _, received = server.total
    assert result.spend.total.calls == calls
    assert result.spend.total.output_tokens >= received


def test_a_stream_that_nobody_reads_to_its_end_counts_once(server):
    model = server.model()

    def judge(state: worlds.State):
        stream = model.stream(messages(worlds.JUDGE, state["review"]))
        return {"page": next(iter(stream)).text}

    graph = StateGraph(worlds.State).add_node(judge).add_edge(START, "judge").compile(name="pages")
    result = improve(graph, server)
    assert result.spend.total.calls == server.total[0]


def test_calls_that_fail_count(server):
    server.fails = lambda body, number: 400 if body["model"] == "worker" and number % 3 == 0 else 0
    settings = Settings(steps=1, batch=4, concurrency=4, strategy=Strategy.STRUCTURAL)
    result = improve(sync_pages(server.model()), server, settings=settings, optimizer=TGD(proposals=1))
    assert server.failed > 10
    assert result.spend.total.calls == server.total[0]


@pytest.mark.parametrize("build", [sync_pages, async_pages])
def test_what_a_client_tries_again_by_itself_counts(server, build):
    server.fails = lambda body, number: 500 if body["model"] == "worker" and number % 4 == 0 else 0
    result = improve(build(server.model(max_retries=5)), server)
    worked = [body["model"] for body in server.bodies].count("worker")
    assert server.failed > 20
    assert result.improved
    assert not result.raised
    assert result.spend.total.calls == server.total[0] > worked
    assert result.spend.unwatched == ()


def test_replies_that_cannot_be_used_count(server):
    """The model is asked again, by a call of its own. What the client could not read it does not hand on, tokens included."""
    seen = set()

    def cuts(body, number):
        request = json.dumps(body["messages"])
        first = body["model"] == "critic" and request not in seen
        seen.add(request)
        return first

    server.cuts = cuts
    settings = Settings(steps=1, batch=4, concurrency=4, strategy=Strategy.CHAIN)
    result = improve(sync_pages(server.model()), server, settings=settings)
    total, used = result.spend.total, result.spend.phases
    calls, _, received = server.total
    assert total.calls == calls
    assert total.output_tokens >= received
    asked = [json.dumps(body["messages"]) for body in server.bodies if body["model"] == "critic"]
    assert used[Phase.GRADIENT].calls + used[Phase.PROPOSAL].calls == len(asked) > len(set(asked))


@pytest.mark.parametrize("stream", [False, True])
def test_evaluators_that_ask_a_model_by_themselves_count(server, stream):
    judge = server.model("judge")

    def liked(outputs):
        request = messages("You judge pages.", outputs["page"])
        said = "".join(chunk.text for chunk in judge.stream(request)) if stream else judge.invoke(request).text
        return bool(said)

    settings = Settings(steps=1, batch=4, concurrency=4, strategy=Strategy.CHAIN)
    result = optimize(
        sync_pages(server.model()),
        Evals(worlds.reviews(24), [worlds.right_page, liked]),
        model=server.model("critic"),
        registry=MemoryRegistry(),
        settings=settings,
        optimizer=TGD(),
        prices=PRICES,
    )
    total, used = result.spend.total, result.spend.phases
    assert (total.calls, total.input_tokens, total.output_tokens) == server.total
    judged = [body["model"] for body in server.bodies].count("judge")
    rollouts = sum(usage.rollouts for usage in used.values())
    assert judged == rollouts
    assert used[Phase.JUDGE].calls == judged - used.get(Phase.TEST, Usage()).rollouts


def test_a_budget_that_ends_in_the_middle_is_kept_by_the_servers_count(server):
    result = improve(sync_pages(server.model()), server, budget=Budget(calls=150))
    assert result.spend.total.calls == server.total[0] <= 150
    assert "stopped in step" in result.reason


def test_a_run_that_goes_on_counts_all_its_sessions(server, tmp_path):
    graph = sync_pages(server.model())
    improve(graph, server, run_dir=tmp_path / "run", budget=Budget(calls=150))
    result = improve(graph, server, run_dir=tmp_path / "run")
    total = result.spend.total
    assert (total.calls, total.input_tokens, total.output_tokens) == server.total
