"""Calls made straight on the model inside a node: rewritten once, admitted once, settled once."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import warnings
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue

from textgrad_lg.errors import BudgetExhausted
from textgrad_lg.overlay import overlay
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel

from .support import CountingMeter, Watcher, change, one_node, reply, scripted, sent

# The new text matches the old Template again: a second rewriting would show.
TEXTS = {Site(("ask",), "system"): change("Be {how}.", "Be {how}, and kind.", slots=("how",))}
PROMPT = [SystemMessage("Be terse."), HumanMessage("Why?", id="q")]
SENT = [("system", "Be terse, and kind."), ("human", "Why?")]
USED = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}


class NoStreaming(ScriptedChatModel):
    """A model whose `stream` falls back to `invoke`."""

    _stream = BaseChatModel._stream
    _astream = BaseChatModel._astream


def _quiet(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


async def _acollect(items):
    return [item async for item in items]


async def _aevents(model, prompt):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = await model.astream_events(prompt, version="v3")
    return await stream


SYNC = {
    "invoke": lambda model: model.invoke(PROMPT),
    "stream": lambda model: list(model.stream(PROMPT)),
    "generate": lambda model: model.generate([PROMPT]),
    "generate with foreign metadata": lambda model: model.generate([PROMPT], metadata={"mine": 1}),
    "invoke with foreign metadata": lambda model: model.invoke(PROMPT, {"metadata": {"mine": 1}}),
    "stream with foreign metadata": lambda model: list(model.stream(PROMPT, {"metadata": {"mine": 1}})),
    "batch": lambda model: model.batch([PROMPT]),
    "bound": lambda model: model.bind(stop=["x"]).invoke(PROMPT),
    "fallbacks": lambda model: scripted(ZeroDivisionError("down")).with_fallbacks([model]).invoke(PROMPT),
    "stream of tuples": lambda model: list(model.stream([("system", "Be terse."), HumanMessage("Why?", id="q")])),
    "stream of a prompt value": lambda model: list(model.stream(ChatPromptValue(messages=PROMPT))),
    "v3": lambda model: _quiet(lambda: model.stream_events(PROMPT, version="v3")).output,
}
ASYNC = {
    "ainvoke": lambda model: model.ainvoke(PROMPT),
    "astream": lambda model: _acollect(model.astream(PROMPT)),
    "agenerate": lambda model: model.agenerate([PROMPT]),
    "abatch": lambda model: model.abatch([PROMPT]),
    "astream_events": lambda model: _acollect(model.astream_events(PROMPT, version="v2")),
    "async v3": lambda model: _aevents(model, PROMPT),
}


def run(model, call):
    """Run `call` inside the node `ask`, as a synchronous or an asynchronous node."""

    def node(state):
        call(model)
        return {"answer": "done"}

    async def anode(state):
        await call(model)
        return {"answer": "done"}

    if call in ASYNC.values():
        return asyncio.run(one_node(anode).ainvoke({"question": "Why?"}))
    return one_node(node).invoke({"question": "Why?"})


STREAMING = [pytest.param(ScriptedChatModel, call, id=name) for name, call in {**SYNC, **ASYNC}.items()]
FALLING_BACK = [
    pytest.param(NoStreaming, call, id=f"no streaming, {name}")
    for name, call in {**SYNC, **ASYNC}.items()
    if "v3" not in name  # needs a model that streams
]


@pytest.mark.parametrize(("kind", "call"), [*STREAMING, *FALLING_BACK])
def test_once(kind, call):
    watcher, meter = Watcher(), CountingMeter()
    # The handler sits on the model: `generate` called without a config does not see those of the run.
    model = kind(replies=[reply("fine", USED)], callbacks=[watcher])
    with overlay(TEXTS, meter=meter):
        run(model, call)
    assert sent(model) == watcher.calls == [SENT]
    failed = [(None, None)] if call is SYNC["fallbacks"] else []
    assert meter.settled == [*failed, (7, 3)]
    assert len(meter.admitted) == len(meter.settled)


@pytest.mark.parametrize("call", [*SYNC.values(), *ASYNC.values()], ids=[*SYNC, *ASYNC])
def test_beside_an_overlay_in_another_context_a_call_passes_through(call):
    meter, model, outside = CountingMeter(), scripted(), contextvars.copy_context()
    with overlay(TEXTS, meter=meter):
        outside.run(run, model, call)
    assert sent(model) == [[("system", "Be terse."), ("human", "Why?")]]
    assert meter.admitted == []


@pytest.mark.parametrize("call", [*SYNC.values(), *ASYNC.values()], ids=[*SYNC, *ASYNC])
def test_a_refused_call_never_reaches_the_model(call):
    watcher, meter = Watcher(), CountingMeter(limit=0)
    model = scripted(callbacks=[watcher])
    with overlay(TEXTS, meter=meter), pytest.raises(BudgetExhausted):
        run(model, call)
    assert model.requests == []
    assert watcher.calls == []
    assert meter.settled == []


@pytest.mark.parametrize("call", [*SYNC.values(), *ASYNC.values()], ids=[*SYNC, *ASYNC])
def test_a_failed_call_is_settled_without_a_usage(call):
    meter = CountingMeter()
    with overlay(TEXTS, meter=meter), pytest.raises(ZeroDivisionError):
        run(scripted(ZeroDivisionError()), call)
    assert meter.settled == [(None, None)] * len(meter.admitted)
    assert meter.admitted


def test_each_prompt_of_a_batch_is_a_call_to_the_meter():
    model, meter = scripted(reply("a", USED), reply("b")), CountingMeter()
    with overlay({}, meter=meter):
        model.generate([[HumanMessage("1")], [HumanMessage("22")]])
    assert meter.settled == [(7, 3), (None, None)]


def test_a_batch_that_does_not_fit_is_not_sent_at_all():
    model, meter = scripted(), CountingMeter(limit=1)
    with overlay({}, meter=meter), pytest.raises(BudgetExhausted):
        model.generate([[HumanMessage("1")], [HumanMessage("2")]])
    assert model.requests == []
    assert meter.settled == [(0, 0)]


def test_the_meter_is_told_what_would_be_sent():
    model, meter = scripted(), CountingMeter()
    tools = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
    asked = AIMessage("", tool_calls=[{"name": "find", "args": {"k": 1}, "id": "c"}])
    with overlay({}, meter=meter):
        model.invoke("x" * 30)
        model.invoke("x" * 31, max_tokens=5)
        model.invoke("", max_completion_tokens=6, n=2)
        model.bind(tools=tools).invoke("")
        model.invoke([asked])
    calls = meter.admitted
    assert [call.input_tokens for call in calls[:2]] == [10, 11]
    assert [call.max_output_tokens for call in calls] == [None, 5, 12, None, None]
    assert {(call.provider, call.model) for call in calls} == {("scriptedchatmodel", "double")}
    assert calls[3].input_tokens * 3 >= len(str(tools))
    assert calls[4].input_tokens > 10


class Chunks(ScriptedChatModel):
    """Streams what it is given."""

    chunks: list[Any]

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk)

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk)


def usage(sent_tokens, received):
    return UsageMetadata(input_tokens=sent_tokens, output_tokens=received, total_tokens=sent_tokens + received)


@pytest.mark.parametrize(
    ("usages", "settled"),
    [([usage(9, 0), None, usage(0, 4)], (9, 4)), ([None, usage(9, 4)], (9, 4)), ([None, None], (None, None))],
)
async def test_the_usage_of_a_stream_is_the_sum_over_its_chunks(usages, settled):
    model = Chunks(chunks=[AIMessageChunk(content="w", usage_metadata=each) for each in usages])
    meter = CountingMeter()
    with overlay({}, meter=meter):
        list(model.stream("hello"))
        await _acollect(model.astream("hello"))
    assert meter.settled == [settled] * 2


async def test_an_abandoned_stream_is_settled_without_a_usage():
    model: Any = scripted("one two three", "one two three")
    meter = CountingMeter()
    with overlay({}, meter=meter):
        items = model.stream("hello")
        next(items)
        assert meter.settled == []
        items.close()
        assert meter.settled == [(None, None)]
        aitems = model.astream("hello")
        await anext(aitems)
        await aitems.aclose()
    assert meter.settled == [(None, None)] * 2


async def test_a_v3_stream_that_nobody_reads_is_settled_when_it_is_thrown_away():
    model, meter = scripted(), CountingMeter()
    with overlay({}, meter=meter):
        stream = _quiet(lambda: model.stream_events("hello", version="v3"))
        assert meter.settled == []
        del stream
        gc.collect()
        assert meter.settled == [(None, None)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            async with await model.astream_events("hello", version="v3"):
                pass
    assert meter.settled == [(None, None)] * 2
    assert len(meter.admitted) == 2


class _Unusable:
    """Callbacks that a call cannot be configured with."""

    def __getattr__(self, name):
        raise TypeError("not callbacks")


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_a_v3_stream_that_cannot_be_made_is_settled():
    model: Any = scripted()
    config, meter = {"callbacks": _Unusable()}, CountingMeter()
    with overlay({}, meter=meter):
        with pytest.raises(TypeError, match="not callbacks"):
            model.stream_events("hello", config, version="v3")
        with pytest.raises(TypeError, match="not callbacks"):
            await model.astream_events("hello", config, version="v3")
    assert meter.settled == [(None, None)] * 2


def test_several_choices_carry_the_usage_of_one_request():
    class Choices(ScriptedChatModel):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            return ChatResult(generations=[ChatGeneration(message=reply(text, USED)) for text in "ab"])

    meter = CountingMeter()
    with overlay({}, meter=meter):
        Choices().generate([[HumanMessage("hello")]])
    assert meter.settled == [(7, 3)]


def test_an_answer_from_langchains_cache_uses_nothing():
    model, meter = scripted(reply("fine", USED), cache=InMemoryCache()), CountingMeter()
    with overlay({}, meter=meter):
        model.invoke("hello")
        model.invoke("hello")
    assert len(model.requests) == 1
    assert meter.settled == [(7, 3), (0, 0)]


def test_a_model_that_hands_its_call_to_another_is_rewritten_once_and_counted_for_each():
    inner = scripted("fine", "fine")

    class Router(ScriptedChatModel):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            return ChatResult(generations=[ChatGeneration(message=inner.invoke(messages))])

    meter, seen = CountingMeter(), []
    router = Router()
    with overlay(TEXTS, meter=meter, seen=seen.append):
        run(router, SYNC["invoke"])
    assert sent(inner) == [SENT]
    assert len(meter.admitted) == len(meter.settled) == 2
    assert seen == [router, inner]


def test_a_model_that_asks_itself_again_is_counted_again():
    class Careful(ScriptedChatModel):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            if len(messages) == 1:
                self.invoke([*messages, AIMessage("draft")])
            return super()._generate(messages, stop, None, **kwargs)

    meter = CountingMeter()
    with overlay({}, meter=meter):
        Careful(replies=lambda messages: "fine").invoke("hello")
    assert len(meter.admitted) == 2


def test_a_string_is_a_human_prompt():
    model = scripted("a", "b", "c")
    texts = {Site(("ask",), "human"): change("Judge {it}.", "Judge {it} with care.", slots=("it",))}

    def node(state):
        model.invoke("Judge this.")
        list(model.stream("Judge this."))
        list(model.stream(StringPromptValue(text="Judge this.")))
        return {"answer": ""}

    with overlay(texts):
        one_node(node).invoke({"question": ""})
    assert sent(model) == [[("human", "Judge this with care.")]] * 3


def test_a_call_outside_any_node_belongs_to_the_empty_path():
    model = scripted()
    with overlay({Site((), "system"): change("Be terse.", "Be kind.")}):
        model.invoke(PROMPT)
    assert sent(model) == [[("system", "Be kind."), ("human", "Why?")]]


def test_the_callers_messages_are_not_changed():
    before = [message.model_copy(deep=True) for message in PROMPT]
    with overlay(TEXTS):
        run(scripted(), SYNC["invoke"])
    assert before == PROMPT


def test_a_call_with_metadata_of_its_own_is_still_the_agents():
    site = Site(("ask",), "system", agent="writer")
    model = scripted()

    def ask(state):
        # As `with_retry` does it: what it calls has only this metadata in its config.
        return {"text": model.with_retry().invoke(PROMPT, {"metadata": {"source": "summary"}}).text}

    graph = one_node(ask).with_config(metadata={"lc_agent_name": "writer"})
    with overlay({site: TEXTS[Site(("ask",), "system")]}):
        graph.invoke({"text": ""})
    assert sent(model) == [SENT]
