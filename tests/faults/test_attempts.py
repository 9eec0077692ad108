"""Each request that leaves the process is a call, those that a client makes again by itself included."""

from __future__ import annotations

import asyncio
import threading
import warnings
from typing import Any

import httpx
import httpx2
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.faults.server import OK, STREAM_CUT, Faults, script, serving, unverified
from textgrad_lg import Budget
from textgrad_lg.errors import BudgetExhausted, ModelError
from textgrad_lg.llm import Form, ask
from textgrad_lg.overlay import overlay
from textgrad_lg.run.ledger import Ledger
from textgrad_lg.run.metering import Metering
from textgrad_lg.run.prices import Prices
from textgrad_lg.types import Phase

pytestmark = [
    pytest.mark.loopback,
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    # LangChain keeps clients, and their connections, for the process.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SEND = {
    (package, name): getattr(package, name).send for package in (httpx, httpx2) for name in ("Client", "AsyncClient")
}


@pytest.fixture
def faults():
    with serving(Faults()) as served:
        yield served


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Clients wait half a second and more before they try again."""
    import anthropic._base_client as theirs
    import openai._base_client as ours

    for module in (ours, theirs):
        monkeypatch.setattr(module.BaseClient, "_calculate_retry_timeout", lambda *_, **__: 0.001)


@pytest.fixture(autouse=True)
def taken_off():
    yield
    for (package, name), send in SEND.items():
        assert getattr(package, name).send is send


def openai(faults, **options: Any):
    given: dict[str, Any] = {"model": "m", "base_url": faults.url, "api_key": "key", "max_tokens": 50}
    return ChatOpenAI(stream_usage=True, **{**given, **unverified(faults.url), **options})


def anthropic(faults, **options):
    given: dict[str, Any] = {"model": "m", "base_url": faults.base, "api_key": "key", "max_tokens": 50, **options}
    return ChatAnthropic(**given)


def metering(**limits):
    return Metering(Ledger(Budget(**(limits or {"calls": 1000})), Prices({})), Prices({}))


def metered(run, **limits):
    kept = metering(**limits)
    meter = kept.meter(Phase.ROLLOUT)
    with overlay({}, meter=meter):
        run()
    return kept.ledger.spend, meter


async def _astream(model):
    async for _ in model.astream("hello"):
        pass


async def _aevents(model):
    async with await model.astream_events("hello", version="v3") as stream:
        await stream.output


def _events(model):
    return model.stream_events("hello", version="v3").output


WAYS = {
    "invoke": lambda model: model.invoke("hello"),
    "ainvoke": lambda model: asyncio.run(model.ainvoke("hello")),
    "stream": lambda model: list(model.stream("hello")),
    "astream": lambda model: asyncio.run(_astream(model)),
    "v3": _events,
    "async v3": lambda model: asyncio.run(_aevents(model)),
}
FAILING = ["429 with Retry-After", "429", "500", "503", "reset", "closed"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fate", ["429 with Retry-After", "500", "reset"])
def test_a_retry_that_the_client_hides_is_counted(faults, way, fate):
    faults.plan = script(fate, fate)
    spend, _ = metered(lambda: WAYS[way](openai(faults)))
    assert spend.total.calls == faults.count == 3
    assert spend.unwatched == ()


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("fate", FAILING)
def test_anthropics_client_too(faults, way, fate):
    faults.plan = script(fate, fate)
    spend, _ = metered(lambda: WAYS[way](anthropic(faults)))
    assert spend.total.calls == faults.count == 3
    assert spend.unwatched == ()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fate", ["429", "closed", "invalid JSON", "wrong schema", "truncated", "hang"])
def test_what_fails_for_good_is_counted_and_told(faults, way, fate):
    faults.plan = lambda at, body: fate
    raised = []

    def run():
        try:
            WAYS[way](openai(faults, timeout=0.05))
        except Exception as error:
            raised.append(error)

    streaming = "stream" in way or "v3" in way
    spend, meter = metered(run)
    assert spend.total.calls == faults.count
    assert faults.count == (1 if fate in {"invalid JSON", "wrong schema"} or (streaming and fate == "truncated") else 3)
    if not (streaming and fate in {"invalid JSON", "wrong schema"}):  # to a stream these are no events
        assert raised
        assert meter.passes(raised[0])
        assert not meter.passes(ValueError("of the graph itself"))


def test_a_request_that_is_refused_for_good_is_no_fault_that_passes(faults):
    faults.plan = lambda at, body: "400"
    kept = metering()
    meter = kept.meter(Phase.ROLLOUT)
    with overlay({}, meter=meter), pytest.raises(Exception, match="400") as raised:
        openai(faults).invoke("hello")
    assert not meter.passes(raised.value)
    assert not meter.passes()
    assert kept.ledger.spend.total.calls == faults.count == 1


def test_a_server_that_refuses_has_written_nothing(faults):
    faults.plan = script("429", "500")
    spend, _ = metered(lambda: openai(faults).invoke("hello"))
    assert (spend.total.calls, spend.total.input_tokens, spend.total.output_tokens) == (3, 5, 2)


def test_a_reply_that_was_lost_may_be_billed_and_counts_at_its_worst(faults):
    faults.plan = script("reset", "truncated")
    spend, _ = metered(lambda: openai(faults).invoke("hello"))
    assert (spend.total.calls, spend.total.output_tokens) == (3, 102)


def test_what_never_left_is_no_call(faults):
    model = ChatOpenAI(model="m", base_url="http://127.0.0.1:1/v1", api_key=SecretStr("key"))

    def run():
        with pytest.raises(Exception, match="Connection error"):
            model.invoke("hello")

    spend, meter = metered(run)
    assert spend.total.calls == 0
    assert meter.passes()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [openai, anthropic])
def test_a_retry_that_the_budget_does_not_allow_never_leaves(faults, way, make):
    if make is anthropic and way not in ("invoke", "ainvoke"):
        pytest.skip("the server streams as OpenAI's does")
    faults.plan = lambda at, body: "500"
    kept = metering(calls=2)
    meter = kept.meter(Phase.ROLLOUT)
    with overlay({}, meter=meter), pytest.raises(BudgetExhausted, match="2 calls"):
        WAYS[way](make(faults, max_retries=5))
    assert faults.count == kept.ledger.spend.total.calls == 2
    with pytest.raises(BudgetExhausted):
        meter.check()


@pytest.mark.parametrize("way", WAYS)
def test_after_a_stop_no_retry_leaves(faults, way):
    kept = metering()

    def plan(at, body):
        kept.stop()
        return "500"

    faults.plan = plan
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)), pytest.raises(asyncio.CancelledError):
        WAYS[way](openai(faults))
    assert faults.count == kept.ledger.spend.total.calls == 1


def test_a_stream_that_breaks_off_is_one_call(faults):
    faults.plan = script(STREAM_CUT)
    read = []

    def run():
        stream = openai(faults).stream("hello")
        with pytest.raises(Exception, match=r"Connection error|peer closed"):
            read.extend(chunk.text for chunk in stream)

    spend, meter = metered(run)
    assert read == ["he"]
    assert spend.total.calls == faults.count == 1
    assert meter.passes()


async def test_a_batch_counts_each_prompt_and_each_retry(faults):
    faults.plan = lambda at, body: "500" if at % 3 == 0 else OK
    kept = metering()
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        model = openai(faults, max_retries=9)
        await asyncio.gather(*(model.ainvoke(f"hello {at}") for at in range(20)))
        await model.agenerate([[AIMessage(f"and {at}")] for at in range(10)])
        model.generate([[AIMessage(f"or {at}")] for at in range(10)])
    assert kept.ledger.spend.total.calls == faults.count > 40


def test_outside_of_metered_calls_nothing_is_counted(faults):
    kept = metering()
    with overlay({}):
        assert openai(faults).invoke("hello").text == "hello"
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        httpx.post(faults.url + "/chat/completions", json={"model": "m", "messages": [{"content": "x"}]})
        thread = threading.Thread(target=lambda: openai(faults).invoke("hello"))
        thread.start()
        thread.join()
    assert kept.ledger.spend.total.calls == 0


class Plain(BaseChatModel):
    """A model whose client is httpx itself, tried again by the model."""

    url: str
    tries: int = 3
    packages: tuple[Any, ...] = (httpx, httpx2)

    @property
    def _llm_type(self):
        return "plain"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        body = {"model": "m", "messages": [{"role": "user", "content": messages[-1].text}]}
        reply: Any = None
        for package in self.packages:
            with package.Client() as client:
                client.post(f"{self.url}/token", json={"messages": [{"content": ""}]})
                for _ in range(self.tries):
                    reply = client.post(f"{self.url}/chat/completions", json=body)
                    if reply.status_code == 200:
                        break
        text = reply.json()["choices"][0]["message"]["content"]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


@pytest.mark.parametrize("package", [httpx, httpx2])
def test_of_other_clients_the_same_request_once_more_is_a_retry(faults, package):
    faults.plan = script(OK, "500", "500")
    spend, _ = metered(lambda: Plain(url=faults.url, packages=(package,)).invoke("hello"))
    # A token was asked for first, which is no model call.
    assert (faults.count, spend.total.calls) == (4, 3)


class Halts(AsyncCallbackHandler):
    """Holds up a call between its admission and its request."""

    def __init__(self):
        self.reached = asyncio.Event()

    async def on_chat_model_start(self, *args: Any, **kwargs: Any):
        self.reached.set()
        await asyncio.Event().wait()


async def _cancelled(model, reached, **config):
    task = asyncio.create_task(model.ainvoke("hello", **config))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_call_that_is_cancelled_before_its_request_is_made_is_none(faults):
    kept, halts = metering(), Halts()
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        await openai(faults).ainvoke("hello")
        await _cancelled(openai(faults), halts.reached, config={"callbacks": [halts]})
    assert kept.ledger.spend.total.calls == faults.count == 1
    assert kept.ledger.spend.unwatched == ()


async def test_of_a_client_that_was_never_seen_it_counts_and_is_not_called_unwatched(faults):
    kept, halts = metering(), Halts()
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        await _cancelled(openai(faults), halts.reached, config={"callbacks": [halts]})
    assert faults.count == 0
    assert kept.ledger.spend.total.calls == 1
    assert kept.ledger.spend.unwatched == ()


async def test_a_call_that_is_cancelled_while_it_connects_is_none(faults, monkeypatch):
    reached = asyncio.Event()

    async def connect(*args, **kwargs):
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("httpcore2._backends.auto.AutoBackend.connect_tcp", connect)
    kept = metering()
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        await _cancelled(openai(faults, http_async_client=httpx2.AsyncClient()), reached)
    assert kept.ledger.spend.total.calls == faults.count == 0


async def test_a_call_that_is_cancelled_while_the_server_thinks_is_one_at_its_worst(faults):
    reached, loop = asyncio.Event(), asyncio.get_running_loop()

    faults.plan, faults.counted = (lambda at, body: "hang"), lambda fate: loop.call_soon_threadsafe(reached.set)
    kept = metering()
    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        await _cancelled(openai(faults), reached)
    assert (kept.ledger.spend.total.calls, kept.ledger.spend.total.output_tokens) == (1, 50)


class Own(httpx2.AsyncBaseTransport):
    """A transport that takes the body in its own way, as aiohttp's does."""

    def __init__(self, faults):
        self._faults = faults

    async def handle_async_request(self, request) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self._faults.base.rpartition(":")[2]))
        body = request.content
        writer.write(b"POST /v1 HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        try:
            await reader.read()
        finally:
            writer.close()


async def test_of_a_transport_that_does_not_tell_each_request_counts(faults):
    reached, loop = asyncio.Event(), asyncio.get_running_loop()

    faults.plan, faults.counted = (lambda at, body: "hang"), lambda fate: loop.call_soon_threadsafe(reached.set)
    kept = metering()
    async with httpx2.AsyncClient(transport=Own(faults)) as client:
        with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
            await _cancelled(openai(faults, http_async_client=client), reached)
    assert kept.ledger.spend.total.calls == faults.count == 1


@pytest.mark.parametrize("late", ["before the request", "while it connects"])
def test_in_a_thread_that_nobody_waits_for_no_request_leaves_any_more(faults, monkeypatch, late):
    from httpcore2._backends.sync import SyncBackend

    kept, connect = metering(), SyncBackend.connect_tcp

    class Stops(BaseCallbackHandler):
        def on_chat_model_start(self, *args: Any, **kwargs: Any):
            if late == "before the request":
                kept.stop()

    def stopped(*args, **kwargs):
        kept.stop()
        return connect(*args, **kwargs)

    with overlay({}, meter=kept.meter(Phase.ROLLOUT)):
        openai(faults).invoke("hello")
        monkeypatch.setattr(SyncBackend, "connect_tcp", stopped)
        with httpx2.Client() as client, pytest.raises(asyncio.CancelledError):
            openai(faults, http_client=client).invoke("hello", config={"callbacks": [Stops()]})
    assert kept.ledger.spend.total.calls == faults.count == 1


class Elsewhere(BaseChatModel):
    """A model whose client nobody can watch."""

    max_retries: int = 2

    @property
    def _llm_type(self):
        return "elsewhere"

    def _get_ls_params(self, stop=None, **kwargs):
        return LangSmithParams(ls_provider="elsewhere", ls_model_name="far", ls_model_type="chat")

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=AIMessage("hello"))])


