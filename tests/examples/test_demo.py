"""The demo as a whole, as `make demo MODEL=...` runs it, against an OpenAI-compatible server on this machine."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

ROOT = Path(__file__).parents[2]
KEY = "sk-not-to-be-seen"
BAD = ("bor", "dull", "worst", "waste", "bad", "awful", "terrible", "lifeless", "stupid", "not ")


class Model(BaseHTTPRequestHandler):
    """Labels with one word when told to; as a critic asks for one word; rewrites by putting that in front."""

    protocol_version = "HTTP/1.1"
    keys: ClassVar[set[str]] = set()
    models: ClassVar[set[str]] = set()

    def log_message(self, format, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.keys.add(self.headers["Authorization"])
        self.models.add(body["model"])
        text = " ".join(str(message["content"]) for message in body["messages"])
        said = (
            json.dumps(self.structured(body))
            if "response_format" in body
            else self.label(text, body["messages"][-1]["content"])
        )
        usage = {"prompt_tokens": len(text) // 4, "completion_tokens": 5, "total_tokens": len(text) // 4 + 5}
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        reply = {
            "id": "r",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
            "usage": usage,
        }
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    @staticmethod
    def structured(body):
        if "alternatives" in json.dumps(body["response_format"]):
            return {
                "alternatives": [
                    {
                        "why": "one word",
                        "text": "Answer with one word.\n\nClassify the sentiment of this text.\n\n{review}",
                    }
                ]
            }
        return {
            "feedback": [{"id": "P1", "feedback": "Ask for one word."}, {"id": "P2", "feedback": "Ask for one word."}]
        }

    @staticmethod
    def label(text, last):
        if "one word" not in text:
            return "This text sounds positive."
        return "negative" if any(word in last.lower() for word in BAD) else "positive"


@pytest.mark.loopback
@pytest.mark.timeout(300)
def test_the_demo_on_a_named_model(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {
        **os.environ,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1",
        "PYTHONPATH": str(ROOT),
        "TEXTGRAD_LG_HOME": str(tmp_path / "home"),
    }
    command = [
        sys.executable,
        "-m",
        "examples.review_desk.demo",
        "--model",
        "openai:gpt-4o-mini",
        "--otlp",
        "spans.jsonl",
    ]
    try:
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280, check=True)
    finally:
        server.shutdown()
        server.server_close()
    said = done.stdout
    estimate, hard_cap = said.index("model calls, about $"), said.index("The hard cap of this run is $0.50.")
    assert estimate < hard_cap < said.index("== Optimising ==")
    assert "improved and published" in said
    assert "result.graph, texts from the registry      label = 'positive'" in said
    assert "result.graph, after result.rollback()      label = 'This text sounds positive.'" in said
    assert Model.models == {"gpt-4o-mini"}
    assert Model.keys == {f"Bearer {KEY}"}
    spans = (tmp_path / "spans.jsonl").read_text()
    for name in ("forward", "backward classify", "textgrad step 1", "update classify"):
        assert name in spans
    kept = [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert all(KEY.encode() not in data for data in [*kept, spans.encode(), said.encode(), done.stderr.encode()])
