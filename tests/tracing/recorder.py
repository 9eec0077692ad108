"""A server on this machine that takes what LangSmith, Phoenix or a collector would take, and keeps it."""

from __future__ import annotations

import email.parser
import email.policy
import gzip
import http.server
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import zstandard

SHAPES = Path(__file__).parent / "shapes"

# All that waits in one batch, and one thread. The SDK takes runs from its queue in no order among the beginning and the end of
# one; where these come in two batches, and the end comes first, it writes no span.
ONE_BATCH = {
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "scale_up_qsize_trigger": 200,
        "scale_up_nthreads_limit": 0,
        "scale_down_nempty_trigger": 4,
        "size_limit": 1_000_000,
        "size_limit_bytes": None,
    }
}


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def parts(self) -> dict[str, Any]:
        """The JSON parts of a multipart request by their names."""
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        message: Any = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + self.body)
        return {
            part.get_param("name", header="content-disposition"): json.loads(part.get_payload(decode=True))
            for part in message.iter_parts()
        }


@dataclass
class Recorder:
    """What was asked of it, in order, and what it answers to a path in place of the usual."""

    url: str
    requests: list[Request] = field(default_factory=list)
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)

    def to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path.partition("?")[0] == path]


@contextmanager
def recording():
    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_one(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            encoding = self.headers.get("content-encoding")
            body = gzip.decompress(body) if encoding == "gzip" else body
            body = zstandard.ZstdDecompressor().decompressobj().decompress(body) if encoding == "zstd" else body
            headers = {name.lower(): value for name, value in self.headers.items()}
            recorder.requests.append(Request(self.command, self.path, headers, body))
            place = self.path.partition("?")[0]
            limits = {"use_multipart_endpoint": True, "size_limit": 100, "size_limit_bytes": 20_000_000}
            scale = {"scale_up_qsize_trigger": 1000, "scale_up_nthreads_limit": 16, "scale_down_nempty_trigger": 4}
            info = {"version": "0.1.0", "batch_ingest_config": {**limits, **scale}}
            usual = json.dumps(info) if place.endswith("/info") else "" if "/v1/traces" in place else "{}"
            status, text = recorder.answers.get(place, (200, usual))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PATCH = handle_one  # noqa: N815  http.server names them

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorder = Recorder(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def check(shape: str, definition: str, value: Any) -> None:
    """Raise where `value` does not fit; a field that the published description does not know does not fit either."""
    known = json.loads((SHAPES / f"{shape}.json").read_text())
    found = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": known["$defs"]})
    found.validate(value)
    unknown = set(value) - set(known["$defs"][definition]["properties"])
    assert not unknown, f"{definition} has no {sorted(unknown)}"