def test_a_model_whose_client_cannot_be_watched_is_named():
    spend, _ = metered(lambda: [Elsewhere().invoke("hello"), Elsewhere().invoke("hello")])
    assert spend.unwatched == ("far",)
    assert "tried again by themselves: far" in spend.table()
    spend, _ = metered(lambda: Elsewhere(max_retries=0).invoke("hello"))
    assert spend.unwatched == ()


class Word(Form):
    word: str


@pytest.mark.parametrize("make", [openai, anthropic])
async def test_a_critics_reply_that_the_client_cannot_read_is_asked_for_again(faults, make):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    faults.plan = lambda at, body: "wrong schema"
    kept = metering()
    with (
        overlay({}, meter=kept.meter(Phase.ROLLOUT)),
        pytest.raises(ModelError, match=r"attempt 3 of 3.*could not read"),
    ):
        await ask(make(faults), [HumanMessage("hello")], Word, sleep=sleep)
    assert kept.ledger.spend.total.calls == faults.count == 3
    assert waits == [1, 2]


async def test_and_then_taken_as_it_is(faults):
    async def sleep(seconds):
        pass

    faults.plan, faults.answer, faults.keep = script("wrong schema"), lambda body: {"word": "well"}, True
    reply = await ask(openai(faults), [HumanMessage("hello")], Word, sleep=sleep)
    assert (reply.value.word, reply.attempts) == ("well", 2)
    assert faults.bodies[0] == faults.bodies[1]


def test_somebody_elses_wrapper_on_top_stays(faults):
    calls = []
    with overlay({}, meter=metering().meter(Phase.ROLLOUT)):
        openai(faults).invoke("hello")
        ours = httpx2.Client.send

        def theirs(self, *args, **kwargs):
            calls.append(1)
            return ours(self, *args, **kwargs)

        httpx2.Client.send = theirs
    assert httpx2.Client.send is theirs
    assert openai(faults).invoke("hello").text == "hello"
    assert calls == [1]
    httpx2.Client.send = SEND[httpx2, "Client"]


def test_no_warning(faults):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metered(lambda: openai(faults).invoke("hello"))
