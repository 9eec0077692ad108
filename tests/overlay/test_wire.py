"""What really leaves the process: the bodies of HTTP requests to a stub of the completions API."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from inline_snapshot import snapshot
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from textgrad_lg.overlay import overlay
from textgrad_lg.prompt import Demo
from textgrad_lg.site import Site

from .support import OLD, CountingMeter, by_constant, change

pytestmark = pytest.mark.loopback

TEXTS = {Site(("ask",), "system"): change(OLD, "You are kind.", demos=(Demo((("human", "Hm?"),), "Ah."),))}
REPLY = {
    "id": "x",
    "object": "chat.completion",
    "created": 0,
    "model": "stub",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "fine"}}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13},
}
CHUNKS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "fi"}}]},
    {"choices": [{"index": 0, "delta": {"content": "ne"}, "finish_reason": "stop"}]},
    {"choices": [], "usage": REPLY["usage"]},
]


@pytest.fixture
def stub():
    """A completions API on this machine; gives its address and the bodies it received."""
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
                self._answer("application/json", json.dumps(REPLY).encode())

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
    yield f"http://127.0.0.1:{server.server_port}/v1", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def _run(graph, way):
    if way == "sync":
        graph.invoke({"question": "Why?"})
    else:
        asyncio.run(graph.ainvoke({"question": "Why?"}))


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_the_new_text_is_in_the_body(stub, way, streaming):
    url, bodies = stub
    model = ChatOpenAI(
        model="stub",
        base_url=url,
        api_key=SecretStr("none"),
        max_retries=0,
        streaming=streaming,
        stream_usage=True,
        max_completion_tokens=9,
    )
    meter = CountingMeter()
    with overlay(TEXTS, meter=meter):
        _run(by_constant(model), way)
    (body,) = bodies
    assert body["messages"] == snapshot(
        [
            {"content": "You are kind.", "role": "system"},
            {"content": "Hm?", "role": "user"},
            {"content": "Ah.", "role": "assistant"},
            {"content": "Why?", "role": "user"},
        ]
    )
    assert set(body) <= {"messages", "model", "stream", "max_completion_tokens", "stream_options"}
    (call,) = meter.admitted
    assert (call.provider, call.model, call.max_output_tokens) == ("openai", "stub", 9)
    assert meter.settled == [(11, 2)]
