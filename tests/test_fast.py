"""The fast transport below models that are made by name: when it is used, that requests are counted, and that it is closed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import aiohttp
import httpx2
import openai
import pytest
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph

from tests.faults.server import Faults, script, serving
from textgrad_lg import (
    Budget,
    Evals,
    Example,
    MemoryRegistry,
    Settings,
    Strategy,
    TextLoss,
    diagnose,
    optimize,
    transport,
)
from textgrad_lg.llm import resolve_model
from textgrad_lg.overlay import overlay
from textgrad_lg.run.ledger import Ledger
from textgrad_lg.run.metering import Metering
from textgrad_lg.run.prices import Prices
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.transport import Ways, fast, with_fast
from textgrad_lg.types import Phase

NAME = "openai:gpt-4o-mini"


@pytest.fixture
def faults(monkeypatch):
    import openai._base_client as client

    # It waits half a second and more before it tries again.
    monkeypatch.setattr(client.BaseClient, "_calculate_retry_timeout", lambda *_, **__: 0.001)
    with serving(Faults()) as served:
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        yield served


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """No proxy, whatever this machine has; and what is known of the extra is found out anew."""
    monkeypatch.setattr("urllib.request.getproxies", dict)
    transport._installed.cache_clear()
    yield
    transport._installed.cache_clear()


@pytest.fixture
def sent(monkeypatch):
    """The URLs of the requests that went by aiohttp."""
    found, request = [], aiohttp.ClientSession._request

    async def noted(self, method, url, **options):
        found.append(str(url))
        return await request(self, method, url, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", noted)
    return found


def named() -> Any:
    return resolve_model(NAME)


def below(model):
    return model.root_async_client._client


async def asked(model, times=1):
    async with fast(model):
        return [(await model.ainvoke("hello")).text for _ in range(times)]


@pytest.mark.loopback
def test_a_model_by_name_goes_by_aiohttp_where_that_is_open(faults, sent):
    model = named()
    assert asyncio.run(asked(model, 2)) == ["hello", "hello"]
    assert len(sent) == faults.count == 2
    assert below(model)._open == {}


@pytest.mark.loopback
def test_streams_go_by_aiohttp_as_well(faults, sent):
    async def streamed():
        model = named()
        async with fast(model):
            return "".join([chunk.text async for chunk in model.astream("hello")])

    assert asyncio.run(streamed()) == "hello"
    assert len(sent) == 1


@pytest.mark.loopback
def test_a_second_loop_has_connections_of_its_own(faults, sent):
    model = named()
    assert [asyncio.run(asked(model)) for _ in range(2)] == [["hello"], ["hello"]]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: asyncio.run(asked(model, 3)), range(4))) == [["hello"] * 3] * 4
    assert len(sent) == faults.count == 14


@pytest.mark.loopback
def test_connections_are_closed_with_the_last_block_of_the_loop(faults, sent):
    async def overlapping():
        model = named()
        async with fast(model, None, ScriptedChatModel(), model):
            async with fast(model):
                await model.ainvoke("hello")
            await model.ainvoke("hello")
            client, blocks = below(model)._open[asyncio.get_running_loop()]
            assert (blocks, client.is_closed) == (2, False)
        assert client.is_closed

    asyncio.run(overlapping())
    assert len(sent) == 2


@pytest.mark.loopback
def test_an_error_in_the_block_closes_them_too(faults):
    model = named()

    async def failing():
        async with fast(model):
            await model.ainvoke("hello")
            raise LookupError("ours")

    with pytest.raises(LookupError, match="ours"):
        asyncio.run(failing())
    assert below(model)._open == {}


# In a process of its own: nobody closes the client that LangChain keeps, so pytest would be told of its connections.


async def in_another_loop(model):
    async with fast(model):
        return await asyncio.to_thread(lambda: asyncio.run(model.ainvoke("hello")))


async def after_the_block(model):
    async with fast(model):
        pass
    return await model.ainvoke("hello")


async def by_a_sync_call(model):
    async with fast(model):
        return model.invoke("hello")


def plainly(url):
    async def refuse(*_, **__):
        raise AssertionError("it went by aiohttp")

    cast("Any", aiohttp.ClientSession)._request = refuse
    # LangChain keeps a client for each base URL, whose connections are of no use in the next event loop.
    for case, base in ((in_another_loop, url), (after_the_block, f"{url}/"), (by_a_sync_call, url)):
        os.environ["OPENAI_API_BASE"] = base
        assert asyncio.run(case(named())).text == "hello"


@pytest.mark.loopback
def test_everywhere_else_it_goes_as_it_would_without(faults):
    script = f"from tests import test_fast; test_fast.plainly({faults.url!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert faults.count == 3


# Counting


def metered(faults, times=1, **limits):
    kept = Metering(Ledger(Budget(**(limits or {"calls": 100})), Prices({})), Prices({}))

    async def run():
        model = named()
        with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
            await asked(model, times)

    return kept.ledger, run


@pytest.mark.loopback
@pytest.mark.parametrize("fate", ["500", "429 with Retry-After", "reset", "closed"])
def test_what_the_client_tries_again_is_counted(faults, sent, fate):
    faults.plan = script(fate, fate)
    ledger, run = metered(faults)
    asyncio.run(run())
    assert ledger.spend.total.calls == faults.count == len(sent) == 3
    assert ledger.spend.unwatched == ()


@pytest.mark.loopback
@pytest.mark.parametrize("fate", ["closed", "reset"])
def test_a_request_that_was_lost_after_it_had_left_may_have_cost_something(faults, fate):
    faults.plan = script(fate, fate, fate)
    ledger, run = metered(faults)
    with pytest.raises(openai.APIConnectionError):
        asyncio.run(run())
    spent = ledger.spend.total
    assert spent.calls == faults.count == 3
    assert spent.input_tokens > 0


@pytest.mark.loopback
def test_a_request_that_found_no_server_is_no_call(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    ledger, run = metered(None)
    with pytest.raises(openai.APIConnectionError):
        asyncio.run(run())
    assert ledger.spend.total.calls == 0


# Runs


def graph(model) -> Any:
    def answer(state):
        return {"answer": model.invoke([("system", "You answer."), ("human", state["question"])]).text}

    made: Any = StateGraph(cast("Any", dict))
    made.add_node("answer", answer)
    made.add_edge(START, "answer")
    return made.compile(name="asking")


def examples():
    return [Example(str(at), {"question": f"Is it {at}?"}, {"answer": "yes"}) for at in range(12)]


def optimized():
    return optimize(
        graph(ScriptedChatModel(replies=lambda messages: "no")),
        Evals(examples(), [lambda outputs, reference_outputs: outputs == reference_outputs, TextLoss("Yes.", NAME)]),
        model=NAME,
        settings=Settings(steps=1, batch=3, concurrency=2, strategy=Strategy.FUSED, alpha=0.5),
        registry=MemoryRegistry(),
    )


REPLY = {"comment": "bad", "score": 0.0, "feedback": [], "text": "You answer yes."}


@pytest.mark.loopback
def test_runs_one_after_the_other_leave_nothing_open(faults, sent):
    faults.answer = lambda body: REPLY
    before = threading.active_count()
    for at in (1, 2):
        optimized()
        assert len(sent) == faults.count >= 8 * at
    assert threading.active_count() <= before + 1
    diagnose(
        graph(ScriptedChatModel(replies=lambda messages: "no")), Evals(examples(), [TextLoss("Yes.", NAME)]), model=NAME
    )
    assert len(sent) == faults.count


@pytest.mark.loopback
async def test_a_run_in_a_running_loop_uses_it_too(faults, sent):
    faults.answer = lambda body: REPLY
    optimized()
    assert len(sent) == faults.count >= 8


# Where it is not used


def test_without_the_extra_the_model_is_the_one_that_langchain_makes(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")

    def missing(**options):
        raise RuntimeError("To use the aiohttp client you must have installed the package with the `aiohttp` extra")

    monkeypatch.setattr(openai, "DefaultAioHttpClient", missing)
    assert not isinstance(below(named()), Ways)


def test_behind_a_proxy_requests_go_as_before(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy:1"})
    assert not isinstance(below(named()), Ways)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setenv("OPENAI_PROXY", "http://proxy:1")
    assert not isinstance(below(named()), Ways)


def test_other_models_are_taken_as_they_are(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")

    class Mine(ChatOpenAI):
        pass

    for model in (ScriptedChatModel(), Mine(model="m")):
        assert with_fast(model) is model
    given: Any = ChatOpenAI(model="m", http_async_client=httpx2.AsyncClient())
    assert resolve_model(given) is given


def test_the_model_is_otherwise_the_same(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    model, plain = named(), ChatOpenAI(model="gpt-4o-mini")
    assert isinstance(below(model), Ways)
    assert model.asdict() == plain.asdict()
    assert (model.client._client._client, model.async_client._client._client) == (
        model.root_client._client,
        below(model),
    )
    assert (model.root_async_client.timeout, model.root_async_client.max_retries) == (
        plain.root_async_client.timeout,
        plain.root_async_client.max_retries,
    )
    assert model.bind_tools([]).bound is model
