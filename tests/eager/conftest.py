"""No test leaves an engine behind; a provider on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import textgrad_lg.eager as tg


@pytest.fixture(autouse=True)
def no_engine():
    tg.set_backward_engine(None, override=True)
    yield
    tg.set_backward_engine(None, override=True)


class Provider:
    """A server on this machine that speaks OpenAI's protocol and says "reply", and notes what it was sent."""

    def __init__(self):
        self.bodies = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                provider.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                message = {"role": "assistant", "content": "reply"}
                choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
                body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)


@pytest.fixture
def provider():
    made = Provider()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()
