"""Replays of single model calls, made in every way: the reply, the callbacks, the meter, and when two calls are the same."""

from __future__ import annotations

import asyncio
import warnings
from enum import StrEnum
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation
from langchain_core.rate_limiters import InMemoryRateLimiter
from pydantic import BaseModel, SecretStr

from tests.overlay.support import CountingMeter
from textgrad_lg.errors import BudgetExhausted
from textgrad_lg.overlay import overlay
from textgrad_lg.record import record
from textgrad_lg.replay import Memo, memorise, replay
from textgrad_lg.testing import ScriptedChatModel

from .support import USED, NoStreaming, noisy

PROMPT = [SystemMessage("Be terse."), HumanMessage("Why?", id="q")]
ABOUT_REPLAY = ("textgrad_lg_replayed", "textgrad_lg_seconds")
CALL = {"name": "find", "args": {"k": 1}, "id": "c1", "type": "tool_call"}


def _quiet(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


def _sum(chunks):
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


async def _acollect(items):
    return [item async for item in items]


async def _aevents(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = await model.astream_events(PROMPT, version="v3")
    return await stream


WAYS: dict[str, Any] = {
    "invoke": lambda model: model.invoke(PROMPT),
    "stream": lambda model: _sum(list(model.stream(PROMPT))),
    "generate": lambda model: model.generate([PROMPT]).generations[0][0].message,
    "batch": lambda model: model.batch([PROMPT])[0],
    "bound": lambda model: model.bind(stop=None).invoke(PROMPT),
    "v3": lambda model: _quiet(lambda: model.stream_events(PROMPT, version="v3")).output,
    "ainvoke": lambda model: asyncio.run(model.ainvoke(PROMPT)),
    "astream": lambda model: _sum(asyncio.run(_acollect(model.astream(PROMPT)))),
    "agenerate": lambda model: asyncio.run(model.agenerate([PROMPT])).generations[0][0].message,
    "abatch": lambda model: asyncio.run(model.abatch([PROMPT]))[0],
    "async v3": lambda model: asyncio.run(_aevents(model)),
}


class Log(BaseCallbackHandler):
    """Notes what it is told, without what differs from run to run."""

    run_inline = True

    def __init__(self):
        self.told = []

    def on_chat_model_start(self, serialized, messages, *, metadata=None, **kwargs):
        known = {key: value for key, value in (metadata or {}).items() if key not in ABOUT_REPLAY}
        self.told.append(
            ("start", serialized, messages, known, kwargs["invocation_params"], kwargs["options"], kwargs["name"])
        )
        self.replayed = (metadata or {}).get("textgrad_lg_replayed", False)

    def on_llm_end(self, response, **kwargs):
        message = response.generations[0][0].message
        self.told.append(("end", fields(message), response.llm_output))

    def on_llm_error(self, error, **kwargs):
        self.told.append(("error", str(error)))


def fields(message):
    """What a message says, whatever it was called and whether it came in pieces."""
    return (
        message.text,
        message.tool_calls,
        message.invalid_tool_calls,
        message.usage_metadata,
        {key: value for key, value in message.response_metadata.items() if key != "output_version"},
        message.additional_kwargs,
    )


def replying(*replies, kind=ScriptedChatModel, **options):
    return kind(replies=replies, **options)


def said(result) -> list[str]:
    return [generations[0].text for generations in result.generations]


REPLIES = {
    "text": AIMessage("fine", usage_metadata=USED, response_metadata={"finish_reason": "stop"}),
    "tool calls": AIMessage("", tool_calls=[CALL], usage_metadata=USED),
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize(
    ("kind", "way"),
    [
        pytest.param(kind, way, id=f"{kind.__name__} {name}")
        for kind in (ScriptedChatModel, NoStreaming)
        for name, way in WAYS.items()
        if kind is ScriptedChatModel or "v3" not in name  # needs a model that streams
    ],
)
def test_a_call_made_in_any_way_is_answered_as_it_was(kind, way, reply):
    live, again, meter = Log(), Log(), CountingMeter()
    model = replying(reply, kind=kind, callbacks=[live], tags=["t"], metadata={"mine": 1})
    with memorise() as first, overlay(meter=meter):
        before = way(model)
    assert meter.settled == [(7, 3)]
    model.callbacks = [again]
    with replay(first.memo) as second, overlay(meter=meter):
        after = way(model)
    assert (type(after), after.content, fields(after)) == (type(before), before.content, fields(before))
    assert again.told == live.told
    assert (live.replayed, again.replayed) == (False, True)
    assert (len(model.requests), len(meter.admitted), second.hits, second.new) == (1, 1, 1, ())


@pytest.mark.parametrize("recorded", WAYS.values(), ids=WAYS)
def test_a_call_recorded_in_one_way_is_answered_in_all(recorded):
    model = replying(REPLIES["tool calls"])
    with memorise() as first:
        recorded(model)
    for way in WAYS.values():
        with replay(first.memo):
            after = way(model)
        assert (after.text, after.tool_calls, after.usage_metadata) == ("", [CALL], USED)
    assert len(model.requests) == 1


@pytest.mark.parametrize("way", [WAYS["stream"], WAYS["astream"]], ids=["stream", "astream"])
def test_the_plain_content_of_a_reply_is_the_same_whether_it_came_in_pieces_or_not(way):
    model = replying(AIMessage("one two three", usage_metadata=USED))
    with memorise() as first:
        assert way(model).content == "one two three"
    with replay(first.memo):
        assert model.invoke(PROMPT).content == "one two three"
    with replay(first.memo):
        (chunk,) = [chunk for chunk in model.stream(PROMPT) if chunk.content]
    assert isinstance(chunk, AIMessageChunk)
    assert chunk.usage_metadata == USED


def test_each_prompt_of_a_batch_is_looked_up_by_itself():
    model, meter = noisy(), CountingMeter()
    with memorise() as first:
        model.generate([[HumanMessage("a")], [HumanMessage("b")]])

    def generate(prompts):
        return model.generate(prompts)

    def agenerate(prompts):
        return asyncio.run(model.agenerate(prompts))

    for way in (generate, agenerate):
        meter.admitted.clear()
        prompts = [[HumanMessage(text)] for text in ("b", "new", "a", "b")]
        before = len(model.requests)
        with replay(first.memo) as second, overlay(meter=meter):
            result = way(prompts)
        texts = said(result)
        assert texts[0] == "reply 2 to <b>"
        assert texts[2] == "reply 1 to <a>"
        # The second "b" is another call: it was not made before.
        assert [request.messages[-1].text for request in model.requests[before:]] == ["new", "b"]
        assert len(meter.admitted) == 2
        assert (second.hits, len(second.new)) == (2, 2)
    with replay(first.memo):
        result = model.generate([[HumanMessage("a")], [HumanMessage("b")]])
    assert said(result) == ["reply 1 to <a>", "reply 2 to <b>"]


def test_a_batch_that_is_refused_gives_its_places_back():
    model = noisy()
    with memorise() as first:
        model.invoke("a")
    with replay(first.memo) as run:
        with overlay(meter=CountingMeter(limit=0)), pytest.raises(BudgetExhausted):
            model.generate([[HumanMessage("a")], [HumanMessage("b")]])
        assert model.invoke("b").text == "reply 2 to <b>"
        with overlay(meter=CountingMeter(limit=0)):
            pass
    assert [entry.ordinal for entry in run.new] == [0]


def test_a_failed_call_is_made_again_and_an_abandoned_stream_too():
    model = replying("not read to its end", ZeroDivisionError("down"), "fine")
    with memorise() as run:
        items: Any = model.stream("a")
        next(items)
        items.close()
        with pytest.raises(ZeroDivisionError):
            model.invoke("a")
        assert model.invoke("a").text == "fine"
    with replay(run.memo):
        assert model.invoke("a").text == "fine"
    assert len(run.memo) == 1


def test_ids_that_langchain_made_up_are_new_and_those_of_the_provider_stay():
    model = replying(AIMessage("a"), AIMessage("b", id="resp_1"))
    with memorise() as run:
        made, given = model.invoke("a"), model.invoke("b")
    with replay(run.memo):
        assert all(message.id.startswith("lc_run-") for message in (made, model.invoke("a")))
        assert model.invoke("b").id == given.id == "resp_1"
    with replay(run.memo):
        assert model.invoke("a").id != made.id


def test_several_choices_come_back_together():
    class Choices(ScriptedChatModel):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            self._message(messages, kwargs)
            generations = [
                ChatGeneration(message=AIMessage(text), generation_info={"logprobs": [at]})
                for at, text in enumerate("ab")
            ]
            return ChatResult(generations=generations, llm_output={"model": "m"})

        def _combine_llm_outputs(self, llm_outputs):
            return {"all": llm_outputs}

    model = Choices(replies=lambda messages: "x")
    with memorise() as run:
        before = model.generate([[HumanMessage("hello")]])
    with replay(run.memo):
        after = model.generate([[HumanMessage("hello")]])
    assert len(model.requests) == 1
    for result in (before, after):
        assert [each.text for each in result.generations[0]] == ["a", "b"]
        assert [each.generation_info for each in result.generations[0]] == [{"logprobs": [0]}, {"logprobs": [1]}]
    assert after.llm_output == before.llm_output == {"all": [{"model": "m"}]}


def test_a_model_that_hands_its_call_to_another_is_run_and_only_the_other_is_remembered():
    inner = noisy()

    class Router(ScriptedChatModel):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            self._message(messages, kwargs)
            return ChatResult(generations=[ChatGeneration(message=inner.invoke([*messages, HumanMessage("inner")]))])

    router, meter = Router(replies=lambda messages: "x"), CountingMeter()
    with memorise() as run:
        before = router.invoke("hello")
    with replay(run.memo), overlay(meter=meter):
        assert router.invoke("hello").text == before.text
    assert (len(router.requests), len(inner.requests), len(meter.admitted)) == (2, 1, 1)


def test_langchains_cache_and_rate_limiter_are_left_to_live_calls():
    limiter = InMemoryRateLimiter(requests_per_second=1e6, max_bucket_size=1)
    model = replying(AIMessage("fine", usage_metadata=USED), cache=InMemoryCache(), rate_limiter=limiter)
    with memorise() as run:
        assert model.invoke("a").usage_metadata == USED
        assert dict(model.invoke("a").usage_metadata or {})["total_cost"] == 0
    other = replying(rate_limiter=limiter)
    limiter.requests_per_second = 0  # a live call would wait for ever
    with replay(run.memo):
        assert [other.invoke("a").text, other.invoke("a").text] == ["fine", "fine"]
    assert other.requests == []


def test_a_reply_without_a_json_form_is_not_remembered_and_this_is_said():
    model = replying(AIMessage("fine", additional_kwargs={"raw": object()}), "again")
    with memorise() as run:
        model.invoke("a")
    assert "object" in run.notes[0]
    assert run.notes[0].startswith("model: it has no JSON form")
    with replay(run.memo) as second:
        assert model.invoke("a").text == "again"
    assert second.hits == 0
    assert Memo.from_json(run.memo.to_json()) == run.memo


def test_an_option_without_a_json_form_makes_a_call_that_is_not_looked_up():
    model = replying("a", "b")
    with memorise() as run:
        model.invoke("hello", made_up=object())
    assert len(run.memo) == 0
    assert run.notes == ("model: a value of type object has no JSON form",)
    with replay(run.memo):
        assert model.invoke("hello", made_up=object()).text == "b"


def test_a_reply_that_is_no_message_is_not_remembered():
    class Old(ScriptedChatModel):
        def _generate_with_cache(self, messages, stop=None, run_manager=None, **kwargs):
            found: Any = super()._generate_with_cache(messages, stop, run_manager, **kwargs)
            found.generations = [Generation(text="old")]
            return found

    model = Old(replies=lambda messages: "x")
    with memorise() as run:
        model.generate([[HumanMessage("a")]])
    assert run.notes == ("model: the reply is a Generation and no message",)


# When two calls are the same


class Label(BaseModel):
    name: str


class OtherLabel(BaseModel):
    name: int


class Mood(StrEnum):
    CALM = "calm"


def endless() -> Any:
    found: dict[str, Any] = {}
    found["itself"] = found
    return found


def answered(first: BaseChatModel, then: BaseChatModel | None = None, *, ask=PROMPT, and_then=None, **options) -> bool:
    """Whether the second call is answered by what the first one got."""
    told = options.pop("then_options", options)
    with memorise() as run:
        first.invoke(ask, **options)
    with replay(run.memo) as second:
        (then or first).invoke(ask if and_then is None else and_then, **told)
    return second.hits == 1


def test_the_same_question_is_answered():
    assert answered(noisy())
    assert answered(noisy(), noisy())
    assert answered(noisy(), and_then=[SystemMessage("Be terse.", id="x"), HumanMessage("Why?")])
    assert answered(noisy(), response_format=Label)
    assert answered(noisy(), metadata_like=Label(name="a"), mood=Mood.CALM)
    assert answered(noisy(), ls_structured_output_format={"schema": Label, "kwargs": {}}, then_options={})


@pytest.mark.parametrize(
    "other",
    [
        [SystemMessage("Be terse"), HumanMessage("Why?")],
        [HumanMessage("Be terse."), HumanMessage("Why?")],
        [SystemMessage("Be terse."), HumanMessage("Why?", name="Ann")],
        [SystemMessage("Be terse."), ChatMessage(content="Why?", role="human")],
        [SystemMessage("Be terse."), HumanMessage([{"type": "text", "text": "Why?"}])],
        [SystemMessage("Be terse."), HumanMessage("Why?"), AIMessage("So.")],
    ],
)
def test_other_messages_are_another_question(other):
    assert not answered(noisy(), and_then=other)


@pytest.mark.parametrize(
    ("options", "other"),
    [
        ({"stop": ["a"]}, {"stop": ["b"]}),
        ({"temperature": 0.0}, {"temperature": 1.0}),
        ({"tools": [{"name": "a"}]}, {"tools": [{"name": "b"}]}),
        ({"response_format": Label}, {"response_format": OtherLabel}),
        ({"model": "a"}, {"model": "b"}),
        ({"tool_choice": "any"}, {}),
    ],
)
def test_other_options_are_another_question(options, other):
    assert not answered(noisy(), **options, then_options=other)
    assert answered(noisy(), **options)


def test_another_model_is_another_question():
    class Warm(ScriptedChatModel):
        temperature: float = 0.0
        secret_word: str = "a"
        api_key: SecretStr = SecretStr("k")
        openai_api_token: str = "t"
        tries: int = 0

    def warm(**options):
        return Warm(replies=lambda messages: "x", **options)

    assert answered(warm(), warm(api_key=SecretStr("l"), openai_api_token="u", secret_word="b", tries=3))
    assert not answered(warm(), warm(temperature=0.5))
    assert not answered(warm(), warm(model_name="other"))
    assert not answered(warm(), noisy())


def test_a_setting_without_a_json_form_is_no_part_of_a_models_identity():
    class Client(ScriptedChatModel):
        @property
        def _identifying_params(self):
            return {"model": self.model_name, "client": object()}

    assert answered(Client(replies=lambda messages: "x"))
    assert not answered(Client(replies=lambda messages: "x"), Client(replies=lambda messages: "x", model_name="y"))


def test_an_option_that_contains_itself_breaks_no_call():
    model = noisy()
    with memorise() as run:
        assert model.invoke("hello", made_up=endless()).text == "reply 1 to <hello>"
    assert "RecursionError" in run.notes[0]


def test_what_a_tool_call_happens_to_be_called_does_not_matter_and_which_it_is_does():
    def talk(first, second, answers):
        calls = [{"name": "find", "args": {"k": at}, "id": id_} for at, id_ in enumerate((first, second))]
        return [AIMessage("", tool_calls=calls), *(ToolMessage("found", tool_call_id=id_) for id_ in answers)]

    model = noisy()
    assert answered(model, ask=talk("a", "b", ["a", "b"]), and_then=talk("x", "y", ["x", "y"]))
    assert not answered(model, ask=talk("a", "b", ["a", "b"]), and_then=talk("x", "y", ["y", "x"]))
    assert answered(
        model, ask=[ToolMessage("found", tool_call_id="a")], and_then=[ToolMessage("found", tool_call_id="z")]
    )


def test_a_reply_that_came_in_pieces_is_the_same_message_in_the_next_request():
    pieces, whole = AIMessageChunk(content="So.", response_metadata={"x": 1}), AIMessage("So.", usage_metadata=USED)
    assert answered(noisy(), ask=[pieces], and_then=[whole])


def test_a_recording_shows_a_batch_of_which_a_part_was_replayed():
    model = noisy()
    with memorise() as first:
        model.invoke("a")
    with replay(first.memo), record() as recording:
        model.generate([[HumanMessage("a")], [HumanMessage("b")]])
    outputs: list[Any] = [trace.output() for trace in recording.traces]
    assert [output[""]["content"] for output in outputs] == ["reply 1 to <a>", "reply 2 to <b>"]
