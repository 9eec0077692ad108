"""Asking a model: what is sent, how replies are read, what is tried again, and what is raised."""

from __future__ import annotations

import http.server
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from langchain_core.exceptions import ModelPermissionDeniedError, ModelRateLimitError, OutputParserException
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import OpenAIRefusalError
from pydantic import BaseModel, SecretStr

from textgrad_lg.errors import BudgetExhausted, ModelError, UnusableReply
from textgrad_lg.llm import _json_objects, ask, model_name, resolve_model
from textgrad_lg.testing import ScriptedChatModel


class Verdict(BaseModel):
    """A verdict."""

    score: float
    comment: str = ""


ASK = [SystemMessage("Judge."), HumanMessage("Is it good?")]
GOOD = {"score": 1.0, "comment": "good"}


class Sleeps:
    """Notes how long was slept, and does not sleep."""

    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)


class HTTPError(Exception):
    """As the clients of model providers raise it: a status, and a response with headers."""

    def __init__(self, status, headers=None):
        super().__init__(f"status {status} for key sk-abcdefghijklmnop1234")
        self.status_code = status
        self.response = type("Response", (), {"headers": headers or {}})()


async def asked(*replies, **options):
    model, sleeps = ScriptedChatModel(replies=list(replies)), Sleeps()
    clock = iter(range(100))
    reply = await ask(model, ASK, Verdict, sleep=sleeps, clock=lambda: float(next(clock)), **options)
    return reply, model, sleeps.seconds


async def failing(error, *replies, **options):
    model, sleeps = ScriptedChatModel(replies=list(replies)), Sleeps()
    with pytest.raises(error) as caught:
        await ask(model, ASK, Verdict, sleep=sleeps, **options)
    return caught.value, model, sleeps.seconds


async def test_structured_output_is_returned_with_what_it_used():
    reply, model, slept = await asked(GOOD)
    assert reply.value == Verdict(score=1.0, comment="good")
    assert (reply.model, reply.attempts, reply.start, reply.end) == ("double", 1, 0.0, 1.0)
    assert reply.input_tokens
    assert reply.output_tokens
    assert slept == []
    assert str(model.requests[0]) == snapshot("""\
system: Judge.
human: Is it good?
tools: Verdict\
""")


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 1, "comment": "good"}',
        'Sure!\n```json\n{"score": 1, "comment": "good"}\n```\nBye {now}.',
        'I thought about {this} and say {"score": 1, "comment": "good"} in the end.',
        '{"score": 1, "comment": "good", "more": [1, {"a": 2}]}',
        '{"wrong": "form"} and then {"score": 1, "comment": "good"}',
    ],
)
async def test_json_is_read_from_the_text_where_the_model_did_not_use_the_structure(text):
    reply, _, _ = await asked(text)
    assert reply.value == Verdict(score=1.0, comment="good")
    assert reply.attempts == 1


async def test_arguments_that_were_not_json_are_read_leniently():
    broken = {"name": "Verdict", "args": 'Here: {"score": 1}', "id": "1", "error": None, "type": "invalid_tool_call"}
    reply, _, _ = await asked(AIMessage("", invalid_tool_calls=[broken]))
    assert reply.value.score == 1
    assert (reply.input_tokens, reply.output_tokens) == (None, None)


