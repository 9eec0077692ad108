"""Descriptions in what really leaves the process: the bodies that OpenAI's two APIs and Anthropic's are sent."""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any

import pytest
from inline_snapshot import snapshot
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, SecretStr

from textgrad_lg.overlay import Replacement, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.record import record
from textgrad_lg.record.offered import offered
from textgrad_lg.site import Site

pytestmark = pytest.mark.loopback

ANSWER = '{"label": "positive"}'
COMPLETION = {
    "id": "x",
    "object": "chat.completion",
    "created": 0,
    "model": "stub",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13},
}
CHUNKS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ANSWER}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 0,
    "model": "stub",
    "status": "completed",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 11,
        "output_tokens": 2,
        "total_tokens": 13,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "stub",
    "content": [{"type": "text", "text": ANSWER}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 2},
}
REPLIES = {"/v1/chat/completions": COMPLETION, "/v1/responses": RESPONSE, "/v1/messages": MESSAGE}


class Answer(BaseModel):
    """The old answer."""

    label: str = Field(description="The old label.")


@tool
def search(query: Annotated[str, "The old query."]) -> str:
    """Search, as it was."""
    return query


NEW = {
    "tools:search/description": ("Search, as it was.", "Search whenever a fact is asked for."),
    "tools:search/args/query": ("The old query.", "Two or three nouns."),
    "tools:Answer/description": ("The old answer.", "A verdict."),
    "tools:Answer/args/label": ("The old label.", "positive or negative"),
    "schemas:Answer/description": ("The old answer.", "A verdict."),
    "schemas:Answer/args/label": ("The old label.", "positive or negative"),
}
TEXTS = {Site.parse(site): Replacement(Template(old), Template(new)) for site, (old, new) in NEW.items()}


@pytest.fixture(scope="module")
def server():
    """The three APIs on this machine; gives the address and the bodies received."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            bodies.append(body)
            if body.get("stream"):
                base = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "stub"}
                lines = [f"data: {json.dumps({**base, **chunk})}\n\n" for chunk in CHUNKS]
                self._answer("text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode())
            else:
                self._answer("application/json", json.dumps(REPLIES[self.path]).encode())

        def _answer(self, kind, data):
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def stub(server):
    url, bodies = server
    bodies.clear()
    return url, bodies


def model(url, api, **options):
    if api == "anthropic":
        fields: dict[str, Any] = {"model": "stub", "base_url": url, "api_key": SecretStr("none"), "max_tokens": 99}
        return ChatAnthropic(**fields, max_retries=0)
    return ChatOpenAI(
        model="gpt-4o",
        base_url=f"{url}/v1",
        api_key=SecretStr("none"),
        max_retries=0,
        use_responses_api=api == "responses",
        **options,
    )


def call(runnable, way):
    question = [HumanMessage("Any good?")]
    with warnings.catch_warnings():
        # pydantic warns of a parsed reply inside the OpenAI client's own objects, with or without an overlay.
        warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
        return runnable.invoke(question) if way == "sync" else asyncio.run(runnable.ainvoke(question))


def texts_in(body):
    """Every description in a body, sorted."""
    if isinstance(body, dict):
        own = [body["description"]] if isinstance(body.get("description"), str) else []
        return sorted(own + [text for item in body.values() for text in texts_in(item)])
    return sorted(text for item in body for text in texts_in(item)) if isinstance(body, list) else []


APIS = ["completions", "responses", "anthropic"]
WAYS = ["sync", "async"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("api", APIS)
class TestTools:
    def test_the_new_descriptions_are_in_the_body(self, stub, api, way):
        url, bodies = stub
        bound = model(url, api).bind_tools([search])
        with overlay(TEXTS):
            call(bound, way)
        call(bound, way)
        assert [texts_in(body["tools"]) for body in bodies] == [
            ["Search whenever a fact is asked for.", "Two or three nouns."],
            ["Search, as it was.", "The old query."],
        ]

    def test_a_structured_output_by_tool_call(self, stub, api, way):
        url, bodies = stub
        bound = model(url, api).with_structured_output(Answer, method="function_calling", include_raw=True)
        with overlay(TEXTS):
            call(bound, way)
        (body,) = bodies
        assert texts_in(body["tools"]) == ["A verdict.", "positive or negative"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("schema", [Answer, Answer.model_json_schema()], ids=["class", "json"])
def test_a_structured_output_by_schema(stub, api, way, schema):
    url, bodies = stub
    bound = model(url, api).with_structured_output(schema, method="json_schema")
    with overlay(TEXTS):
        reply = call(bound, way)
    assert reply == (Answer(label="positive") if schema is Answer else {"label": "positive"})
    if schema is Answer:
        assert type(reply) is Answer
    (body,) = bodies
    assert texts_in(body) == ["A verdict.", "positive or negative"]


@pytest.mark.parametrize("api", APIS)
def test_an_agent_with_a_provider_strategy(stub, api):
    url, bodies = stub
    agent: Any = create_agent(model(url, api), [search], response_format=ProviderStrategy(Answer))
    inputs = {"messages": [HumanMessage("Any good?")]}
    with overlay(TEXTS), record() as recording:
        assert agent.invoke(inputs)["structured_response"] == Answer(label="positive")
    (body,) = bodies
    assert texts_in(body) == [
        "A verdict.",
        "Search whenever a fact is asked for.",
        "Two or three nouns.",
        "positive or negative",
    ]
    (span,) = [span for span in recording.trace.spans if span.kind == "llm"]
    shown = {str(site): text for site, text in offered(span)}
    assert shown == {site: new for site, (_, new) in NEW.items() if "tools:Answer" not in site}


def test_a_streamed_call(stub):
    url, bodies = stub
    bound = model(url, "completions", streaming=True).bind_tools([search])
    with overlay(TEXTS):
        list(bound.stream([HumanMessage("Any good?")]))
    (body,) = bodies
    assert body["tools"] == snapshot(
        [
            {
                "type": "function",
                "function": {
                    "name": "search",
                    "description": "Search whenever a fact is asked for.",
                    "parameters": {
                        "properties": {"query": {"description": "Two or three nouns.", "type": "string"}},
                        "required": ["query"],
                        "type": "object",
                    },
                },
            }
        ]
    )
