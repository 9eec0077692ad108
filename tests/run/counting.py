"""A completions API on this machine that counts every request it sees, and answers as the worlds' models would."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_core.messages import convert_to_messages
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.run import worlds


class Seen:
    """What the server saw, in the order of arrival."""

    def __init__(self, url):
        self.url = url
        self.bodies: list[dict[str, Any]] = []
        self.usages: list[tuple[int, int]] = []
        # The status that a request fails with, and whether its reply is cut off in the middle; by its body and number.
        self.fails: Callable[[dict[str, Any], int], int] = lambda body, number: 0
        self.cuts: Callable[[dict[str, Any], int], bool] = lambda body, number: False
        self.failed = 0
        self.lock = threading.Lock()

    @property
    def total(self):
        """Calls, tokens received and tokens sent, as the server counted them."""
        return len(self.usages), sum(sent for sent, _ in self.usages), sum(received for _, received in self.usages)

    def asked(self, kind):
        """How many requests asked for a reply of this form; "" for plain text."""
        return sum(form(body) == kind for body in self.bodies)

    def model(self, name="worker", **options):
        """A client of the server, whose retries are its own affair and therefore off."""
        options = {"max_retries": 0, "max_completion_tokens": 200, "stream_usage": True} | options
        return ChatOpenAI(model=name, base_url=self.url, api_key=SecretStr("none"), **options)


def form(body):
    """The name of the form that a reply has to have; "" where there is none."""
    return body.get("response_format", {}).get("json_schema", {}).get("name", "")


_WORKER = worlds.review_model()
_CRITIC = worlds.critic("I think this is", worlds.WANTED)


def _reply(body):
    messages = convert_to_messages(body["messages"])
    if form(body) == "Judgement":
        return json.dumps({"comment": "It is a page.", "score": 1.0})
    reply = _CRITIC.replies(messages) if form(body) else None  # pyright: ignore[reportCallIssue]
    return json.dumps(reply) if reply is not None else _WORKER.invoke(messages).text


@contextmanager
def counting() -> Generator[Seen]:
    """Run the server for a while."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            text = _reply(body)
            # Odd numbers, so that no estimate of ours happens to be the same.
            usage = sum(len(str(message["content"])) for message in body["messages"]) + 7, len(text) + 1
            with seen.lock:
                seen.bodies.append(body)
                seen.usages.append(usage)
                status = seen.fails(body, len(seen.usages))
                seen.failed += status > 0
                if seen.cuts(body, len(seen.usages)):
                    text = text[: len(text) // 2]
            told = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
            base = {"id": "x", "created": 0, "model": body["model"]}
            if status:
                self._answer(status, "application/json", json.dumps({"error": {"message": "no"}}))
            elif body.get("stream"):
                half = len(text) // 2
                chunks: list[dict[str, Any]] = [
                    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": text[:half]}}]},
                    {"choices": [{"index": 0, "delta": {"content": text[half:]}, "finish_reason": "stop"}]},
                ]
                if body.get("stream_options"):
                    chunks.append({"choices": [], "usage": told})
                base["object"] = "chat.completion.chunk"
                lines = [f"data: {json.dumps({**base, **chunk})}\n\n" for chunk in chunks]
                self._answer(200, "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]))
            else:
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "finish_reason": "stop", "message": message}
                done = {**base, "object": "chat.completion", "choices": [choice], "usage": told}
                self._answer(200, "application/json", json.dumps(done))

        def _answer(self, status, kind, text):
            data = text.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen = Seen(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