async def test_an_unusable_reply_is_answered_with_what_was_wrong_with_it():
    reply, model, slept = await asked("Very good, I would say.", {"score": "high"}, GOOD)
    assert reply.attempts == 3
    assert slept == []
    assert reply.input_tokens == sum(sum(len(m.text) for m in r.messages) // 4 for r in model.requests)
    assert str(model.requests[1]) == snapshot("""\
system: Judge.
human: Is it good?
ai: Very good, I would say.
human: Your reply could not be used: it holds no JSON object.

Reply with one JSON object that fits this JSON schema, and with nothing else:
{"description": "A verdict.", "properties": {"comment": {"default": "", "title": "Comment", "type": "string"}, "score": {"title": "Score", "type": "number"}}, "required": ["score"], "title": "Verdict", "type": "object"}
tools: Verdict\
""")
    assert str(model.requests[2]) == snapshot("""\
system: Judge.
human: Is it good?
ai: {"score": "high"}
human: Your reply could not be used: score: Input should be a valid number, unable to parse string as a number.

Reply with one JSON object that fits this JSON schema, and with nothing else:
{"description": "A verdict.", "properties": {"comment": {"default": "", "title": "Comment", "type": "string"}, "score": {"title": "Score", "type": "number"}}, "required": ["score"], "title": "Verdict", "type": "object"}
tools: Verdict\
""")


async def test_garbage_to_the_end_is_an_unusable_reply():
    error, model, _ = await failing(UnusableReply, "no", "no", "no")
    assert len(model.requests) == 3
    assert str(error) == snapshot(
        "the model 'double' gave no usable reply in 3 attempts; the last one: it holds no JSON object. A model that supports structured output, or a higher limit on its output tokens, helps."
    )


async def test_a_reply_that_was_cut_off_is_named_as_such():
    cut = AIMessage('{"score": 1, "comm', response_metadata={"finish_reason": "length"})
    error, model, _ = await failing(UnusableReply, cut, cut, attempts=2)
    assert "cut off at its length limit" in str(error)
    assert "cut off at its length limit" in model.requests[1].messages[-1].text


async def test_a_refusal_is_not_asked_again():
    for refusal in (
        AIMessage("", additional_kwargs={"refusal": "I cannot help with that."}),
        AIMessage("", response_metadata={"finish_reason": "content_filter"}),
    ):
        error, model, _ = await failing(UnusableReply, refusal, GOOD)
        assert "refused" in str(error)
        assert len(model.requests) == 1


async def test_a_refusal_found_by_the_parser_is_not_asked_again():
    class Refusing(ScriptedChatModel):
        def with_structured_output(self, schema, **kwargs):
            return self | (lambda raw: {"raw": raw, "parsed": None, "parsing_error": OpenAIRefusalError("not this")})

    model = Refusing(replies=["x"])
    with pytest.raises(UnusableReply, match="refused at attempt 1: not this"):
        await ask(model, ASK, Verdict)


async def test_rate_limits_and_server_errors_are_waited_out():
    reply, _, slept = await asked(HTTPError(429, {"retry-after": "7"}), HTTPError(503), GOOD)
    assert reply.attempts == 3
    assert slept == [7.0, 2.0]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 1.0),
        ({"retry-after": "soon"}, 1.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after": "86400"}, 60.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 10.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT"}, 1.0),
    ],
)
async def test_how_long_is_waited(headers, seconds):
    _, _, slept = await asked(HTTPError(429, headers), GOOD)
    assert slept == [seconds]


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionResetError("gone"),
        HTTPError(408),
        ModelRateLimitError("slow down"),
        type("APITimeoutError", (Exception,), {})("late"),
    ],
)
async def test_what_may_pass_is_tried_again(error):
    reply, _, slept = await asked(error, GOOD)
    assert reply.attempts == 2
    assert slept == [1.0]


@pytest.mark.parametrize(
    "error",
    [HTTPError(400), HTTPError(401), HTTPError(404), ModelPermissionDeniedError("no"), ZeroDivisionError("bug")],
)
async def test_what_would_fail_again_is_not_tried_again(error):
    failure, model, slept = await failing(ModelError, error, GOOD)
    assert len(model.requests) == 1
    assert slept == []
    assert failure.__cause__ is error
    assert not isinstance(failure, UnusableReply)


async def test_the_last_attempt_raises_with_cause_and_cure_and_without_secrets():
    error, model, slept = await failing(ModelError, HTTPError(500), HTTPError(500), HTTPError(401))
    assert len(model.requests) == 3
    assert slept == [1.0, 2.0]
    assert str(error) == snapshot(
        "the model 'double' failed at attempt 3 of 3: HTTPError: status 401 for key [hidden]. Check the key and the rights of the account."
    )
    error, _, _ = await failing(ModelError, HTTPError(500), attempts=1)
    assert "lower the concurrency" in str(error)


async def test_an_exhausted_budget_passes_at_once():
    exhausted = BudgetExhausted("the limit of 3 calls is reached")
    error, model, slept = await failing(BudgetExhausted, exhausted, GOOD)
    assert error is exhausted
    assert len(model.requests) == 1
    assert slept == []


async def test_a_model_without_structured_output_is_told_the_form_in_words():
    model = GenericFakeChatModel(messages=iter([AIMessage('{"score": 0.5}')]))
    seen = []
    reply = await ask(model, ASK, Verdict)
    assert reply.value.score == 0.5

    class Noting(FakeListChatModel):
        def _call(self, messages, *args, **kwargs):
            seen.append(messages)
            return super()._call(messages, *args, **kwargs)

    await ask(Noting(responses=['{"score": 0.5}']), ASK, Verdict)
    await ask(Noting(responses=['{"score": 0.5}']), [SystemMessage("Judge.")], Verdict)
    assert [message.type for message in seen[0]] == ["system", "human"]
    assert seen[0][1].text.startswith("Is it good?\n\nReply with one JSON object that fits this JSON schema")
    assert [message.type for message in seen[1]] == ["system", "human"]


async def test_an_empty_reply_is_mended_in_one_human_turn():
    _, model, _ = await asked("", OutputParserException("not my format"), GOOD)
    assert [m.type for m in model.requests[1].messages] == ["system", "human"]
    assert "An earlier reply could not be used: it holds no JSON object." in model.requests[1].messages[1].text
    assert "not my format" in model.requests[2].messages[1].text


async def test_at_least_one_attempt_is_needed():
    with pytest.raises(ValueError, match="attempts is 0"):
        await ask(ScriptedChatModel(), ASK, Verdict, attempts=0)


@given(st.text(alphabet='{}[]",:a1 \n', max_size=300))
def test_no_text_breaks_the_reading_of_json(text):
    for value in _json_objects(text):
        assert isinstance(value, dict)


def test_a_hostile_text_is_given_up_on():
    assert list(_json_objects('{"a":' * 100_000)) == []


def test_model_names():
    assert model_name(ScriptedChatModel()) == ("scriptedchatmodel", "double")
    openai = ChatOpenAI(model="gpt-4o-mini", api_key=SecretStr("x"))
    assert model_name(openai) == ("openai", "gpt-4o-mini")


def test_models_are_resolved(monkeypatch):
    model = ScriptedChatModel()
    assert resolve_model(model) is model
    assert resolve_model(None) is None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    named = resolve_model("openai:gpt-4o-mini")
    assert isinstance(named, ChatOpenAI)
    monkeypatch.delenv("OPENAI_API_KEY")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fireworks:x", "needs a package that is not installed.*langchain-fireworks"),
        ("nonsense", "no chat model could be made of 'nonsense'"),
        ("openai:gpt-4o-mini", "takes its key from the environment"),
    ],
)
def test_a_model_that_cannot_be_made_says_why(name, words):
    with pytest.raises(ModelError, match=words):
        resolve_model(name)


class Stub(http.server.BaseHTTPRequestHandler):
    """Plays the part of a server with OpenAI's interface."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)  # type: ignore[attr-defined]
        status, headers, content, finish = self.server.script[len(self.server.bodies) - 1]  # type: ignore[attr-defined]
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        text = json.dumps(answer if status == 200 else {"error": {"message": "no sk-abcdefghijklmnop1234"}}).encode()
        self.send_response(status)
        for name, value in {**headers, "content-type": "application/json", "content-length": len(text)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server():
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    running.script, running.bodies = [], []  # type: ignore[attr-defined]
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def openai_at(server) -> ChatOpenAI:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return ChatOpenAI(model="m", base_url=url, api_key=SecretStr("sk-x"), max_retries=0)


@pytest.mark.loopback
async def test_openai_is_asked_with_a_json_schema_and_waits_as_the_server_says(server):
    server.script[:] = [
        (429, {"retry-after": "3"}, "", "stop"),
        (200, {}, '{"score": "high"}', "stop"),
        (200, {}, '{"score": 1, "comm', "length"),
        (200, {}, '{"score": 1, "comment": "good"}', "stop"),
    ]
    sleeps = Sleeps()
    reply = await ask(openai_at(server), ASK, Verdict, sleep=sleeps, attempts=4)
    assert reply.value == Verdict(score=1.0, comment="good")
    assert sleeps.seconds == [3.0]
    assert reply.attempts == 4
    assert server.bodies[0]["response_format"]["type"] == "json_schema"
    assert server.bodies[0]["response_format"]["json_schema"]["name"] == "Verdict"
    assert "unable to parse string as a number" in server.bodies[2]["messages"][-1]["content"]
    assert "cut off" in server.bodies[3]["messages"][-1]["content"]


@pytest.mark.loopback
async def test_openai_rejecting_the_key_is_a_model_error_without_the_key(server):
    server.script[:] = [(401, {}, "", "stop")]
    with pytest.raises(ModelError, match="OpenAIAuthenticationError") as caught:
        await ask(openai_at(server), ASK, Verdict)
    assert "sk-abc" not in str(caught.value)
    assert len(server.bodies) == 1
